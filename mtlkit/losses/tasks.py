"""One loss a task: its mean over the rows where its label is observed.

``task_losses`` is all that training needs; ``row_losses`` are the same before the mean. Tasks of
the same kind are computed together, because one call over a (batch, task) block is much faster than
one call a task. Nothing here branches on data: no step waits for a device to tell a number, and
``torch.export``, ``torch.func`` and the device "meta" can walk through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.schema import Schema, Task

_SERIES_TERMS = 32


def task_losses(schema: Schema, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return every task's loss, (task,): the mean of its ``row_losses`` over its observed rows.

    A task without an observed row gives 0 and no gradient, never NaN. Errors as ``row_losses``.
    """
    losses: list[Tensor] = [torch.empty(0)] * schema.num_tasks
    for columns, rows in _by_kind(schema, logits, batch):
        means = masked_mean(rows, _columns(batch.observed, columns))
        for i, loss in zip(columns, means, strict=True):
            losses[i] = loss
    return torch.stack(losses)  # (task,)


def row_losses(schema: Schema, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return every row's loss of every task, (batch, task), 0 where the label is not observed.

    By kind, with z the model's raw output and y the label:

    - binary: log(1 + e^z) - y z, the cross-entropy of p = 1 / (1 + e^-z)
    - multiclass: -log softmax(z)[y], z (batch, classes)
    - regression: (z - s)^2, with s the standardised label, (y - location) / scale, y first turned
      into log(1 + y) if the task says so
    - count: e^z - y z + y log y - y, half the Poisson deviance of the rate e^z (``poisson_loss``)
    - censored_count: the same, and -log P(Y >= y) on censored rows

    All are 0 or more. An unobserved row passes no gradient. Losses are computed in float32 at
    least, whatever precision the logits have. ``logits`` needs every task of ``schema`` ((batch,),
    or (batch, classes) for multiclass); a missing one raises ``KeyError``.
    """
    losses: list[Tensor] = [torch.empty(0)] * schema.num_tasks
    for columns, rows in _by_kind(schema, logits, batch):
        for i, column in zip(columns, rows.unbind(1), strict=True):
            losses[i] = column
    return torch.where(batch.observed, torch.stack(losses, dim=1), 0.0)  # (batch, task)


def _by_kind(
    schema: Schema, logits: Mapping[str, Tensor], batch: Batch
) -> Iterator[tuple[list[int], Tensor]]:
    """Tasks that are computed together: their columns, and row losses (batch, k)."""
    for kind in dict.fromkeys(task.kind for task in schema.tasks):
        columns = [i for i, task in enumerate(schema.tasks) if task.kind == kind]
        if kind == "multiclass":
            for i in columns:
                rows = _multiclass(_logits(logits, schema.tasks[i]), batch, i)
                yield [i], rows.unsqueeze(1)
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
            rows = poisson_loss(z, labels)
            if kind == "censored_count" and batch.censored is not None:
                censored = _columns(batch.censored, columns) & observed
                tail = log_poisson_tail(torch.where(censored, labels, 0.0), z)
                rows = torch.where(censored, -tail, rows)
        yield columns, rows


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
    return _LogPoissonTail.apply(count, log_rate)[0]


class _LogPoissonTail(torch.autograd.Function):
    """log P and its slope; the slope is an output only because the backward pass needs it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(count: Tensor, log_rate: Tensor) -> tuple[Tensor, Tensor]:
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
        value = torch.where(low < 1e-280, point - y.log() + _log_series(y, rate), value)
        # d log P / d log r = r e^-r r^(y-1) / ((y-1)! P)
        slope = torch.where(inside, (point - value).exp(), 0.0)
        value = torch.where(inside, value, 0.0)
        own = (log_rate.device, log_rate.dtype)
        return value.to(*own), slope.to(*own)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[None, Tensor]:
        (slope,) = ctx.saved_tensors
        return None, gradient * slope


def poisson_loss(log_rate: Tensor, count: Tensor) -> Tensor:
    """Return e^z - y z + y log y - y elementwise, z = log_rate and y = count: 0 or more.

    That is half the Poisson deviance, the negative log-likelihood less its least value, which is
    reached at e^z = y; y log y is 0 at y = 0. From y = 1 on it is computed as y (e^d - 1 - d),
    d = z - log y: a difference of large numbers would round a good guess of a large count below 0.
    It is exactly 0 only where its gradient, e^z - y, is zero within rounding. Differentiable in
    ``log_rate`` only.
    """
    return _PoissonLoss.apply(log_rate, count)


class _PoissonLoss(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, y: Tensor) -> Tensor:
        apart = z - torch.where(y > 0, y, 1.0).log()  # d
        large = y * (torch.expm1(apart) - apart)
        return torch.where(y >= 1, large, z.exp() - y - y * apart).clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        z, y = ctx.saved_tensors
        return gradient * z.exp() - gradient * y, None


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
    return F.cross_entropy(z, labels, reduction="none")


def _standardised(labels: Tensor, tasks: list[Task]) -> Tensor:
    """Labels in the units of the raw output: (f(y) - location) / scale, f log(1 + y) or y."""
    columns = []
    for y, task in zip(labels.unbind(1), tasks, strict=True):
        y = torch.log1p(y) if task.log1p else y
        columns.append((y - task.location) / task.scale)
    return torch.stack(columns, dim=1)
