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
    1979), which is too narrow for a few values: prefer "t". One value has no interval: its ends are
    NaN. Raises ``ValueError`` for no values, NaN, or a bad option.

    How often a 95 % interval holds the true mean (simulated: 200,000 samples for "t", 4,000 for
    "bootstrap"; the skewed ones are exponential, and lognormal with sigma 1):

    ============  ======================  ======================
    distribution  t: 3, 5, 10, 20 values  bootstrap: the same
    ============  ======================  ======================
    normal        .95  .95  .95  .95      .75  .85  .90  .92
    exponential   .88  .88  .90  .92      .70  .79  .85  .89
    lognormal     .84  .82  .84  .87      .63  .73  .82  .85
    ============  ======================  ======================
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
    if method == "t":
        top = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
        half = float(top * stats.sem(values))
        return Interval(mean, mean - half, mean + half)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return Interval(mean, *map(float, found.confidence_interval))


def verdict(low: float, high: float, sign: int) -> str:
    """One word from the interval of a difference alone; ``sign`` is +1 where higher is better."""
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    if sign == 0:
        return "no direction"
    if low <= 0 <= high:
        return "no difference seen"
    return "better" if (low > 0) == (sign > 0) else "worse"


def signed(
    interval: Interval, digits: int = 3, note: str = "", *, alone: str = "one pair: no interval"
) -> str:
    """ "+0.012 (0.004 to 0.020)", with a true minus sign and no "-0.000"; for differences.

    ``note`` stands behind the ends, ``alone`` in place of ends that are NaN; "no number" where
    there is no mean.
    """
    if math.isnan(interval.mean):
        return "no number"
    mean, low, high = (told(value, digits) for value in interval)
    plus = "+" if float(f"{interval.mean:.{digits}f}") > 0 else ""
    between = f"{low} to {high}" if math.isfinite(interval.low) else alone
    return f"{plus}{mean} ({between}{note})"


def told(value: float, digits: int) -> str:
    """A number with a true minus sign and no "-0.000"."""
    text = f"{value:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")
