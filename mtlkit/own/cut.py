"""Which rows are for training, validation and test, decided before anything is learned of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mtlkit.data.keys import key_numbers
from mtlkit.data.splits import random_parts, require_rows, time_parts
from mtlkit.data.vocabulary import family
from mtlkit.schema import SchemaError


@dataclass(frozen=True)
class Cut:
    """The part of every row, int64 (row,): 0 training, 1 validation, 2 test.

    ``by`` is "time", "group" or "rows", ``key`` the column of time or groups, ``told`` a sentence.
    """

    part: np.ndarray
    by: str
    key: str | None
    told: str


def find_cut(
    frame: pl.DataFrame,
    *,
    time: str | None,
    group: str | None,
    fractions: Sequence[float],
    boundaries: Sequence[Any] | None,
    seed: int,
) -> Cut:
    """Cut by time, by groups drawn at random, or by rows drawn at random.

    Raises ``ValueError`` for arguments that contradict each other and ``SchemaError`` for a time
    column without order, a gap in either column, and a part without rows.
    """
    if time is not None and group is not None:
        raise ValueError("Give time or group, not both: rows are cut in one way.")
    if boundaries is not None and time is None:
        raise ValueError("boundaries are those of a time: name its column, time=...")
    if time is not None:
        cut = _by_time(frame[time], fractions, boundaries)
    elif group is not None:
        groups = key_numbers(frame[group]).numpy()
        count = len(np.unique(groups))
        told = f"{count:,} values of {group!r} drawn at random; all rows of one are in one part"
        cut = Cut(random_parts(len(frame), fractions, seed, groups), "group", group, told)
    else:
        part = random_parts(len(frame), fractions, seed)
        cut = Cut(part, "rows", None, "rows drawn at random")
    try:
        require_rows(cut.part)
    except SchemaError as error:
        raise SchemaError(
            f"{error} The frame has {len(frame):,} rows, cut by {cut.key or 'chance'}: give more, "
            "or other fractions or boundaries."
        ) from error
    return cut


def _by_time(series: pl.Series, fractions: Sequence[float], boundaries: Any) -> Cut:
    kind = family(series.dtype)
    if not (kind in ("whole numbers", "dates") or kind.startswith("moments")):
        raise SchemaError(
            f"Column {series.name!r} holds {kind}; a time is a whole number, a date or a moment. "
            f"{_how(series, kind)}"
        )
    time = key_numbers(series).numpy()
    if boundaries is None:
        random_parts(0, fractions)  # refuses wrong fractions
        first, second = (series[place] for place in _places(series.name, time, fractions))
    elif len(boundaries) != 2:
        raise ValueError(f"boundaries are two: first of validation, first of test; {boundaries}.")
    else:
        first, second = boundaries
    told = f"by {series.name!r}: training before {first}, test from {second} on"
    return Cut(time_parts(time, (first, second)), "time", series.name, told)


def _how(series: pl.Series, kind: str) -> str:
    if kind != "text":
        return f'Cast it, for example pl.col("{series.name}").cast(pl.Int64).'
    first = series.drop_nulls().head(1).cast(pl.String).to_list()
    to = "to_datetime" if first and ":" in first[0] else "to_date"
    return (
        f'Make it one: frame.with_columns(pl.col("{series.name}").str.{to}()). Of a CSV file, '
        "pl.read_csv(path, try_parse_dates=True) does."
    )


def _places(name: str, time: np.ndarray, fractions: Sequence[float]) -> tuple[int, int]:
    """Rows that hold the boundaries: the moments with the nearest shares of rows before them."""
    moments, first_rows, counts = np.unique(time, return_index=True, return_counts=True)
    if len(moments) < 3:
        raise SchemaError(
            f"Column {name!r} has {len(moments)} different moment(s); a cut into training, "
            "validation and test needs 3 or more."
        )
    before = (np.cumsum(counts) - counts) / len(time)  # share of rows before each moment
    one = 1 + int(np.abs(before[1:-1] - fractions[0]).argmin())
    two = one + 1 + int(np.abs(before[one + 1 :] - sum(fractions[:2])).argmin())
    return int(first_rows[one]), int(first_rows[two])
