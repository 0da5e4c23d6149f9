"""One difference on several shops: what each shop says, and what they say together.

A shop made with another seed has other users, items and tastes. A verdict that turns over with it
is no verdict, so the mean over shops takes the shop as the unit, not the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlkit.comparison.interval import Interval, paired_interval, signed, verdict

UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class AcrossShops:
    """What several shops say of one difference; ``across_shops`` makes it.

    ``shops``: {shop: mean difference with its interval over the paired seeds}; ``verdicts``:
    {shop: "better", "worse", ...} as ``verdict`` says it. ``headline``: the mean of the shops'
    means with its interval over shops, and ``verdict`` its word. ``sign`` is +1 where higher is
    better, -1 where lower is, 0 where neither.
    """

    shops: dict[Any, Interval]
    verdicts: dict[Any, str]
    headline: Interval
    sign: int
    confidence: float = 0.95

    @property
    def verdict(self) -> str:
        """The word that follows from the headline's interval alone."""
        return verdict(self.headline.low, self.headline.high, self.sign)

    @property
    def better_on(self) -> int:
        """How many shops' own intervals say better."""
        return self._count("better")

    @property
    def worse_on(self) -> int:
        """How many shops' own intervals say worse."""
        return self._count("worse")

    def _count(self, word: str) -> int:
        return sum(said == word for said in self.verdicts.values())

    def short(self, digits: int = 3) -> str:
        """ "+0.012 (0.004 to 0.020), 4/0", for a table: how many shops are better / worse.

        Where every shop has one pair of runs none can be either, and the counts are left out.
        Raises ``ValueError`` where ``sign`` is 0, for then no shop is better or worse.
        """
        if self.sign == 0:
            raise ValueError("short counts shops as better / worse, which needs sign +1 or -1.")
        judged = self._count("no interval") < len(self.shops)
        return self._interval(digits) + (f", {self.counts()}" if judged else "")

    def counts(self) -> str:
        """ "4/0": how many shops' own intervals say better / worse."""
        return f"{self.better_on}/{self.worse_on}"

    def _interval(self, digits: int, note: str = "") -> str:
        return signed(self.headline, digits, note, alone="one shop: no interval over shops")

    def sentence(self, digits: int = 3) -> str:
        """ "+0.012 (0.004 to 0.020), better on 4 of 5 shops, worse on none".

        Numbers have ``digits`` decimals. What is missing is said: one shop has no interval over
        shops, and a shop with one seed no verdict.
        """
        if not math.isfinite(self.headline.mean):
            return f"no number on any of {_shops(len(self.shops))}"
        direction = "; lower is better" if self.sign < 0 else ""
        return f"{self._interval(digits, direction)}, {self._counts()}"

    def _counts(self) -> str:
        total = _shops(len(self.shops))
        if self.sign == 0:
            above = sum(interval.low > 0 for interval in self.shops.values())
            below = sum(interval.high < 0 for interval in self.shops.values())
            told = f"above 0 on {above or 'none'} of {total}, below 0 on {below or 'none'}"
        elif self.better_on:
            told = f"better on {self.better_on} of {total}, worse on {self.worse_on or 'none'}"
        elif self.worse_on:
            told = f"worse on {self.worse_on} of {total}, better on none"
        else:
            told = f"no difference seen on {self._count('no difference seen')} of {total}"
        silent = [name for name, said in self.verdicts.items() if said == "no interval"]
        undefined = sum(math.isnan(self.shops[name].mean) for name in silent)
        single = len(silent) - undefined
        if single == len(self.shops):
            return f"one pair of runs a shop: no verdict on any of {total}"
        told += f", one pair of runs and no verdict on {single}" if single else ""
        return told + (f", no number on {undefined}" if undefined else "")


def across_shops(
    differences: Mapping[Any, Iterable[float]], *, sign: int = 1, confidence: float = 0.95
) -> AcrossShops:
    """Put paired differences of several shops together.

    ``differences`` {shop: candidate minus reference, one number a seed}, in the metric's own unit;
    ``sign`` is +1 where a higher metric is better, -1 where a lower one is, 0 where neither. Each
    shop gets Student's interval over its seeds, and it counts as better or worse when that leaves
    out 0. The headline is the mean of the shops' means with Student's interval over these: n shops
    are n numbers (n - 1 degrees of freedom), however many seeds each has.

    NaN is left out: a seed without a number, and a shop without any. One number has no interval;
    its ends are NaN and its verdict is "no interval". Raises ``ValueError`` for no shops, infinite
    differences, another sign, or a confidence outside 0 to 1.
    """
    if not differences:
        raise ValueError("across_shops needs the differences of at least one shop.")
    if sign not in (-1, 0, 1):
        raise ValueError(f"sign must be +1 (higher is better), -1 or 0, not {sign!r}.")
    shops: dict[Any, Interval] = {}
    for shop, numbers in differences.items():
        values = np.asarray(list(numbers), dtype=np.float64)
        if values.ndim != 1 or np.isinf(values).any():
            raise ValueError(
                f"differences[{shop!r}] must be one finite number (or NaN) a seed, not "
                f"{values.tolist()}."
            )
        known = values[~np.isnan(values)]
        shops[shop] = paired_interval(known, confidence) if len(known) else UNKNOWN
    means = [interval.mean for interval in shops.values() if math.isfinite(interval.mean)]
    headline = paired_interval(means, confidence) if means else UNKNOWN
    verdicts = {shop: verdict(found.low, found.high, sign) for shop, found in shops.items()}
    return AcrossShops(shops, verdicts, headline, sign, confidence)


def _shops(number: int) -> str:
    return f"{number} shop" if number == 1 else f"{number} shops"
