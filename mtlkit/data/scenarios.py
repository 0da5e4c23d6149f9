"""The vocabulary of scenarios: any column's values by name, and what is not known as unknown."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.schema import Schema, SchemaError

NESTED = (pl.List, pl.Array, pl.Struct, pl.Object)


def scenario_names(series: pl.Series) -> list[str]:
    """The names of a column's scenarios: its distinct values as text, null and NaN left out.

    Numbers, dates and truth values are in their own order, text in the order of its letters; the
    name of a value is ``str(value)``. Raises ``SchemaError`` for a column of lists or records.
    """
    values = _plain(series).drop_nulls()
    if values.dtype.is_float():
        values = values.drop_nans()
        return list(dict.fromkeys(_text(values.sort()).to_list()))  # -0.0 is another text than 0.0
    return _text(values.unique().sort()).to_list()


def scenario_numbers(series: pl.Series, schema: Schema) -> Tensor:
    """Each row's scenario, int64 (row,): the number of its name, or ``schema.unknown_scenario``.

    A value that is no known name, null and NaN are unknown, never another scenario.
    """
    numbers = {name: number for number, name in enumerate(schema.scenario_names)}
    text = _text(_plain(series))
    found = text.replace_strict(numbers, default=schema.unknown_scenario, return_dtype=pl.Int64)
    return torch.from_numpy(np.array(found.fill_null(schema.unknown_scenario).to_numpy()))


def _plain(series: pl.Series) -> pl.Series:
    if isinstance(series.dtype, NESTED) or series.dtype in NESTED:
        raise SchemaError(
            f"Column {series.name!r} has type {series.dtype}; a scenario is one value a row: text, "
            "a number, a date or a truth value."
        )
    return series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series


def _text(series: pl.Series) -> pl.Series:
    """``str`` of every value; whole numbers and text without a detour through Python."""
    if series.dtype == pl.String or series.dtype.is_integer():
        return series.cast(pl.String)
    values = [None if value is None else str(value) for value in series.to_list()]
    return pl.Series(series.name, values, dtype=pl.String)
