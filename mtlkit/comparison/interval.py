"""Intervals of paired differences, and the verdict that follows from them alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean with the ends of its confidence interval (NaN where there are too few values).

    ``f"{interval:.2f}"`` is "0.31 (0.28 to 0.34)", each number written as the format says.
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        mean, low, high = (format(number, spec) for number in self)
        return mean if math.isnan(self.low) else f"{mean} ({low} to {high})"


def paired_interval(
    differences: Iterable[float],
    confidence: float = 0.95,
    method: str = "t",
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of paired differences with a two-sided confidence interval.

    "t": mean +- t(n - 1) s / sqrt(n), Student's paired interval (Biometrika 1908). "bootstrap": the
    percentile interval over ``resamples`` resamples with replacement (Efron, Annals of Statistics
    1979); with fewer than about 10 values it is too narrow, so prefer "t" there. One value has no
    interval: its ends are NaN. Raises ``ValueError`` for no values, NaN, or a bad option.
    """
    values = np.asarray(list(differences), dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"differences must be one or more finite numbers, not {values.tolist()}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}.")
    if method not in ("t", "bootstrap"):
        raise ValueError(f'method must be "t" or "bootstrap", not {method!r}.')
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    tail = (1 - confidence) / 2
    if method == "t":
        half = stats.t.ppf(1 - tail, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
        return Interval(mean, mean - float(half), mean + float(half))
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def verdict(low: float, high: float, sign: int) -> str:
    """One word from the interval of a difference alone; ``sign`` is +1 where higher is better."""
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    if sign == 0:
        return "no direction"
    if low <= 0 <= high:
        return "no difference seen"
    return "better" if (low > 0) == (sign > 0) else "worse"
