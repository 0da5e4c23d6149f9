"""Vocabularies: which values of a column have ids of their own, and the ids of other rows."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from mtlkit.data.frames import collected
from mtlkit.schema import SchemaError

TEXT = (pl.String, pl.Categorical, pl.Enum)
PLAIN = {
    pl.Boolean: "truth values", pl.Date: "dates", pl.Time: "times of day",
    pl.Duration: "durations", pl.Binary: "bytes", pl.Decimal: "decimals", pl.Null: "nothing",
}  # fmt: skip
NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000}


def family(dtype: pl.DataType) -> str:
    """What kind of values a column has, in words; types of one family are read alike.

    Whole numbers of any width, text of any form (text, categories, Enum), moments of any unit.
    """
    if dtype in TEXT:
        return "text"
    if dtype.is_integer():
        return "whole numbers"
    if dtype.is_float():
        return "floats"
    if isinstance(dtype, pl.Datetime):
        return f"moments ({dtype.time_zone or 'without time zone'})"
    return PLAIN.get(type(dtype), f"values of type {dtype}")


def learn(series: pl.Series, min_count: int = 1) -> pl.Series:
    """The distinct values that occur ``min_count`` times or more, sorted; id k is the k-th.

    Raises ``SchemaError`` for floats (equal numbers may differ in their last digits) and for lists,
    records and objects.
    """
    kind = _learnable(series.name, series.dtype)
    values = (series.cast(pl.String) if kind == "text" else series).drop_nulls()
    return _often(values.alias("value").value_counts(name="times"), min_count)


def learn_lazily(frame: pl.LazyFrame, min_count: int = 1) -> pl.Series:
    """``learn`` of a LazyFrame's one column, counted as a stream: only its values are in memory."""
    ((name, dtype),) = frame.collect_schema().items()
    kind = _learnable(name, dtype)
    if kind == "nothing":
        return pl.Series("value", [], dtype=dtype)
    value = pl.col(name).cast(pl.String) if kind == "text" else pl.col(name)
    values = frame.select(value.alias("value")).drop_nulls()
    return _often(collected(values.group_by("value").agg(times=pl.len())), min_count)


def _learnable(name: str, dtype: pl.DataType) -> str:
    kind = family(dtype)
    if kind == "floats":
        raise SchemaError(
            f"Column {name!r} holds floats; ids must be whole numbers or text "
            "(floats are exact only up to 2**24 in float32). Whole numbers that gaps made floats: "
            f'pl.col("{name}").cast(pl.Int64).'
        )
    if dtype.is_nested() or dtype == pl.Object:
        raise SchemaError(
            f"Column {name!r} has type {dtype}; ids are learned from one value a "
            "row: text, whole numbers, dates or truth values. Give lists of values as sequences."
        )
    return kind


def _often(counts: pl.DataFrame, min_count: int) -> pl.Series:
    return counts.filter(pl.col("times") >= min_count)["value"].sort()


def ids(series: pl.Series, vocabulary: pl.Series) -> pl.Series:
    """The id of every row, Int64: 1, 2, ... by ``vocabulary``; 0 for null and for other values.

    A value of another family than the vocabulary's raises ``SchemaError``: as it is, every row
    would be unknown without a word, and a cast might cut it.
    """
    nothing = pl.Series(series.name, np.zeros(len(series), dtype=np.int64))
    if len(vocabulary) == 0 or series.null_count() == len(series):
        return nothing
    here, there = family(series.dtype), family(vocabulary.dtype)
    if here != there:
        hint = " A column with gaps may have come as floats from elsewhere." if (
            here == "floats" and there == "whole numbers") else ""  # fmt: skip
        raise SchemaError(
            f"Column {series.name!r} holds {here} ({series.dtype}); in training it held {there} "
            f"({vocabulary.dtype}).{hint} Cast it to that type."
        )
    numbers = pl.Series(np.arange(1, len(vocabulary) + 1, dtype=np.int64))
    found = _comparable(series).replace_strict(
        _comparable(vocabulary), numbers, default=0, return_dtype=pl.Int64
    )
    return found.fill_null(0)


def _comparable(series: pl.Series) -> pl.Series:
    """The same values in the one type of their family."""
    kind = family(series.dtype)
    if kind == "text":
        return series.cast(pl.String)
    if kind == "whole numbers":
        return series.cast(pl.Int128)
    if isinstance(series.dtype, pl.Datetime):
        factor = pl.Series([NANOSECONDS[series.dtype.time_unit or "us"]], dtype=pl.Int128)
        return series.to_physical().cast(pl.Int128) * factor
    return series


def fingerprint(parts: dict[str, pl.Series | list[float] | list[str]]) -> str:
    """A short hash of vocabularies, scales and names, the same on every machine.

    Whole numbers hash alike whatever their width, and text whatever its form.
    """
    digest = hashlib.sha256()
    for name, values in parts.items():
        if isinstance(values, pl.Series):
            values = [family(values.dtype), *map(str, _comparable(values).to_list())]
        told = "\x1f".join(v if isinstance(v, str) else repr(v) for v in values)
        digest.update(f"{name}\x1e{told}\x1d".encode())
    return digest.hexdigest()[:16]
