"""Several means with their intervals over seeds, each for itself: nothing is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mtlkit import plot
from mtlkit.report.parts import Report
from mtlkit.report.source import seeds_interval


def intervals(
    values: Mapping[str, Sequence[float]],
    *,
    label: str,
    title: str | None = None,
    first: str = "candidate",
    digits: int = 2,
    ordered: bool = False,
    **drawing: Any,
) -> Report:
    """Mean and 95 % interval of each entry: {name: numbers, one a seed (or shop)}.

    The table has the columns ``first`` (the names) and ``label``, as "0.31 (0.28 to 0.34)". With a
    ``title`` there is a figure, too; ``drawing`` are further arguments of ``plot.rates_by``, such
    as ``overall=1.0, overall_label="right"``. NaN is left out. Raises ``ValueError`` for no values.
    """
    if not values:
        raise ValueError("intervals needs the numbers of at least one name.")
    found = {name: seeds_interval(numbers) for name, numbers in values.items()}
    table = pl.DataFrame({first: list(found), label: [f"{i:.{digits}f}" for i in found.values()]})
    picture = None
    if title is not None:
        ends = [(i.low, i.high) for i in found.values()]
        picture = plot.rates_by(
            list(found), [i.mean for i in found.values()], ends, title=title, label=label,
            category_label=first, ordered=ordered, **drawing,
        )  # fmt: skip
    elif drawing:
        raise ValueError(f"{', '.join(drawing)}: only a figure has these; give it a title.")
    return Report(table, picture=picture, digits=digits)
