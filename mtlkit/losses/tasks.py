"""One loss a task: its mean over the rows where its label is observed.

``task_losses`` is all that training needs; ``row_losses`` are the same before the mean. Tasks of
the same kind are computed together, because one call over a (batch, task) block is much faster than
one call a task. Nothing here branches on data: no step waits for a device to tell a number, and
``torch.export``, ``torch.func`` and the device "meta" can walk through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.losses.poisson import log_poisson_tail, poisson_loss
from mtlkit.schema import Schema, SchemaError, Task

_SERIES_TERMS = 32


def task_losses(schema: Schema, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return every task's loss, (task,): the mean of its ``row_losses`` over its observed rows.

    Where the batch has weights it is their weighted mean, sum of w l / sum of w.
    A task without an observed row gives 0 and no gradient, never NaN. Errors as ``row_losses``.
    """
    losses: list[Tensor] = [torch.empty(0)] * schema.num_tasks
    for columns, rows in _by_kind(schema, logits, batch):
        means = masked_mean(rows, _columns(batch.observed, columns), batch.weight)
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
    or (batch, classes) for multiclass); a missing one raises ``KeyError``, one of other dimensions
    ``SchemaError``.
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
                rows = _multiclass(_logits(logits, schema.tasks[i], batch), batch, i)
                yield [i], rows.unsqueeze(1)
            continue
        z = torch.stack(
            [_logits(logits, schema.tasks[i], batch) for i in columns], dim=1
        )  # (batch, k)
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


def masked_mean(rows: Tensor, observed: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the first dimension of ``rows`` where ``observed``; 0 where nothing is observed.

    rows (row, ...), observed bool of the same shape; with weight (row,), 0 or more, the weighted
    mean, 0 where nothing observed weighs anything. A row of weight 0 passes no gradient.
    """
    if weight is None:
        return torch.where(observed, rows, 0.0).sum(0) / observed.sum(0).clamp(min=1)
    observed = observed & (_as_rows(weight, observed) > 0)
    mass = masked_mass(observed, weight)
    weighed = torch.where(observed, rows, 0.0) * _as_rows(weight, rows)
    return weighed.sum(0) / torch.where(mass > 0, mass, 1.0)


def masked_mass(observed: Tensor, weight: Tensor | None = None) -> Tensor:
    """How many rows are ``observed``, or what they weigh together: (row, ...) -> (...)."""
    if weight is None:
        return observed.sum(0)
    return torch.where(observed, _as_rows(weight, observed), 0.0).sum(0)


def _as_rows(weight: Tensor, like: Tensor) -> Tensor:
    """weight (row,) with further dimensions of 1, as many as ``like`` has."""
    return weight.reshape(-1, *[1] * (like.dim() - 1))


def _logits(logits: Mapping[str, Tensor], task: Task, batch: Batch) -> Tensor:
    if not isinstance(logits, Mapping):
        raise SchemaError(
            f"The model returned a {type(logits).__name__}; forward must return {{task: logits}}, "
            f"here with an entry for task {task.name!r} (mtlkit.wrap takes one tensor, too)."
        )
    try:
        z = logits[task.name]
    except KeyError:
        raise KeyError(
            f"The model returned no logits for task {task.name!r}; it returned "
            f"{', '.join(logits) or 'nothing'}."
        ) from None
    if z.dim() != (1 if task.outputs == 1 else 2):
        wanted = "(batch,)" if task.outputs == 1 else f"(batch, {task.outputs})"
        raise SchemaError(
            f"The model returned logits of shape {tuple(z.shape)} for task {task.name!r}; they "
            f"must have the shape {wanted}, here with {batch.rows} rows."
        )
    return z


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
