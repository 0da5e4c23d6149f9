"""What no table can hold, told by its row in the caller's frame, before rows are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from mtlkit.data.amounts import amounts
from mtlkit.data.table import Table
from mtlkit.own.roles import Roles
from mtlkit.schema import Schema, SchemaError, Task

Flags = dict[str, np.ndarray]  # {task: bool (row,)}


def check_rows(
    frame: pl.DataFrame,
    tasks: Sequence[Task],
    roles: Roles,
    *,
    keys: Sequence[str],
    weight: str | None,
    flags: Flags,
) -> None:
    """Raise ``SchemaError`` for the first label, key, weight, flag or amount that is none.

    Its row is that of the frame. Afterwards the tables of the parts are made, where a row has
    another number, and nothing more is learned here than that every row can be read.
    """
    names = dict.fromkeys([*(task.name for task in tasks), *keys, *([weight] if weight else [])])
    Table.from_columns(
        Schema(tuple(tasks)), frame.select(*names), keys=tuple(keys), weight=weight, censored=flags
    )
    for name in roles.dense:
        amounts(frame[name], log1p=name in roles.log1p)


def require_scales(frame: pl.DataFrame, tasks: Sequence[Task], train: np.ndarray) -> None:
    """Raise ``SchemaError`` for a regression of fewer than two labels in the rows of a mask."""
    rows = frame.filter(pl.Series(train))
    for task in tasks:
        labels = len(rows) - rows[task.name].null_count()
        if task.kind == "regression" and labels < 2:
            raise SchemaError(
                f"Task {task.name!r} has {labels} label(s) in the training rows, too few to "
                "measure its scale: cut elsewhere (fractions, boundaries), or leave it out."
            )


def censored_flags(frame: pl.DataFrame, tasks: Sequence[Task], columns: Mapping[str, str]) -> Flags:
    """{task: where its label is a lower bound, bool (row,)}, from columns of 0 and 1.

    A flag where there is no label says nothing and is False. Raises ``SchemaError`` for a task that
    is no censored count, for a censored count without a column, and for a gap or another value.
    """
    kinds = {task.name: task.kind for task in tasks}
    for name in columns:
        if kinds.get(name) != "censored_count":
            raise SchemaError(
                f"censored names {name!r}, which is no censored_count among the tasks: "
                f'Task("{name}", "censored_count").'
            )
    flags = {}
    for name in (name for name, kind in kinds.items() if kind == "censored_count"):
        if name not in columns:
            raise SchemaError(
                f"Task {name!r} is a censored_count, and nothing says which rows are censored: "
                f'name a column of 0 and 1, censored={{"{name}": "sold_out"}}, or make the task a '
                "count."
            )
        flags[name] = _flag(frame[columns[name]], name) & frame[name].is_not_null().to_numpy()
    return flags


def _flag(series: pl.Series, task: str) -> np.ndarray:
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        said = pl.Series([False] * len(series))
    else:
        said = series.cast(pl.Float64).is_in([0.0, 1.0]).fill_null(False)
    if not said.all():
        row = int((~said).arg_max() or 0)
        raise SchemaError(
            f"Column {series.name!r}, row {row}: {series[row]!r} does not say whether {task} is "
            "censored: 1 (or true) where it is, 0 where it is not."
        )
    return (series.cast(pl.Float64) == 1).to_numpy()
