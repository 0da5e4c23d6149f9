"""The clock of a session: minutes between events, and what they tell of the intent.

Who compares reads long, who hunts bargains clicks on. A gap is log-normal around a mean that the
dial `gap_tells` moves by the intent, and is seen as a power of two of minutes. Where in its power
of two it lies is even in the logarithm for every intent: so the minutes of a frame tell no more
than the ids of a table, and one posterior is exact for both.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

TYPICAL_GAP = 1.5  # minutes, the median where the intent does not tell
SPREAD = 1.0  # standard deviation of log(minutes) inside an intent
# push of browse, compare, outfit, gift and bargain on log(minutes), at gap_tells = 1
PACE = np.array([0.1, 0.8, -0.2, 0.3, -0.9])
FASTEST, SLOWEST = -2, 6  # gaps count as 2**-2 .. 2**7 minutes; what lies outside goes to an end
BINS = SLOWEST - FASTEST + 1
CLOCK_IDS = BINS + 1  # the first event, which has no gap, and then the powers of two
TICKS = 10_000  # a minute is written to its 10,000th


def gap_chances(tells: float) -> np.ndarray:
    """P(power of two | intent), float64 (intent, BINS); the rows sum to 1."""
    edges = np.log(2.0) * np.arange(FASTEST + 1, SLOWEST + 1)
    middle = np.log(TYPICAL_GAP) + tells * PACE[:, None]
    place = (edges - middle) / SPREAD  # (intent, BINS - 1)
    ends = np.ones((len(PACE), 1))
    below = np.diff(np.concatenate([0 * ends, norm.cdf(place), ends], axis=1), axis=1)
    above = -np.diff(np.concatenate([ends, norm.sf(place), 0 * ends], axis=1), axis=1)
    # in the upper tail 1 - cdf would cancel, and be 0 where the chance is not
    upper = np.concatenate([place[:, :1], place], axis=1) > 0
    return np.where(upper, above, below)


def draw_gaps(
    rng: np.random.Generator, intent: np.ndarray, steps: int, tells: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gaps before each of `steps` events: place of the power of two, and minutes, (row, step).

    The first event has no gap: place -1 and 0 minutes. Minutes are whole 10,000ths.
    """
    logs = np.log(TYPICAL_GAP) + tells * PACE[intent][:, None]
    logs = logs + SPREAD * rng.standard_normal((len(intent), steps))
    power = np.clip(np.floor(logs / np.log(2.0)), FASTEST, SLOWEST)
    minutes = np.floor(TICKS * 2.0 ** (power + rng.random(power.shape))) / TICKS
    place = power.astype(np.int64) - FASTEST
    place[:, 0], minutes[:, 0] = -1, 0.0
    return place, minutes


def gap_evidence(place: np.ndarray, length: np.ndarray, tells: float) -> np.ndarray:
    """log P(gaps of the history | intent), float64 (row, intent); the first event tells nothing."""
    counted = (place >= 0) & (np.arange(place.shape[1]) < length[:, None])
    logs = np.log(gap_chances(tells)).T[place]  # (row, step, intent)
    return np.where(counted[:, :, None], logs, 0.0).sum(axis=1)
