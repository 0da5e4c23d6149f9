"""From named columns (a polars DataFrame or a mapping of arrays) to the tensors of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.data.batch import Ragged
from mtlkit.data.checks import check_beside, check_weight
from mtlkit.data.frames import require_column
from mtlkit.data.keys import key_numbers
from mtlkit.data.scenarios import scenario_numbers
from mtlkit.schema import Schema, SchemaError, Task
from mtlkit.schema import Sequence as SequenceField


def _get(columns: Any, name: str) -> Any:
    names = columns.columns if isinstance(columns, pl.DataFrame) else list(columns)
    if name not in names:
        raise SchemaError(
            f"Column {name!r} is missing; the table has {', '.join(map(str, names))}."
        )
    return columns[name]


def _series(columns: Any, name: str) -> pl.Series:
    value = _get(columns, name)
    if isinstance(value, Tensor):
        value = value.numpy()
    require_column(name, value)
    try:
        return value.alias(name) if isinstance(value, pl.Series) else pl.Series(name, value)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"Column {name!r} could not be read as one column: {error}") from error


def column_names(names: str | Iterable[str], argument: str) -> list[str]:
    """Names of columns as a list; one text is one name, not its letters.

    Raises ``ValueError`` for what is neither.
    """
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Iterable) or isinstance(listed, Mapping | bytes):
        raise ValueError(f'{argument} is a list of columns, {argument}=["name"], not {names!r}.')
    return list(listed)


def _no_nulls(series: pl.Series) -> None:
    if series.null_count():
        row = int(series.is_null().arg_max() or 0)
        raise SchemaError(
            f"Column {series.name!r}, row {row}: the value is missing "
            f"({series.null_count():,} in all). Fill it, or let an Encoder do so."
        )


def whole_numbers(series: pl.Series) -> Tensor:
    """Return an integer column as int64 (row,). Floats are refused: they would round ids."""
    _no_nulls(series)
    if not (series.dtype.is_integer() or series.dtype == pl.Boolean):
        raise SchemaError(
            f"Column {series.name!r} has type {series.dtype}; whole numbers are needed. "
            "Turn text into ids with an Encoder."
        )
    cast = series.cast(pl.Int64, strict=False)
    if cast.null_count():
        row = int(cast.is_null().arg_max() or 0)
        raise SchemaError(f"Column {series.name!r}, row {row}: {series[row]} needs over 64 bits.")
    return torch.from_numpy(np.array(cast.to_numpy()))


def numbers(series: pl.Series) -> Tensor:
    """Return a numeric column as float32 (row,)."""
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise SchemaError(f"Column {series.name!r} has type {series.dtype}; numbers are needed.")
    _no_nulls(series)
    return torch.from_numpy(np.array(series.cast(pl.Float32).to_numpy()))


def weights(series: pl.Series) -> Tensor:
    """A column of weights as float32 (row,). Raises ``SchemaError`` for a gap and for what is no
    weight, by its row."""
    found = numbers(series)
    check_weight(series.name, found)
    return found


WHOLE = {
    "binary": "0 or 1", "multiclass": "the number of a class, 0, 1, 2, ...",
    "count": "0, 1, 2, ...", "censored_count": "0, 1, 2, ...",
}  # fmt: skip


def _how(series: pl.Series, task: Task) -> str:
    """How text becomes a label, with a value of the column."""
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum) or not len(series.drop_nulls()):
        return ""
    name, value = series.name, str(series.cast(pl.String).drop_nulls().max())
    if task.is_binary:
        return f', for example pl.col("{name}") == "{value}"'
    if task.kind == "multiclass":
        return f', for example pl.col("{name}").rank("dense") - 1'
    return f', for example pl.col("{name}").cast(pl.Float64)'


def label_numbers(series: pl.Series, task: Task) -> pl.Series:
    """A label column as Float64, null where there is no label.

    Raises ``SchemaError`` for a type without numbers, and for a number that a label (float32)
    cannot hold: beyond 3.4e38, or a count or class that would be rounded.
    """
    if not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        raise SchemaError(
            f"Column {series.name!r} has type {series.dtype}; the label of a {task.kind} task is a "
            f"number. Turn it into numbers first{_how(series, task)}."
        )
    values = series.cast(pl.Float64)
    narrow = values.cast(pl.Float32)
    bad, reason = narrow.is_infinite(), "a label holds numbers up to 3.4e38"
    if not bad.any() and task.kind != "regression":
        bad = (narrow.cast(pl.Float64) != values) & values.is_not_nan()
        reason = f"the label of a {task.kind} task would be rounded (float32 is exact to 2**24)"
        broken = values.is_finite() & (values != values.round())
        if broken.any():
            bad, reason = broken, f"the label of a {task.kind} task is {WHOLE[task.kind]}"
            reason += f'. An amount is Task("{task.name}", "regression")'
    if bad.any():
        row = int(bad.fill_null(False).arg_max() or 0)
        raise SchemaError(f"Column {series.name!r}, row {row}: {series[row]}; {reason}.")
    return values


def _dense_block(columns: Any, name: str, width: int) -> Tensor:
    if width == 1:
        return numbers(_series(columns, name)).unsqueeze(1)  # (row, 1)
    value = _get(columns, name)
    if isinstance(value, pl.Series):
        _no_nulls(value)
        try:
            value = np.array(value.to_list(), dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise SchemaError(f"Column {name!r}: rows do not all hold {width} numbers.") from error
    block = torch.as_tensor(np.array(value), dtype=torch.float32)
    if block.dim() != 2 or block.shape[1] != width:
        raise SchemaError(
            f"Column {name!r} must have shape (row, {width}), not {tuple(block.shape)}."
        )
    return block


def _lists(series: pl.Series) -> pl.Series:
    """A column of lists, empty where there is none."""
    if not isinstance(series.dtype, (pl.List, pl.Array)):
        raise SchemaError(f"Column {series.name!r} has type {series.dtype}; lists are needed.")
    return series.cast(pl.List(series.dtype.inner)).fill_null([])


def check_events(schema: Schema, columns: Any) -> None:
    """Raise ``SchemaError`` where sequences beside each other differ in length, before any cut."""
    beside = {s.name: s.beside for s in schema.sequences if s.beside is not None}
    names = {*beside, *beside.values()}
    counts = {}
    for name in sorted(names):
        found = _lists(_series(columns, name)).list.len().cast(pl.Int64)
        counts[name] = torch.from_numpy(np.array(found.to_numpy()))
    check_beside(schema, counts)


def ragged(series: pl.Series, field: SequenceField) -> Ragged:
    """Return a column of lists as values and offsets, keeping the newest ``max_length`` entries."""
    lists = _lists(series).list.tail(field.max_length)
    lengths = np.array(lists.list.len().cast(pl.Int64).to_numpy())
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    values = lists.filter(lists.list.len() > 0).explode()
    tensor = whole_numbers(values) if len(values) else torch.zeros(0, dtype=torch.int64)
    return tensor, torch.from_numpy(offsets)


def _array(value: Any) -> Tensor:
    """A tensor of its own from a tensor, an array, a polars column or a list."""
    return value.clone() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def _one_mask(value: Any, name: str, rows: int) -> Tensor:
    mask = _array(value)
    if mask.dtype != torch.bool or mask.shape != (rows,):
        raise SchemaError(f"The mask of task {name!r} must be bool ({rows},).")
    return mask


def column_tensors(
    schema: Schema,
    columns: pl.DataFrame | Mapping[str, Any],
    *,
    scenario: str | None,
    observed: Mapping[str, Any],
    censored: Mapping[str, Any],
    truth: Mapping[str, Any],
    keys: Sequence[str],
    row_id: Any | None,
    weight: str | None = None,
) -> dict[str, Any]:
    """The arguments of a ``Table`` beside its schema, from columns of the schema's names.

    A label that is null (polars) or where ``observed[task]`` is False is not observed. ``scenario``
    names the scenario column: scenario names, or, where no name of the schema is itself a whole
    number, the scenarios' numbers 0, 1, ...; ``keys`` names columns of whole numbers, text, dates
    or moments; ``censored`` {task: bool (row,)}; ``truth`` {task: array (row,) or (row, k)};
    ``weight`` names the column that says how much each row counts.
    Without any of the label columns no label is observed: rows to score.
    """
    rows = _row_count(columns)
    for what, entries in (("observed", observed), ("censored", censored), ("truth", truth)):
        for name in entries:
            if what == "truth":
                continue
            if name not in schema.task_names:
                raise SchemaError(
                    f"{what} names {name!r}, which is no task; known are "
                    f"{', '.join(schema.task_names)}."
                )
    categorical = [whole_numbers(_series(columns, c.name)) for c in schema.categorical]
    dense = [_dense_block(columns, d.name, d.width) for d in schema.dense]
    labels = torch.zeros(rows, schema.num_tasks)
    seen = torch.zeros(rows, schema.num_tasks, dtype=torch.bool)
    flags = torch.zeros(rows, schema.num_tasks, dtype=torch.bool) if censored else None
    given = columns.columns if isinstance(columns, pl.DataFrame) else list(columns)
    labelled = any(task.name in given for task in schema.tasks)  # otherwise rows to score
    for i, task in enumerate(schema.tasks if labelled else ()):
        series = _series(columns, task.name)
        series = label_numbers(series, task)
        known = torch.from_numpy(np.array(series.is_not_null().to_numpy()))
        if task.name in observed:
            known &= _one_mask(observed[task.name], task.name, rows)
        values = numbers(series.fill_null(0))
        labels[:, i] = torch.where(known, values, torch.zeros(()))
        seen[:, i] = known
        if flags is not None and task.name in censored:
            flags[:, i] = _one_mask(censored[task.name], task.name, rows)
    none = torch.zeros(rows, 0)
    check_events(schema, columns)
    return {
        "categorical": torch.stack(categorical, 1) if categorical else none.to(torch.int64),
        "dense": torch.cat(dense, 1) if dense else none,
        "sequences": {s.name: ragged(_series(columns, s.name), s) for s in schema.sequences},
        "labels": labels,
        "observed": seen,
        "scenario": _scenario_column(schema, columns, scenario, rows),
        "censored": flags,
        "truth": {k: _array(v).to(torch.float32) for k, v in truth.items()},
        "keys": {name: key_numbers(_series(columns, name)) for name in keys},
        "row_id": None if row_id is None else _array(row_id).to(torch.int64),
        "weight": None if weight is None else weights(_series(columns, weight)),
    }


def _row_count(columns: Any) -> int:
    if isinstance(columns, pl.DataFrame):
        return columns.height
    lengths = {name: len(value) for name, value in columns.items()}
    if not lengths:
        raise SchemaError("There are no columns.")
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise SchemaError(
                f"Column {name!r} has {length} rows, column {first!r} has {lengths[first]}."
            )
    return lengths[first]


def _scenario_column(schema: Schema, columns: Any, name: str | None, rows: int) -> Tensor:
    if name is None:
        if schema.num_scenarios > 1:
            raise SchemaError(
                f"The schema has {schema.num_scenarios} scenarios; name their column: scenario=..."
            )
        return torch.zeros(rows, dtype=torch.int64)
    series = _series(columns, name)
    if series.dtype.is_integer() and not any(map(_is_whole, schema.scenario_names)):
        return whole_numbers(series)
    numbers = scenario_numbers(series, schema)
    readable = series.dtype.is_integer() or series.dtype in (pl.String, pl.Categorical, pl.Enum)
    if not readable and series.null_count() < rows and (numbers == schema.unknown_scenario).all():
        raise SchemaError(
            f"Column {name!r} has type {series.dtype} and none of its values is the name of a "
            f"scenario; known are {', '.join(schema.scenario_names)}."
        )
    return numbers


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal()
