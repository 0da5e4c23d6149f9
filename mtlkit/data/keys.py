"""Keys: columns kept for splits and groups, of any type, as whole numbers."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, timezone

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.data.vocabulary import family
from mtlkit.schema import SchemaError


def key_numbers(series: pl.Series) -> Tensor:
    """A key column as int64 (row,): equal values have equal numbers, moments keep their order.

    Whole numbers and truth values stay as they are, text becomes a hash of 64 bits (the same on
    every machine), dates and moments become microseconds since 1970. Raises ``SchemaError`` for
    gaps, other types and numbers beyond 64 bits.
    """
    name = series.name.removeprefix("key:")
    if series.null_count():
        row = int(series.is_null().arg_max() or 0)
        raise SchemaError(
            f"Key {name!r}, row {row}: the value is missing ({series.null_count():,} in "
            "all). Fill it, or leave these rows out."
        )
    kind = family(series.dtype)
    if kind == "text":
        text = series.cast(pl.String)
        values = text.unique()
        hashes = pl.Series([_hash(value) for value in values.to_list()], dtype=pl.Int64)
        numbers = text.replace_strict(values, hashes, return_dtype=pl.Int64)
    elif kind in ("whole numbers", "truth values", "dates") or kind.startswith("moments"):
        if kind == "dates":
            series = series.cast(pl.Datetime("us"))
        elif kind.startswith("moments"):
            series = series.dt.cast_time_unit("us")
        numbers = series.to_physical().cast(pl.Int64, strict=False)
        if numbers.null_count():
            row = int(numbers.is_null().arg_max() or 0)
            raise SchemaError(f"Key {name!r}, row {row}: {series[row]} needs over 64 bits.")
    else:
        raise SchemaError(
            f"Key {name!r} holds {kind}; a key is text, a whole number, a date or a moment."
        )
    return torch.from_numpy(np.array(numbers.to_numpy()))


def _hash(value: str) -> int:
    digest = hashlib.blake2b(value.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def moment(value: int | str | date | datetime) -> int:
    """A point in time as the number that a time key has: a whole number stays as it is.

    A date is its midnight; a text is read as ISO 8601 ("2026-11-29", "2026-11-29T18:30"); a moment
    without time zone counts as UTC, as in a column without one. Raises ``ValueError`` for other
    values.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no date: write it as 2026-11-29.") from None
    if isinstance(value, date):
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        past = value - datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds
    if int(value) != value:
        raise ValueError(f"A boundary is a whole number, a date or a moment, not {value!r}.")
    return int(value)
