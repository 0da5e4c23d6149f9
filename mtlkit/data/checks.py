"""The checks a table must pass; a refusal names the column, the first bad row and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mtlkit.schema import Schema, SchemaError, Task

MAKE = "Make one with torch.as_tensor, or the table with Table.from_columns."


def refuse(column: str, bad: Tensor, values: Tensor, reason: str) -> None:
    """Raise ``SchemaError`` for the first row where ``bad`` (row,) is true, if there is one."""
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        more = int(bad.sum()) - 1
        rest = f" ({more:,} more row(s) like it)" if more else ""
        value = values[row].item()
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        raise SchemaError(f"Column {column!r}, row {row}: {shown} {reason}{rest}.")


def _shape(name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not isinstance(value, Tensor):
        raise SchemaError(f"{name} must be a tensor, not {type(value).__name__}. {MAKE}")
    if value.layout != torch.strided or value.is_nested:
        raise SchemaError(f"{name} must be a dense tensor: call .to_dense() first.")
    if value.dtype != dtype:
        hint = " (ids through floats are exact only up to 2**24)" if dtype == torch.int64 else ""
        raise SchemaError(f"{name} must have type {dtype}, not {value.dtype}{hint}.")
    if value.requires_grad:
        raise SchemaError(f"{name} must not ask for a gradient: call .detach() first.")
    if tuple(value.shape) != shape:
        raise SchemaError(f"{name} must have shape {shape}, not {tuple(value.shape)}.")


def check_row_weights(name: str, weight: Tensor) -> None:
    """Raise ``SchemaError`` where a column of weights (row,) holds what no row can weigh."""
    bad = ~torch.isfinite(weight)
    refuse(name, bad, weight, "is no weight: every row needs a finite number of 0 or more")
    refuse(name, weight < 0, weight, "is below 0: a row weighs 0 (left out) or more")


def check_weight(name: str, weight: Tensor) -> None:
    """The same for the weights of a whole table, of which some must be above 0."""
    check_row_weights(name, weight)
    if len(weight) and not bool(weight.any()):
        raise SchemaError(
            f"Column {name!r}, rows 0 to {len(weight) - 1}: all weigh 0, so no row counts: leave "
            "the weight out, or give some row one above 0."
        )


def check_arguments(schema: Any, columns: Mapping[str, Any]) -> None:
    """Check that a table's arguments are of the right kinds, before anything is read of them."""
    if not isinstance(schema, Schema):
        raise SchemaError(f"A table needs a Schema, not a {type(schema).__name__}.")
    scenario = columns["scenario"]
    if not isinstance(scenario, Tensor):
        raise SchemaError(f"scenario must be a tensor, not {type(scenario).__name__}. {MAKE}")
    if scenario.is_nested or scenario.dim() != 1:
        raise SchemaError("scenario must be a tensor of shape (row,), one number a row.")
    for name in ("sequences", "truth", "keys"):
        entries = columns[name]
        if not isinstance(entries, Mapping) and not (entries is None and name != "sequences"):
            raise SchemaError(
                f"{name} must be a dictionary {{name: column}}, not a {type(entries).__name__}."
            )
        for key in entries or ():
            if not isinstance(key, str):
                raise SchemaError(f"{name} has an entry {key!r}: a column's name is a text.")


def check_columns(schema: Schema, columns: Mapping[str, Any]) -> None:
    """Check all columns of a table against its schema; ``SchemaError`` at the first fault.

    ``columns`` holds what a ``Table`` keeps: categorical, dense, sequences, labels, observed,
    scenario, censored, truth, keys, row_id and, where there are some, weight and group, with the
    shapes that ``Batch`` and ``Table`` state.
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
    if columns.get("group") is not None:
        _shape("group", table.group, (rows,), torch.int64)
    for name, value in table.keys.items():
        _rows(f"key {name!r}", value, rows)
        _shape(f"key {name!r}", value, (rows,), torch.int64)
    for name, value in table.truth.items():
        _rows(f"truth {name!r}", value, rows)
        flat = not isinstance(value, Tensor) or value.is_nested or value.dim() != 2
        wide = () if flat or not value.shape[1] else value.shape[1:]
        _shape(f"truth {name!r}", value, (rows, *wide), torch.float32)
    _check_places(table)
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


def _rows(name: str, value: Any, rows: int) -> None:
    if isinstance(value, Tensor) and not value.is_nested and value.dim() and len(value) != rows:
        raise SchemaError(f"{name} has {len(value)} rows; the table has {rows}.")


def _check_places(table: Any) -> None:
    """All columns are on one device, which holds values."""
    home = table.scenario.device
    for name, value in vars(table).items():
        for part in _tensors(value):
            if part.device != home:
                raise SchemaError(
                    f"{name} is on {part.device}, scenario on {home}: all belong on one device."
                )
    if home.type == "meta":
        raise SchemaError('The columns are on the device "meta", which holds no values to check.')


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _check_sequences(schema: Schema, table: Any) -> None:
    rows = len(table.scenario)
    names = {s.name for s in schema.sequences}
    if set(table.sequences) != names:
        odd = sorted(set(table.sequences) ^ names)[0]
        state = "missing" if odd in names else "not in the schema"
        raise SchemaError(f"Sequence column {odd!r} is {state}.")
    sizes = {c.name: c.size for c in schema.categorical}
    for s in schema.sequences:
        pair = table.sequences[s.name]
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise SchemaError(
                f"Sequence {s.name!r} must be a pair (values, offsets), not {type(pair).__name__}."
            )
        values, offsets = pair
        _shape(f"offsets of sequence {s.name!r}", offsets, (rows + 1,), torch.int64)
        entries = values.numel() if isinstance(values, Tensor) else 0
        _shape(f"values of sequence {s.name!r}", values, (entries,), torch.int64)
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
    check_beside(schema, {name: offsets.diff() for name, (_, offsets) in table.sequences.items()})


def check_beside(schema: Schema, counts: Mapping[str, Tensor]) -> None:
    """Raise ``SchemaError`` for the first row in which a sequence has another number of entries
    than the one that it stands beside; ``counts`` {sequence: entries of each row, int64 (row,)}."""
    for s in schema.sequences:
        if s.beside is None or s.name not in counts or s.beside not in counts:
            continue
        own, others = counts[s.name], counts[s.beside]
        wrong = (own != others).nonzero()
        if len(wrong):
            row = int(wrong[0, 0])
            more = f" ({len(wrong) - 1:,} more row(s) like it)" if len(wrong) > 1 else ""
            raise SchemaError(
                f"Column {s.name!r}, row {row}: {int(own[row])} entries stand beside "
                f"{int(others[row])} of {s.beside!r}{more}. Give one for each event, and "
                "where it is not known null to an Encoder, 0 to a Table."
            )


def _check_labels(schema: Schema, table: Any, task: Task, i: int) -> None:
    label, seen = table.labels[:, i], table.observed[:, i]
    finite = torch.isfinite(label)
    refuse(
        task.name,
        ~finite,
        label,
        "is not a finite number: a missing label is null in a frame (in a Table 0 in labels and "
        "False in observed)",
    )
    refuse(task.name, ~seen & (label != 0), label, "stands where the label is not observed; put 0")
    if task.is_binary:
        refuse(task.name, seen & (label != 0) & (label != 1), label, "is not 0 or 1")
    elif task.kind == "multiclass":
        bad = (label < 0) | (label >= task.outputs) | (label != label.round())
        refuse(task.name, seen & bad, label, f"is not a class: they are 0 .. {task.outputs - 1}")
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
