"""Shifts of a trained model's logits, found on validation rows: predictions sum to labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from mtlkit.data.agreement import require_inputs, require_table, require_tasks
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.logit_shift import LogitShift
from mtlkit.models.wrap import unwrapped
from mtlkit.schema import SchemaError
from mtlkit.train.evaluation import evaluating

STEPS = 200  # far more than are needed: a halving each would do


def calibrate(
    model: MultiTaskModel,
    table: Table,
    tasks: str | Iterable[str] | None = None,
    *,
    by_scenario: bool = True,
    deviation: float | None = None,
    batch_size: int = 8192,
) -> LogitShift:
    """The model with one shift b of the logit for each scenario and binary task.

    b solves: sum of w / (1 + e^-(z + b)) = sum of w y, over the rows of the cell where the label y
    is observed (w their weights, z the model's logits). So predictions of a cell sum to its labels,
    ``pcoc`` 1 on these rows; b is what logistic regression finds with the logit as an offset. Give
    validation rows: on training rows a model that learned them by heart seems calibrated, and test
    rows are for the end. A shift is known to about 1 / sqrt(positives) where positives are few.

    Parameters
    ----------
    model, table
        A trained model, left as it is, and rows with the labels of its tasks.
    tasks
        The binary tasks to move; None: all. A task with a parent is fitted where the parent
        happened.
    by_scenario
        False: one shift a task.
    deviation
        Standard deviation of a Gaussian prior on a cell's shift around the one of all rows of the
        task, in logits: a small cell is held near it, and predictions of a cell no longer sum
        exactly. None: no prior; a cell where all labels are 0, or all 1, or without labels has no
        finite shift of its own and takes that of all rows.

    A task of one class has shift 0. Rows of an unknown scenario are a cell like the others where
    ``table`` has any, and take the shift of all rows where it has none. ``shifts`` of what is
    returned shows them. Raises ``SchemaError`` for a table or task that does not fit and
    ``ValueError`` for a deviation that is not above 0, logits that are not finite and no rows.
    """
    if deviation is not None and not deviation > 0:
        raise ValueError(f"deviation must be above 0, not {deviation!r}; None: no prior.")
    _, model = unwrapped(model)
    require_table(table)
    require_inputs(model.schema, table.schema)
    require_tasks(model.schema, table.schema)
    schema = model.schema
    if table.schema.task_names != schema.task_names:
        table = table.select_tasks(schema.task_names)
    names = _binary(model, tasks)
    logits, labels, observed, weight, scenario = _columns(model, table, names, batch_size)
    places = [*schema.scenario_names, schema.unknown_scenario_name]
    precision = 0.0 if deviation is None else deviation**-2
    shifts = {}
    for i, name in enumerate(names):
        rows = observed[:, i]
        z, y, w, cell = logits[rows, i], labels[rows, i], weight[rows], scenario[rows]
        if not bool(z.isfinite().all()):
            raise ValueError(f"The model's logits of task {name!r} are not all finite.")
        whole = intercepts(z, y, w, torch.zeros_like(cell), 1, 0.0, 0.0)
        own = whole.expand(len(places))
        if by_scenario:
            own = intercepts(z, y, w, cell, len(places), float(whole), precision)
        shifts[name] = dict(zip(places, own.tolist(), strict=True))
    return LogitShift(model, shifts)


def intercepts(
    z: Tensor, y: Tensor, w: Tensor, cell: Tensor, cells: int, centre: float, precision: float
) -> Tensor:
    """The shift b of each cell, float64 (cell,), from rows (row,) in float64.

    The root of f(b) = sum of w (sigmoid(z + b) - y) + precision (b - centre), which grows with b:
    Newton's steps inside a bracket, halved where a step would leave it. ``centre`` where there is
    no root: no precision, and labels of one class or none.
    """

    def total(values: Tensor) -> Tensor:
        return torch.zeros(cells, dtype=torch.float64).index_add_(0, cell, values)

    def gap(b: Tensor) -> tuple[Tensor, Tensor]:
        p = (z + b[cell]).sigmoid()
        slope = total(w * p * (1 - p)) + precision
        return total(w * (p - y)) + precision * (b - centre), slope

    rows, ones = total(w), total(w * y)
    b = torch.full((cells,), centre, dtype=torch.float64)
    if precision:  # f grows by precision at least
        reach = gap(b)[0].abs() / precision
        low, high = b - reach, b + reach
        solvable = rows > 0
    else:  # all chances are below the share of ones, or all above it
        share = (ones / rows.clamp(min=1e-300)).logit()
        outer = torch.full((cells,), torch.inf, dtype=torch.float64)
        low = share - (-outer).scatter_reduce(0, cell, z, "amax")
        high = share - outer.scatter_reduce(0, cell, z, "amin")
        solvable = (ones > 0) & (ones < rows)
    low, high = torch.where(solvable, low, centre), torch.where(solvable, high, centre)
    b = b.clamp(low, high)
    for _ in range(STEPS):
        f, slope = gap(b)
        low, high = torch.where(f <= 0, b, low), torch.where(f >= 0, b, high)
        step = b - f / slope
        inside = (step > low) & (step < high)
        following = torch.where(inside, step, (low + high) / 2)
        if bool(((following - b).abs() <= 1e-12 * (1 + b.abs()))[solvable].all()):
            break
        b = following
    return torch.where(solvable, b, centre)


def _binary(model: MultiTaskModel, tasks: str | Iterable[str] | None) -> list[str]:
    """The tasks to calibrate; ``SchemaError`` for an unknown one, one not binary, and none."""
    schema = model.schema
    if tasks is None:
        names = [task.name for task in schema.tasks if task.is_binary]
        if not names:
            raise SchemaError("The model has no binary task, and only logits of these are shifted.")
        return names
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    for name in names:
        if not schema.task(name).is_binary:
            raise SchemaError(f"tasks names {name!r}, which is not binary: leave it out.")
    return names


def _columns(
    model: MultiTaskModel, table: Any, names: list[str], batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels, observed, (row, task) each, weight and scenario (row,), on the CPU."""
    home = next(model.parameters()).device
    columns = [model.schema.task_index(name) for name in names]
    parts: list[tuple[Tensor, ...]] = []
    with evaluating(model):
        for batch in table.batches(batch_size):
            batch = batch.to(home)
            logits = model(batch)
            weight = torch.ones(len(batch)) if batch.weight is None else batch.weight
            found = (
                torch.stack([logits[name].double() for name in names], dim=1),
                batch.labels[:, columns].double(), batch.observed[:, columns],
                weight.double(), batch.scenario,
            )  # fmt: skip
            parts.append(tuple(column.cpu() for column in found))
    if not parts:
        raise ValueError("The table to calibrate on has no rows.")
    logits, labels, observed, weight, scenario = map(torch.cat, zip(*parts, strict=True))
    return logits, labels, observed, weight, scenario
