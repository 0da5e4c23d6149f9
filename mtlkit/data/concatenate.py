"""Stacking tables with the same inputs, whose tasks may differ."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mtlkit.data.batch import stack_ragged
from mtlkit.data.table import Table, weight_of
from mtlkit.schema import Schema, SchemaError, Task


def concatenate(*tables: Table) -> Table:
    """Stack tables with the same inputs and scenarios; their tasks may differ.

    A task that one table lacks is not observed on that table's rows: this is how two data sets,
    each with labels of its own, train one model. Row ids are numbered anew. Truth and keys survive
    where every table has them; where one table has weights, rows of a table without weigh 1.
    Pages (``group``) survive as keys do: rows with one id are one page, of whatever table.
    """
    if not tables:
        raise SchemaError("concatenate needs at least one table.")
    first = tables[0].schema
    tasks: dict[str, Task] = {}
    for number, table in enumerate(tables):
        schema = table.schema
        for part in ("categorical", "dense", "sequences", "scenarios", "encoding"):
            if getattr(schema, part) != getattr(first, part):
                raise SchemaError(
                    f"Table {number} has other {part} than table 0; tables are stacked only when "
                    "their inputs agree."
                )
        for task in schema.tasks:
            if tasks.setdefault(task.name, task) != task:
                raise SchemaError(f"Task {task.name!r} is declared differently in table {number}.")
    schema = Schema(
        tuple(t if t.given in tasks else replace(t, given=None) for t in tasks.values()),
        first.categorical,
        first.dense,
        first.sequences,
        first.scenarios,
        first.encoding,
    )

    def widen(table: Table, column: Tensor | None, dtype: torch.dtype) -> Tensor:
        out = torch.zeros(len(table), schema.num_tasks, dtype=dtype, device=table.device)
        if column is not None:
            index = [schema.task_index(name) for name in table.schema.task_names]
            out[:, index] = column
        return out

    weight = None
    if any(t.weight is not None for t in tables):
        weight = torch.cat([weight_of(t) for t in tables])
    group = None
    if all(t.group is not None for t in tables):
        group = torch.cat([t.group for t in tables if t.group is not None])
    any_censored = any(t.censored is not None for t in tables)
    shared_truth = set.intersection(*(set(t.truth) for t in tables))
    shared_keys = set.intersection(*(set(t.keys) for t in tables))
    return Table(
        schema,
        torch.cat([t.categorical for t in tables]),
        torch.cat([t.dense for t in tables]),
        {s.name: stack_ragged([t.sequences[s.name] for t in tables]) for s in schema.sequences},
        torch.cat([widen(t, t.labels, torch.float32) for t in tables]),
        torch.cat([widen(t, t.observed, torch.bool) for t in tables]),
        torch.cat([t.scenario for t in tables]),
        censored=torch.cat([widen(t, t.censored, torch.bool) for t in tables])
        if any_censored
        else None,
        truth={k: torch.cat([t.truth[k] for t in tables]) for k in sorted(shared_truth)},
        keys={k: torch.cat([t.keys[k] for t in tables]) for k in sorted(shared_keys)},
        weight=weight,
        group=group,
    )
