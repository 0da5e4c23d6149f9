"""Columns of amounts: numbers with gaps, on the scale on which an encoder standardises them."""

from __future__ import annotations

import polars as pl

from mtlkit.schema import SchemaError


def amounts(series: pl.Series, *, log1p: bool = False) -> tuple[pl.Series, pl.Series]:
    """A column's numbers as Float64, null where there are none, and its gaps (bool), both (row,).

    NaN is a gap, and so is every row of a column without values, whatever type it came with. With
    ``log1p`` the numbers are log(1 + x). Raises ``SchemaError`` that names column and row for what
    is no amount: text, infinity, and with ``log1p`` numbers below 0.
    """
    name, type_ = series.name, series.dtype
    if series.null_count() == len(series):
        type_ = pl.Float64()
        series = pl.Series(name, [None] * len(series), dtype=type_)
    if not (type_.is_numeric() or type_ == pl.Boolean):
        raise SchemaError(
            f"Column {name!r} has type {series.dtype}; a dense column needs numbers. "
            "Clean it first, or list it as categorical."
        )
    series = series.cast(pl.Float64)
    bad = series.is_infinite().fill_null(False)
    if bad.any():
        raise SchemaError(
            f"Column {name!r}, row {bad.arg_max()}: infinity is not a number. Make it null, which "
            "is a gap."
        )
    series = series.fill_nan(None)
    if log1p:
        low = (series < 0).fill_null(False)
        if low.any():
            row = int(low.arg_max() or 0)
            raise SchemaError(
                f"Column {name!r}, row {row}: {series[row]} is below 0, which log1p does not "
                "allow. Clean it first."
            )
        series = series.log1p()
    return series, series.is_null()
