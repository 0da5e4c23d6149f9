"""Means of the outcomes over the luck that no feature reveals, right to 3e-5 of their size.

With z standard normal, the chance of an event whose own luck has deviation s is

    M_s(x) = E sigmoid(x + s z)

and because a hidden appeal a (deviation b) moves click and checkout alike,

    click               = M_sqrt(s^2 + b^2)(score_click)
    purchase on clicked = E_a[click(a) till(a) checkout(a)] / E_a[click(a)],
    click(a) = M_s(score_click + a), ...

Every mean over a normal is the trapezoidal rule, whose error falls as exp(-2 pi^2 / (s h)) with the
step h, because sigmoid(x + s z) is analytic up to |Im z| < pi / s (Trefethen and Weideman 2014,
SIAM Review 56, section 5): a larger deviation takes more points. M_s is a function of one number,
so it is computed once on a fine grid and read off a cubic spline.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

from mtlkit.shop.outcomes import Named, Outcomes
from mtlkit.shop.probability import sigmoid

REACH = 5.0  # deviations that a mean over a normal looks to either side, besides the luck's own
CELLS, LIMIT = 20, 60  # M_s is computed 20 times a logit, from -60 to 60
PIECE = 50_000  # rows worked on at once


def normal_points(deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights, float64, with sum(weights * f(points)) = E f(x), x ~ N(0, deviation^2).

    f is a product of sigmoids of x, shifted or averaged.
    """
    if deviation == 0:
        return np.zeros(1), np.ones(1)
    step = 1 / max(1.25, deviation)
    # where both sigmoids are small they grow as exp(x), which moves the normal to its right
    half = int(np.ceil((REACH + deviation) / step))
    z = step * np.arange(-half, half + 1)
    weights = np.exp(-(z**2) / 2)
    return deviation * z, weights / weights.sum()


@lru_cache(maxsize=8)
def mean_sigmoid(deviation: float) -> Callable[[np.ndarray], np.ndarray]:
    """The function M_s(x) = E sigmoid(x + s z) for s = `deviation`, of arrays, float64."""
    if deviation == 0:
        return lambda logits: sigmoid(logits.astype(np.float64))
    grid = np.arange(-LIMIT * CELLS, LIMIT * CELLS + 1) / CELLS
    values = sum(weight * sigmoid(grid + point) for point, weight in zip(*normal_points(deviation)))
    cubic = CubicSpline(grid, values).c  # (power 3 to 0, cell)

    def look_up(logits: np.ndarray) -> np.ndarray:
        # on an even grid the cell is known; searching for it takes five times as long
        place = np.clip(logits.astype(np.float64), -LIMIT, LIMIT) + LIMIT
        cell = np.minimum((place * CELLS).astype(np.intp), len(grid) - 2)
        away = place - cell / CELLS
        total = cubic[0].take(cell)
        for coefficients in cubic[1:]:
            total = total * away + coefficients.take(cell)
        return total

    return look_up


def mean_over_luck(outcomes: Outcomes, scores: Named, selected: bool) -> Named:
    """Means {event: float32 (row,)} of every event and of the purchase, from logits before luck.

    selected: the purchase of rows that were clicked; False: as if every row had been clicked.
    """
    parts = [
        _means(outcomes, {n: score[at : at + PIECE] for n, score in scores.items()}, selected)
        for at in range(0, len(scores["click"]), PIECE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _means(outcomes: Outcomes, scores: Named, selected: bool) -> Named:
    noise, bias = outcomes.dials.noise, outcomes.dials.selection_bias
    if noise == bias == 0:  # nothing to average: the log's own numbers, to the last digit
        chances = outcomes.chances(scores)
        return chances | {"purchase": outcomes.purchase(chances)}
    shared = {event.name for event in outcomes.events if event.appealing}
    spread = {name: float(np.hypot(noise, bias if name in shared else 0.0)) for name in scores}
    means = {name: mean_sigmoid(spread[name])(score) for name, score in scores.items()}
    bought, clicked = np.zeros((2, len(scores["click"])))
    for appeal, weight in zip(*normal_points(bias), strict=True):
        here = means | {name: mean_sigmoid(noise)(scores[name] + appeal) for name in shared}
        share = weight * here["click"] if selected else weight
        bought += share * here["checkout"] * outcomes.till(here)
        clicked += share
    means["purchase"] = bought / clicked
    found = {name: value.astype(np.float32) for name, value in means.items()}
    steady = [name for name in scores if spread[name] == 0]  # no luck: as the log keeps it
    return found | outcomes.chances({name: scores[name] for name in steady})
