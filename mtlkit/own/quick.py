"""A quick model for an audit: a few boosted trees, with or without some columns."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from mtlkit.data.table import Table
from mtlkit.models.trees import Trees
from mtlkit.schema import SchemaError, Task
from mtlkit.train.evaluation import predict

ROWS = 10_000  # of training, and of validation
OPTIONS = {"rounds": 40, "learning_rate": 0.1, "min_rows": 20}


def sample(table: Table, most: int = ROWS) -> np.ndarray:
    """Places of at most so many rows, drawn at random, the same each time; int64 (k,)."""
    if len(table) <= most:
        return np.arange(len(table))
    return np.sort(np.random.default_rng(0).permutation(len(table))[:most])


def quick_predictions(
    task: Task, train: Table, later: Table, without: Collection[str] = ()
) -> np.ndarray | None:
    """What trees of one task predict for ``later`` rows; None where there is nothing to learn.

    ``without`` names fields that they do not see.
    """
    tables = [blanked(table.select_tasks([task.name]), without) for table in (train, later)]
    trees = Trees(tables[0].schema, **OPTIONS)  # type: ignore[arg-type]
    try:
        trees.train_on(tables[0].take(tables[0].mask(task.name)))
    except SchemaError:
        return None
    return predict(trees, tables[1])[task.name]


def blanked(table: Table, names: Collection[str]) -> Table:
    """The table with 0 in the columns of these fields."""
    if not names:
        return table
    schema = table.schema
    categorical, dense = table.categorical.clone(), table.dense.clone()
    for place, field in enumerate(schema.categorical):
        if field.name in names:
            categorical[:, place] = 0
    for name, part in schema.dense_slices.items():
        if name in names:
            dense[:, part] = 0
    index = torch.arange(len(table))
    other = table.take(index)
    other.categorical, other.dense = categorical, dense
    return other
