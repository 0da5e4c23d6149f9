"""What boosted trees read of a table: one row of numbers an impression, and a task's targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mtlkit.data.batch import Batch
from mtlkit.layers.layout import has_scenario_field
from mtlkit.schema import Schema, Task

Array = np.ndarray
LARGEST_CATEGORY = 250  # ids; larger fields are split by the number of the id
NEWEST = 3  # events of a history


class Rows(NamedTuple):
    """The rows where one task's label is observed and which weigh anything."""

    x: Array  # inputs (row, column), float64
    y: Array  # targets (row,), on the scale of the raw output
    bound: Array  # bool (row,): the count is only a lower bound
    weight: Array | None = None  # (row,), above 0; None: 1 each


class WholeTable:
    """A table's inputs and labels in memory, read batch by batch: shards will do."""

    def __init__(self, schema: Schema, table: Any) -> None:
        self.schema, self.weighed = schema, False
        parts, weights = [], []
        for batch in table.batches(65_536):
            bound = np.zeros(batch.observed.shape, dtype=bool)
            if batch.censored is not None:
                bound = batch.censored.cpu().numpy()
            labels = batch.labels.cpu().double().numpy()
            weights.append(np.ones(batch.rows) if batch.weight is None
                           else batch.weight.cpu().double().numpy())  # fmt: skip
            self.weighed = batch.weight is not None
            parts.append((inputs(schema, batch), labels, batch.observed.cpu().numpy(), bound))
        self.x, self.labels, self.observed, self.bound = map(
            np.concatenate, zip(*parts, strict=True)
        )
        self.weight = np.concatenate(weights)

    def rows(self, task: Task) -> Rows:
        """Inputs and targets where the task's label is observed."""
        place = self.schema.task_index(task.name)
        seen = self.observed[:, place] & (self.weight > 0)
        y = self.labels[seen, place]
        if task.kind == "regression":
            y = ((np.log1p(y) if task.log1p else y) - task.location) / task.scale
        weight = self.weight[seen] if self.weighed else None
        x = self.x[seen]
        x[:, np.isnan(x).all(axis=0)] = 0.0  # no history is so long; no gaps alone can be binned
        return Rows(x, y, self.bound[seen, place], weight)


def inputs(schema: Schema, batch: Batch) -> Array:
    """Ids, the scenario, dense columns; length and newest ids (NaN: none) of histories.

    (batch, column), float64. The scenario is there where it is an input of every network too:
    where there are several, and no field of that name.
    """
    parts = [batch.categorical.cpu().double().numpy()]
    if has_scenario_field(schema):
        parts.append(batch.scenario.cpu().double().numpy()[:, None])
    parts.append(batch.dense.cpu().double().numpy())
    for _, (values, offsets) in sorted(batch.sequences.items()):
        ids, ends = values.cpu().double().numpy(), offsets.cpu().numpy()
        lengths = np.diff(ends)
        newest = np.full((len(lengths), NEWEST), np.nan)
        for back in range(NEWEST):
            there = lengths > back
            newest[there, back] = ids[ends[1:][there] - 1 - back]
        parts += [lengths[:, None].astype(float), newest]
    return np.concatenate(parts, axis=1)


def categories(schema: Schema) -> list[int]:
    """The columns that are split as categories: small fields, which come first."""
    sizes = [field.size for field in schema.categorical]
    if has_scenario_field(schema):
        sizes.append(schema.num_scenarios + 1)  # the unknown one is one more
    return [i for i, size in enumerate(sizes) if size <= LARGEST_CATEGORY]
