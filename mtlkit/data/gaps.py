"""Time gaps as ids: which power of two seconds they reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.schema import SchemaError

GAP_IDS = 32  # the size of a sequence of gaps: Sequence("gap", size=GAP_IDS, beside="viewed")


def gap_ids(seconds: Any) -> Tensor:
    """Ids of time gaps, int64 of the same shape, by powers of two of seconds.

    0: no gap is known (NaN, as before the first event); 1: from 0 to below 1 s; k: from 2**(k - 2)
    to below 2**(k - 1) s, so 2 is 1 s, 3 is 2 and 3 s, 7 begins at 32 s, 14 at 1.1 hours, 18 at
    18 hours; 31 is 2**29 s (17 years) and more. Relative size is what tells gaps apart, and few ids
    of many rows each are learned well. Raises ``SchemaError`` for a gap below 0: events of a
    sequence stand oldest first.
    """
    gaps = seconds if isinstance(seconds, Tensor) else torch.from_numpy(np.array(seconds))
    gaps = gaps.to(torch.float64)
    if bool((gaps < 0).any()):
        raise SchemaError(
            f"A gap is {float(gaps[gaps < 0][0]):g} seconds: events of a sequence stand oldest "
            "first; sort them."
        )
    _, exponent = torch.frexp(gaps.clamp(max=2.0 ** (GAP_IDS - 2)))  # gaps = m 2**exponent
    found = torch.where(gaps < 1, 1, exponent.to(torch.int64) + 1).clamp(max=GAP_IDS - 1)
    return torch.where(gaps.isnan(), 0, found)


def gaps_before(moments: pl.Series) -> pl.Series:
    """The id of the gap before each event: lists of moments -> lists of ``gap_ids`` as long.

    Moments are dates, date-times or numbers of seconds, oldest first, in a column of lists or
    arrays; a row's first event, and one whose moment or the one before is missing (null or NaN),
    has id 0. The ids go into a table as they are
    (``Table.from_columns``); an ``Encoder`` learns ids of its own for those that occur. Raises
    ``SchemaError`` for a column of other things and for events out of order, by their row.
    """
    kind: pl.DataType = pl.Null()
    if isinstance(moments.dtype, (pl.List, pl.Array)):
        kind = pl.Series(dtype=moments.dtype.inner).dtype
    timed = kind.is_temporal()
    if not (timed or kind.is_numeric()) or isinstance(kind, pl.Time):
        raise SchemaError(
            f"Column {moments.name!r} has type {moments.dtype}; lists of moments are needed: "
            "dates, date-times or numbers of seconds."
        )
    lists = moments.cast(pl.List(kind))  # an Array has no list functions
    rows = pl.DataFrame({"row": np.arange(len(moments)), "moment": lists})
    events = rows.filter(pl.col("moment").list.len() > 0).explode("moment")
    if kind.is_float():
        events = events.with_columns(pl.col("moment").fill_nan(None))
    gap = pl.col("moment").diff().over("row")
    seconds = gap.dt.total_microseconds() / 1e6 if timed else gap
    events = events.with_columns(
        seconds.cast(pl.Float64).alias("gap"),
        pl.col("moment").forward_fill().shift().over("row").alias("last"),  # the last known one
    )
    late = events.filter(pl.col("moment") < pl.col("last"))
    if late.height:
        raise SchemaError(
            f"Column {moments.name!r}, row {late['row'][0]}: events are out of order; sort each "
            "list, oldest first."
        )
    found = gap_ids(events["gap"].fill_null(float("nan")).to_numpy())
    events = events.with_columns(pl.Series("gap", found.numpy()))
    found_lists = events.group_by("row", maintain_order=True).agg("gap")
    whole = rows.select("row").join(found_lists, on="row", how="left", maintain_order="left")
    return whole["gap"].cast(pl.List(pl.Int64)).fill_null([]).alias(moments.name)
