"""A small schema with every task kind, sequence and scenario, and random tables for it."""

from __future__ import annotations

from dataclasses import replace

import torch

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Sequence, Task

TASKS = {
    "click": Task("click"),
    "purchase": Task("purchase", given="click"),
    "category": Task("category", "multiclass", classes=3),
    "dwell": Task("dwell", "regression", location=1.0, scale=0.5, log1p=True),
    "rating": Task("rating", "regression", location=3.0, scale=2.0),
    "orders": Task("orders", "count"),
    "units": Task("units", "censored_count"),
}


def schema(*names: str, sequences: bool = True, scenarios: int = 2) -> Schema:
    """Schema with the tasks named (all by default)."""
    tasks = [TASKS[name] for name in names or TASKS]
    kept = {task.name for task in tasks}
    tasks = [task if task.given in kept else replace(task, given=None) for task in tasks]
    return Schema(
        tuple(tasks),
        (Categorical("user", 11), Categorical("item", 6)),
        (Dense("price"), Dense("picture", 2)),
        (Sequence("viewed", shares="item"), Sequence("words", size=7)) if sequences else (),
        tuple(Scenario(f"place {i}") for i in range(scenarios)) if scenarios > 1 else (),
    )


def table(schema: Schema, rows: int = 40, seed: int = 0) -> Table:
    """Random rows; some labels are missing, some sequences empty, some counts censored."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    def ids(size: int, *shape: int) -> torch.Tensor:
        return (uniform(*shape) * size).long()

    labels, observed = [], uniform(rows, schema.num_tasks) < 0.8
    censored = torch.zeros(rows, schema.num_tasks, dtype=torch.bool)
    for i, task in enumerate(schema.tasks):
        if task.is_binary:
            labels.append((uniform(rows) < 0.5).float())
        elif task.kind == "multiclass":
            labels.append(ids(task.classes, rows).float())
        elif task.kind == "regression":
            labels.append(uniform(rows) * 5)
        else:
            labels.append(ids(5, rows).float())
        if task.kind == "censored_count":
            censored[:, i] = observed[:, i] & (uniform(rows) < 0.4)
        if task.given is not None:
            parent = schema.task_index(task.given)
            observed[:, i] &= observed[:, parent] & (labels[parent] == 1)
    sizes = {c.name: c.size for c in schema.categorical}
    sequences = {}
    for sequence in schema.sequences:
        lengths = ids(4, rows)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        size = sequence.size if sequence.shares is None else sizes[sequence.shares]
        sequences[sequence.name] = (ids(size, int(offsets[-1])), offsets)
    return Table(
        schema,
        torch.stack([ids(c.size, rows) for c in schema.categorical], dim=1)
        if schema.categorical
        else torch.zeros(rows, 0, dtype=torch.int64),
        uniform(rows, schema.dense_width),
        sequences,
        torch.where(observed, torch.stack(labels, dim=1), 0.0),
        observed,
        ids(schema.num_scenarios, rows),
        censored=censored if censored.any() else None,
        keys={"user": torch.arange(rows) // 5},
    )


def learnable(rows: int = 4000, seed: int = 0) -> Table:
    """Two binary tasks that the fields explain well: click by user and item, purchase by price."""
    generator = torch.Generator().manual_seed(seed)
    users, items = (torch.randint(n, (rows,), generator=generator) for n in (11, 6))
    dense = torch.randn(rows, 3, generator=generator)
    signal = torch.stack([(users % 2 + items % 3 - 1.5) * 2, dense[:, 0] * 2], dim=1)
    labels = (torch.rand(rows, 2, generator=generator) < signal.sigmoid()).float()
    plain = schema("click", "orders", sequences=False, scenarios=1)
    plain = plain.with_tasks((Task("click"), Task("purchase")))
    return Table(
        plain,
        torch.stack([users, items], dim=1),
        dense,
        {},
        labels,
        torch.ones(rows, 2, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.int64),
    )


def all_rows(table: Table):
    """The whole table as one batch."""
    return table.batch(torch.arange(len(table)))
