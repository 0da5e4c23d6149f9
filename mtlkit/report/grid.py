"""A table of means and differences: candidates down, tasks or references across."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from mtlkit.report.parts import Report
from mtlkit.report.source import source_of
from mtlkit.report.specs import cell


def grid(
    source: Any,
    rows: Iterable[str] | Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, Mapping[str, Any]],
    *,
    first: str = "candidate",
    digits: int = 3,
) -> Report:
    """A table with one cell for each row and column; where both say a key, the column wins.

    ``rows``: candidates, or {label: spec}; ``columns``: {heading: spec}. A spec is a dictionary
    with ``candidate`` (one of row and column must name it), ``task``, ``metric``, ``sign`` and
    groups of the source; with ``minus`` (a reference) the cell is a difference, else a mean.
    ``show`` says how: "mean" (a number) or "interval"; "short" ("+0.012 (0.004 to 0.020), 4/0"),
    "sentence", "counts" or "gap" (a number). ``times`` is a factor, ``digits`` the decimals.
    ``first`` heads the column of labels. A candidate minus itself leaves its cell empty.

    Raises ``ValueError`` for no rows or columns, and for a spec that the source cannot serve; the
    sentence names the row and the column.
    """
    read = source_of(source)
    named = rows if isinstance(rows, Mapping) else {name: {"candidate": name} for name in rows}
    specs = dict(named)
    if not specs or not columns:
        raise ValueError("grid needs at least one row and one column.")
    if first in columns:
        raise ValueError(f"A column is called {first!r} like that of the labels: say first=...")
    table = []
    for label, row in specs.items():
        line: dict[str, Any] = {first: label}
        for heading, column in columns.items():
            try:
                line[heading] = cell(read, {**row, **column}, digits)
            except (ValueError, TypeError) as error:
                raise ValueError(f"row {label!r}, column {heading!r}: {error}") from error
        table.append(line)
    return Report(pl.DataFrame(table), digits=digits)
