"""The vocabulary of scenarios: any column's values by name, and what is not known as unknown."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.schema import Schema, SchemaError

NESTED = (pl.List, pl.Array, pl.Struct, pl.Object)


def scenario_names(series: pl.Series) -> list[str]:
    """The names of a column's scenarios: its distinct values as text; null, NaN, blank left out.

    Numbers, dates and truth values are in their own order, text in the order of its letters; the
    name of a value is ``str(value)``. Raises ``SchemaError`` for a column of lists or records.
    """
    values = _plain(series).drop_nulls()
    if values.dtype.is_float():
        values = values.drop_nans().sort()  # unique() merges -0.0 and 0.0, two texts
    else:
        values = values.unique().sort()
    return list(dict.fromkeys(name for name in _text(values).to_list() if name.strip()))


def scenario_numbers(series: pl.Series, schema: Schema) -> Tensor:
    """Each row's scenario, int64 (row,): the number of its name, or ``schema.unknown_scenario``.

    A value that is no known name, null, NaN and blank text are unknown, never another scenario.
    """
    numbers = {name: number for number, name in enumerate(schema.scenario_names)}
    text = _text(_plain(series))
    found = text.replace_strict(numbers, default=schema.unknown_scenario, return_dtype=pl.Int64)
    return torch.from_numpy(np.array(found.fill_null(schema.unknown_scenario).to_numpy()))


def read_as(series: pl.Series, learned: pl.DataType) -> pl.Series:
    """The column in the type in which scenarios were learned, where a value is the same in both.

    Text and whole numbers are read alike ("3" and 3), whole numbers and floats where they are equal
    (3 and 3.0: a column with gaps comes as floats from elsewhere). Raises ``SchemaError`` for other
    types (0 for False, a moment for a day), where every row would be unknown without a word.
    """
    here, there = _family(series.dtype), _family(learned)
    if here == there or {here, there} == {"text", "whole"} or series.null_count() == len(series):
        return series
    if (here, there) == ("whole", "float"):
        return series.cast(pl.Float64)
    if (here, there) == ("float", "whole"):
        exact = (series == series.round()) & (series.abs() < 2**53)
        whole = series.set(~exact.fill_null(False), None).cast(pl.Int64)
        return whole.alias(series.name)
    raise SchemaError(
        f"Column {series.name!r} has type {series.dtype}; in training it was {learned}. Cast it to "
        "that type: as it is, no row would be of a known scenario."
    )


def _family(dtype: pl.DataType) -> str:
    if dtype in (pl.Categorical, pl.Enum, pl.String):
        return "text"
    return "whole" if dtype.is_integer() else "float" if dtype.is_float() else str(type(dtype))


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
