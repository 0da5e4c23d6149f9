"""The checks a table must pass; a refusal names the column, the first bad row and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mtlkit.schema import Schema, SchemaError, Task


def refuse(column: str, bad: Tensor, values: Tensor, reason: str) -> None:
    """Raise ``SchemaError`` for the first row where ``bad`` (row,) is true, if there is one."""
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        more = int(bad.sum()) - 1
        rest = f" ({more:,} more row(s) like it)" if more else ""
        value = values[row].item()
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        raise SchemaError(f"Column {column!r}, row {row}: {shown} {reason}{rest}.")


def _shape(name: str, value: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not isinstance(value, Tensor):
        raise SchemaError(f"{name} must be a tensor, not {type(value).__name__}.")
    if value.dtype != dtype:
        hint = " (ids through floats are exact only up to 2**24)" if dtype == torch.int64 else ""
        raise SchemaError(f"{name} must have type {dtype}, not {value.dtype}{hint}.")
    if tuple(value.shape) != shape:
        raise SchemaError(f"{name} must have shape {shape}, not {tuple(value.shape)}.")


def check_weight(name: str, weight: Tensor) -> None:
    """Raise ``SchemaError`` where a column of weights (row,) holds what no row can weigh."""
    bad = ~torch.isfinite(weight)
    refuse(name, bad, weight, "is no weight: every row needs a finite number of 0 or more")
    refuse(name, weight < 0, weight, "is below 0: a row weighs 0 (left out) or more")
    if len(weight) and not bool(weight.any()):
        raise SchemaError(
            f"Column {name!r}, rows 0 to {len(weight) - 1}: all weigh 0, so no row counts: leave "
            "the weight out, or give some row one above 0."
        )


def check_columns(schema: Schema, columns: Mapping[str, Any]) -> None:
    """Check all columns of a table against its schema; ``SchemaError`` at the first fault.

    ``columns`` holds what a ``Table`` keeps: categorical, dense, sequences, labels, observed,
    scenario, censored, truth, keys, row_id and, where there is one, weight, with the shapes that
    ``Batch`` and ``Table`` state.
    """
    table = SimpleNamespace(**columns)
    rows, tasks = len(table.scenario), schema.num_tasks
    _shape("scenario", table.scenario, (rows,), torch.int64)
    _shape("categorical", table.categorical, (rows, len(schema.categorical)), torch.int64)
    _shape("dense", table.dense, (rows, schema.dense_width), torch.float32)
    _shape("labels", table.labels, (rows, tasks), torch.float32)
    _shape("observed", table.observed, (rows, tasks), torch.bool)
    _shape("row_id", table.row_id, (rows,), torch.int64)
    if table.censored is not None:
        _shape("censored", table.censored, (rows, tasks), torch.bool)
    if columns.get("weight") is not None:
        _shape("weight", table.weight, (rows,), torch.float32)
        if table.weight.device != table.scenario.device:
            raise SchemaError(
                f"weight is on {table.weight.device}, the table on {table.scenario.device}."
            )
        check_weight("weight", table.weight)
    for kind, entries in (("keys", table.keys), ("truth", table.truth)):
        for name, value in entries.items():
            if len(value) != rows:
                raise SchemaError(f"{kind} {name!r} has {len(value)} rows; the table has {rows}.")
    if len(torch.unique(table.row_id)) != rows:
        raise SchemaError("row_id holds a value twice; every row needs an id of its own.")

    last = schema.unknown_scenario if schema.scenarios else 0
    out_of_range = (table.scenario < 0) | (table.scenario > last)
    known = f"is not in 0 .. {schema.num_scenarios - 1}"
    known += f" ({last}: unknown)" if last else ""
    refuse("scenario", out_of_range, table.scenario, known)
    for i, f in enumerate(schema.categorical):
        ids = table.categorical[:, i]
        refuse(f.name, (ids < 0) | (ids >= f.size), ids, f"is not an id in 0 .. {f.size - 1}")
    for name, part in schema.dense_slices.items():
        block = table.dense[:, part]
        bad = ~torch.isfinite(block)
        worst = torch.where(bad, block, torch.zeros((), device=block.device)).sum(1)
        refuse(name, bad.any(1), worst, "is not a finite number: fill or mark missing values first")
    _check_sequences(schema, table)
    for i, task in enumerate(schema.tasks):
        _check_labels(schema, table, task, i)


def _check_sequences(schema: Schema, table: Any) -> None:
    rows = len(table.scenario)
    names = {s.name for s in schema.sequences}
    if set(table.sequences) != names:
        odd = sorted(set(table.sequences) ^ names)[0]
        state = "missing" if odd in names else "not in the schema"
        raise SchemaError(f"Sequence column {odd!r} is {state}.")
    sizes = {c.name: c.size for c in schema.categorical}
    for s in schema.sequences:
        values, offsets = table.sequences[s.name]
        _shape(f"offsets of sequence {s.name!r}", offsets, (rows + 1,), torch.int64)
        _shape(f"values of sequence {s.name!r}", values, (len(values),), torch.int64)
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(values):
            raise SchemaError(
                f"Offsets of sequence {s.name!r} must start at 0 and end at {len(values)}."
            )
        lengths = offsets.diff()
        refuse(s.name, lengths < 0, lengths, "is a negative length")
        too_long = f"entries are more than max_length = {s.max_length}"
        refuse(s.name, lengths > s.max_length, lengths, too_long)
        size = s.size if s.size is not None else sizes[str(s.shares)]
        bad = (values < 0) | (values >= size)
        if bool(bad.any()):
            position = int(bad.nonzero()[0, 0])
            row = int(torch.searchsorted(offsets, position, right=True)) - 1
            raise SchemaError(
                f"Column {s.name!r}, row {row}: {int(values[position])} is not an id in "
                f"0 .. {size - 1}."
            )


def _check_labels(schema: Schema, table: Any, task: Task, i: int) -> None:
    label, seen = table.labels[:, i], table.observed[:, i]
    finite = torch.isfinite(label)
    refuse(
        task.name,
        ~finite,
        label,
        "is not a finite number: a missing label is 0 in labels and False in observed",
    )
    refuse(task.name, ~seen & (label != 0), label, "stands where the label is not observed; put 0")
    if task.is_binary:
        refuse(task.name, seen & (label != 0) & (label != 1), label, "is not 0 or 1")
    elif task.kind == "multiclass":
        bad = (label < 0) | (label >= task.outputs) | (label != label.round())
        refuse(task.name, seen & bad, label, f"is not a class in 0 .. {task.outputs - 1}")
    elif task.is_count:
        bad = (label < 0) | (label != label.round())
        refuse(task.name, seen & bad, label, "is not a count (0, 1, 2, ...)")
    elif task.log1p:
        refuse(task.name, seen & (label < 0), label, "is below 0, which log1p does not allow")
    if table.censored is not None:
        flagged = table.censored[:, i]
        if task.kind != "censored_count":
            reason = f"is flagged as censored, but the task is {task.kind}, not censored_count"
            refuse(task.name, flagged, label, reason)
        refuse(task.name, flagged & ~seen, label, "is flagged as censored but not observed")
    if task.given is not None:
        parent = schema.task_index(task.given)
        unmet = seen & ~(table.observed[:, parent] & (table.labels[:, parent] == 1))
        reason = f"is observed although {task.given!r} is not 1 on this row"
        refuse(task.name, unmet, label, reason)
