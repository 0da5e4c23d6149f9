"""The money metric: euro per visitor, the regret to the best policy, and their intervals.

The unit is the visitor, never the impression: what one visitor does on several rows hangs together,
so rows are added up by visitor first, and every difference is taken between two policies on the
same visitor. Intervals are Student's over visitors (``paired_interval``), which skewed baskets make
too narrow where few visitors differ: see ``money``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from mtlkit.comparison import AcrossShops, Interval, across_shops, paired_interval
from mtlkit.comparison.interval import signed, told


@dataclass(frozen=True)
class Money:
    """What a policy earns and misses; ``money`` makes it. Euro a visitor, but for ``share``.

    ``gained``: its mean. ``regret``: best minus policy, 0 or more in the mean where the best is the
    best. ``share``: policy over best, of the means (1 is all that can be had). ``difference``:
    policy minus reference, None without one. Each with its interval over ``visitors`` visitors.
    """

    gained: Interval
    regret: Interval
    share: Interval
    difference: Interval | None
    visitors: int
    confidence: float = 0.95

    def sentence(self, digits: int = 3) -> str:
        """Earned, missed and, with a reference, won, in one sentence of plain English."""
        share = "an unknown share of what the best policy earns (not above 0)"
        if not math.isnan(self.share.mean):
            share = f"{_told(self.share, 1, 100)} % of what the best policy earns"
        text = (
            f"The policy earns {_told(self.gained, digits)} euro a visitor, {share}, and misses "
            f"{_told(self.regret, digits)} euro a visitor"
        )
        if self.difference is not None:
            alone = "no interval"
            text += f"; against the reference {signed(self.difference, digits, alone=alone)}"
        if self.visitors == 1:
            return f"{text} (1 visitor: no intervals)."
        return f"{text} ({self.visitors:,} visitors, {100 * self.confidence:g} % intervals)."

    def frame(self) -> pl.DataFrame:
        """One row a measure: measure, unit, mean, low, high, visitors."""
        parts = [("gained", "euro a visitor", self.gained)]
        parts += [("regret", "euro a visitor", self.regret), ("share of the best", "", self.share)]
        if self.difference is not None:
            parts.append(("difference to the reference", "euro a visitor", self.difference))
        return pl.DataFrame([
            {"measure": name, "unit": unit, **found._asdict(), "visitors": self.visitors}
            for name, unit, found in parts
        ])  # fmt: skip


def money(
    gained: ArrayLike,
    best: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    visitor: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Money:
    """Euro per visitor of a policy, beside the best policy and a reference on the same visitors.

    Parameters
    ----------
    gained, best, reference
        Euro of each visitor (visitor,), in the same order: under the policy, under the best one
        (``play(live, best_policy(live), ...)``) and, optionally, under the one in use.
    visitor
        Ids (row,) where the three hold one number a row: rows are added up by visitor first.
    confidence
        Of every interval; 0.95 by default.

    Intervals are t intervals of paired differences; that of the share is the delta method's for a
    ratio of means, through gained - share * best (Deng, Knoblich and Lu 2018, KDD). What counts is
    for how many visitors two policies differ at all. How often a 95 % interval holds the true mean
    (simulated: 2,000 samples of 3,000 visitors, a lognormal basket with sigma 1 where they differ):

    ================  ====  ====  ====  ====  ====  ====
    visitors differ     18    30    60   120   300   900
    holds the truth    .88   .88   .91   .93   .94   .95
    ================  ====  ====  ====  ====  ====  ====

    With fewer than a hundred play more visitors, or expectations (``play(expected=True)``).

    Raises ``ValueError`` for unequal lengths, numbers that are not finite, ids that are missing, or
    no visitor.
    """
    given = {"gained": gained, "best": best}
    if reference is not None:
        given["reference"] = reference
    columns = {name: _column(name, values) for name, values in given.items()}
    for name, values in columns.items():
        if len(values) != len(columns["gained"]):
            raise ValueError(
                f"{name}: {len(values)} numbers beside {len(columns['gained'])} of gained; give "
                "the same visitors in the same order."
            )
    if visitor is not None:
        columns = _by_visitor(columns, visitor)
    own, top = columns["gained"], columns["best"]
    difference = None
    if reference is not None:
        difference = paired_interval(own - columns["reference"], confidence)
    return Money(
        paired_interval(own, confidence),
        paired_interval(top - own, confidence),
        _ratio(own, top, confidence),
        difference,
        len(own),
        confidence,
    )


def money_across_shops(
    policy: Mapping[Any, ArrayLike],
    reference: Mapping[Any, ArrayLike],
    *,
    confidence: float = 0.95,
) -> AcrossShops:
    """Policy minus reference in euro a visitor, {shop: (visitor,)} each, with shops as the unit.

    Each shop is judged by its own visitors, the headline by the shops' means: five shops are five
    numbers, however many visitors they have. With the best policy as ``policy`` this is the regret
    of ``reference``. Raises ``ValueError`` where the shops or their visitors differ.
    """
    if set(policy) != set(reference):
        odd = sorted(map(str, set(policy) ^ set(reference)))
        raise ValueError(f"reference: shop {odd[0]} is not in both; give both for every shop.")
    gaps: dict[Any, Iterable[float]] = {}
    for shop in policy:
        own, base = (
            _column(f"policy[{shop!r}]", policy[shop]),
            _column(f"reference[{shop!r}]", reference[shop]),
        )
        if len(own) != len(base):
            raise ValueError(
                f"reference[{shop!r}]: {len(base)} visitors beside {len(own)} of policy; play both "
                "on the same visitors."
            )
        gaps[shop] = own - base
    return across_shops(gaps, confidence=confidence)


def _column(name: str, values: ArrayLike) -> np.ndarray:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not len(column):
        raise ValueError(
            f"{name}: expected one number a visitor, (visitor,), not shape {column.shape}."
        )
    if not np.isfinite(column).all():
        raise ValueError(
            f"{name}: number {int((~np.isfinite(column)).argmax())} is not finite; a visitor who "
            "buys nothing is 0."
        )
    return column


def _by_visitor(columns: dict[str, np.ndarray], visitor: ArrayLike) -> dict[str, np.ndarray]:
    ids = np.asarray(visitor)
    if ids.shape != columns["gained"].shape:
        raise ValueError(
            f"visitor: shape {ids.shape} beside {columns['gained'].shape} of gained; give one id a "
            "row."
        )
    missing = (ids != ids) | np.array([one is None for one in ids])  # NaN and NaT are unlike all
    if missing.any():
        raise ValueError(
            f"visitor: row {int(missing.argmax())} has no id; leave such rows out, or give each a "
            "number of its own."
        )
    _, place = np.unique(ids, return_inverse=True)
    return {name: np.bincount(place, weights=values) for name, values in columns.items()}


def _ratio(own: np.ndarray, top: np.ndarray, confidence: float) -> Interval:
    """The mean of own over the mean of top, (visitor,) each; NaN where top earns nothing."""
    base = float(top.mean())
    if base <= 0:
        return Interval(math.nan, math.nan, math.nan)
    share = float(own.mean()) / base
    _, low, high = paired_interval(own - share * top, confidence)
    return Interval(share, share + low / base, share + high / base)


def _told(interval: Interval, digits: int, times: float = 1.0) -> str:
    mean, low, high = (told(times * number, digits) for number in interval)
    return mean if math.isnan(interval.low) else f"{mean} ({low} to {high})"
