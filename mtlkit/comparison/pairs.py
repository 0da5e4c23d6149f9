"""One difference over the training seeds of one shop: its interval, its verdict, its sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mtlkit.comparison.interval import Interval, paired_interval, signed, verdict


@dataclass(frozen=True)
class Paired:
    """What the seeds of one shop say of one difference; ``paired`` makes it.

    ``headline``: the mean of the ``pairs`` differences with its interval at ``confidence``.
    ``sign`` is +1 where higher is better, -1 where lower is, 0 where neither. See ``AcrossShops``
    for the same over several shops.
    """

    headline: Interval
    sign: int
    pairs: int
    confidence: float = 0.95

    @property
    def verdict(self) -> str:
        """The word that follows from the interval alone."""
        return verdict(self.headline.low, self.headline.high, self.sign)

    def short(self, digits: int = 3) -> str:
        """ "+0.012 (0.004 to 0.020), better", for a table."""
        return f"{signed(self.headline, digits)}, {self.verdict}"

    def counts(self) -> str:
        """The verdict: one shop has nothing to count."""
        return self.verdict

    def sentence(self, digits: int = 3) -> str:
        """ "+0.012 (0.004 to 0.020), better over 5 paired seeds"."""
        direction = "; lower is better" if self.sign < 0 else ""
        seeds = "1 paired seed" if self.pairs == 1 else f"{self.pairs} paired seeds"
        return f"{signed(self.headline, digits, direction)}, {self.verdict} over {seeds}"


def paired(
    candidate: Iterable[float],
    reference: Iterable[float],
    *,
    sign: int = 1,
    confidence: float = 0.95,
) -> Paired:
    """Candidate minus reference, one number a seed each, the seeds in the same order.

    NaN on either side leaves the pair out. ``sign`` is +1 where a higher number is better, -1 where
    a lower one is, 0 where neither. Raises ``ValueError`` for unequal lengths, no numbers at all,
    infinite ones or another sign.
    """
    own, base = (np.asarray(list(values), dtype=np.float64) for values in (candidate, reference))
    if own.shape != base.shape or own.ndim != 1 or not len(own):
        raise ValueError(
            f"paired needs one number a seed on both sides, not {own.shape} and {base.shape}."
        )
    if sign not in (-1, 0, 1):
        raise ValueError(f"sign must be +1 (higher is better), -1 or 0, not {sign!r}.")
    if np.isinf(own).any() or np.isinf(base).any():
        raise ValueError("paired needs finite numbers (or NaN for a seed without one).")
    gaps = own - base
    gaps = gaps[~np.isnan(gaps)]
    unknown = Interval(math.nan, math.nan, math.nan)
    headline = paired_interval(gaps, confidence) if len(gaps) else unknown
    return Paired(headline, sign, len(gaps), confidence)
