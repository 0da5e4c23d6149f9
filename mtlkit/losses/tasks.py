"""One loss a task: its mean over the rows where its label is observed.

``task_losses`` is all that training needs. Tasks of the same kind are computed together, because
one call over a (batch, task) block is much faster than one call a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.schema import Schema, Task

_SERIES_TERMS = 32


def task_losses(schema: Schema, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return every task's loss, (task,): the mean of its row losses over its observed rows.

    Row losses by kind, with z the model's raw output and y the label:

    - binary: log(1 + e^z) - y z, the cross-entropy of p = 1 / (1 + e^-z)
    - multiclass: -log softmax(z)[y], z (batch, classes)
    - regression: (z - s)^2, with s the standardised label, (y - location) / scale, y first turned
      into log(1 + y) if the task says so
    - count: e^z - y z, the Poisson negative log-likelihood without log(y!)
    - censored_count: the same, and -log P(Y >= y) on censored rows

    A task without an observed row gives 0 and no gradient, never NaN. The loss is computed in
    float32 at least, whatever precision the logits have. ``logits`` needs every task of ``schema``
    ((batch,), or (batch, classes) for multiclass); a missing one raises ``KeyError``.
    """
    losses: list[Tensor] = [torch.empty(0)] * schema.num_tasks
    for kind in dict.fromkeys(task.kind for task in schema.tasks):
        columns = [i for i, task in enumerate(schema.tasks) if task.kind == kind]
        if kind == "multiclass":
            for i in columns:
                losses[i] = _multiclass(_logits(logits, schema.tasks[i]), batch, i)
            continue
        z = torch.stack([_logits(logits, schema.tasks[i]) for i in columns], dim=1)  # (batch, k)
        labels, observed = _columns(batch.labels, columns), _columns(batch.observed, columns)
        z = torch.where(observed, _full_precision(z), 0.0)  # an unobserved row passes no gradient
        labels = labels.to(z.dtype)
        if kind == "binary":
            rows = F.binary_cross_entropy_with_logits(z, labels, reduction="none")
        elif kind == "regression":
            tasks = [schema.tasks[i] for i in columns]
            rows = (z - _standardised(labels, tasks)).square()
        else:
            rows = z.exp() - labels * z
            if kind == "censored_count" and batch.censored is not None:
                censored = _columns(batch.censored, columns) & observed
                if censored.any():
                    tail = log_poisson_tail(torch.where(censored, labels, 0.0), z)
                    rows = torch.where(censored, -tail, rows)
        for i, loss in zip(columns, masked_mean(rows, observed), strict=True):
            losses[i] = loss
    return torch.stack(losses)  # (task,)


def masked_mean(rows: Tensor, observed: Tensor) -> Tensor:
    """Mean over the first dimension of ``rows`` where ``observed``; 0 where nothing is observed."""
    return torch.where(observed, rows, 0.0).sum(0) / observed.sum(0).clamp(min=1)


def log_poisson_tail(count: Tensor, log_rate: Tensor) -> Tensor:
    """Return log P(Y >= count) for Y Poisson with rate e^log_rate, elementwise.

    With rate r: P(Y >= y) = P(y, r), the regularised lower incomplete gamma function (Abramowitz
    and Stegun 1964, 26.4.21), and 1 for y <= 0. Where that underflows, the series
    log P = y log r - r - log y! + log(1 + r/(y+1) + r^2/((y+1)(y+2)) + ...) takes over, so the far
    tail keeps its value and its gradient. Differentiable in ``log_rate`` only.
    """
    return _LogPoissonTail.apply(count, log_rate)


class _LogPoissonTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: Tensor, log_rate: Tensor) -> Tensor:
        # float64 throughout; on the CPU where the device lacks it or the gamma functions (MPS)
        home = torch.device("cpu") if log_rate.device.type == "mps" else log_rate.device
        z = log_rate.detach().to(home, torch.float64)
        y = count.to(home, torch.float64)
        inside = y > 0
        y = torch.where(inside, y, 1.0)
        rate = z.exp()
        # each branch of the formula where it is accurate: log P in the tail, log(1 - Q) beyond
        low = torch.special.gammainc(y, rate)
        high = torch.special.gammaincc(y, rate)
        value = torch.where(low < 0.5, low.log(), torch.log1p(-high))
        point = y * z - rate - torch.lgamma(y)  # log of (rate x density of the count y - 1)
        far = low < 1e-280
        if far.any():
            value = torch.where(far, point - y.log() + _log_series(y, rate), value)
        # d log P / d log r = r e^-r r^(y-1) / ((y-1)! P)
        slope = torch.where(inside, (point - value).exp(), 0.0)
        value = torch.where(inside, value, 0.0)
        ctx.save_for_backward(slope.to(log_rate.device, log_rate.dtype))
        return value.to(log_rate.device, log_rate.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (slope,) = ctx.saved_tensors
        return None, gradient * slope


def _log_series(y: Tensor, rate: Tensor) -> Tensor:
    """log(1 + r/(y+1) + r^2/((y+1)(y+2)) + ...), for rates well below y."""
    total, term = torch.ones_like(rate), torch.ones_like(rate)
    rate = torch.minimum(rate, y)
    for k in range(1, _SERIES_TERMS):
        term = term * rate / (y + k)
        total = total + term
    ratio = rate / (y + _SERIES_TERMS)  # the rest is close to a geometric series
    return (total + term * ratio / (1 - ratio)).log()


def _logits(logits: Mapping[str, Tensor], task: Task) -> Tensor:
    try:
        return logits[task.name]
    except KeyError:
        raise KeyError(
            f"The model returned no logits for task {task.name!r}; it returned "
            f"{', '.join(logits) or 'nothing'}."
        ) from None


def _full_precision(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _columns(block: Tensor, columns: list[int]) -> Tensor:
    """Columns of a (batch, task) block; the block itself when all are asked for, in order."""
    return block if columns == list(range(block.shape[1])) else block[:, columns]


def _multiclass(z: Tensor, batch: Batch, column: int) -> Tensor:
    observed = batch.observed[:, column]
    z = torch.where(observed.unsqueeze(1), _full_precision(z), 0.0)  # (batch, classes)
    labels = batch.labels[:, column].long()
    return masked_mean(F.cross_entropy(z, labels, reduction="none"), observed)


def _standardised(labels: Tensor, tasks: list[Task]) -> Tensor:
    """Labels in the units of the raw output: (f(y) - location) / scale, f log(1 + y) or y."""
    columns = []
    for y, task in zip(labels.unbind(1), tasks, strict=True):
        y = torch.log1p(y) if task.log1p else y
        columns.append((y - task.location) / task.scale)
    return torch.stack(columns, dim=1)
