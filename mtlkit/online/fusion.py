"""Score fusion: from the predictions of several tasks to one score, and the search for its weights.

A fusion is a callable {task: predictions (row,)} -> scores (row,), higher is shown first. A sum
needs scores on one scale, and a miscalibrated task reorders it; a product of powers does not mind
a factor; an expected value needs calibrated chances and then is in euro (Elkan 2001, IJCAI, on the
decision of the highest expected worth). Sums and products with coefficients set by hand or searched
for are the formulas that learned fusions set out to replace: Cao et al. 2025, WWW (xMTF, arXiv
2504.05669).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from mtlkit.comparison import pareto_front

Scores = Mapping[str, np.ndarray]


class Fusion:
    """What every fusion shares: its tasks, and scores relative to the page.

    With ``relative=True`` each score is first divided by its mean over the page, so that a task
    counts by how much an item stands out there, not by how far the task's level is up. It needs
    ``page`` (row,), the number of each row's page, in the call (``ModelPolicy`` gives it), and
    scores of 0 or more, such as chances and counts: see ``relative_to_page``.
    """

    def __init__(self, numbers: Mapping[str, float], what: str, relative: bool = False) -> None:
        if not numbers:
            raise ValueError(f"{what}: no tasks; give {{task: number}}.")
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise ValueError(f"{what}: that of {name!r} must be finite, not {number!r}.")
        self.numbers, self.relative = dict(numbers), relative

    def __call__(self, scores: Scores, page: np.ndarray | None = None) -> np.ndarray:
        """Scores (row,) from {task: predictions (row,)}; ``page`` (row,) where ``relative``."""
        missing = sorted(set(self.numbers) - set(scores))
        if missing:
            raise ValueError(
                f"scores: no predictions of {missing[0]!r}; there are {', '.join(scores)}."
            )
        used = {name: np.asarray(scores[name], dtype=np.float64) for name in self.numbers}
        for name, values in used.items():
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(f"scores: {name!r} must hold one finite number a row.")
        if self.relative:
            if page is None:
                raise ValueError("page: relative=True needs each row's page number; pass page=.")
            used = {name: relative_to_page(values, page, name) for name, values in used.items()}
        return self.fuse(used)

    def fuse(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """Scores (row,) from those of the fusion's own tasks."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse.")


class WeightedSum(Fusion):
    """sum_i w_i s_i. Scaling one task's scores changes the order: calibrate, or search again.

    ``weights`` {task: w}, of any sign. Raises ``ValueError`` for none or one that is not finite.
    """

    def __init__(self, weights: Mapping[str, float], *, relative: bool = False) -> None:
        super().__init__(weights, "weights", relative)

    def fuse(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """The sum, (row,)."""
        terms = [weight * scores[name] for name, weight in self.numbers.items()]
        return np.sum(terms, axis=0)


class Product(Fusion):
    """prod_i (b_i + s_i)^a_i. With b_i = 0 a factor on s_i leaves the order as it is.

    ``powers`` {task: a}; ``bias`` {task: b} (0 where not named) softens scores near 0, and gives
    the invariance up. Raises ``ValueError`` for numbers that are not finite, a negative bias, and,
    when called, for b + s below 0, or 0 under a negative power.
    """

    def __init__(
        self,
        powers: Mapping[str, float],
        bias: Mapping[str, float] | None = None,
        *,
        relative: bool = False,
    ) -> None:
        super().__init__(powers, "powers", relative)
        self.bias = dict(bias or {})
        for name, number in self.bias.items():
            if name not in self.numbers:
                raise ValueError(f"bias: {name!r} has no power; give it one or leave it out.")
            if not (math.isfinite(number) and number >= 0):
                raise ValueError(f"bias: that of {name!r} must be 0 or more, not {number!r}.")

    def fuse(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """The product, (row,)."""
        result = np.ones(len(next(iter(scores.values()))))
        for name, power in self.numbers.items():
            base = scores[name] + self.bias.get(name, 0.0)
            if (base < 0).any() or (power < 0 and (base == 0).any()):
                raise ValueError(
                    f"scores: {name!r} goes down to {base.min():g} with its bias, which has no "
                    f"power {power:g}; give a larger bias."
                )
            result = result * base**power
        return result


class ExpectedValue(Fusion):
    """P(click) P(purchase | click) value + sum_j v_j P(the outcome before j) s_j: euro an item.

    Parameters
    ----------
    value
        Euro of a sale: one number, or the name of a column among the scores, such as "price"
        (``ModelPolicy(..., of_items={"price": prices})`` puts it there).
    click, purchase
        Names of the tasks; predictions must be calibrated, purchase given the click.
    further
        {task: euro}: what another outcome after the click is worth, such as {"cart": 0.1}; of the
        click itself, what a click is worth, v P(click).
    after
        Those of ``further`` that need a purchase: {"return": -4.0} with after=("return",) costs
        4 P(click) P(purchase | click) P(return | purchase).

    Raises ``ValueError`` for a worth that is not finite, and for a name in ``after`` without one or
    of the click or purchase itself.
    """

    def __init__(
        self,
        value: float | str = 1.0,
        *,
        click: str = "click",
        purchase: str = "purchase",
        further: Mapping[str, float] | None = None,
        after: Sequence[str] = (),
    ) -> None:
        self.value, self.click, self.purchase = value, click, purchase
        self.further, self.after = dict(further or {}), tuple(after)
        sale = {value: 1.0} if isinstance(value, str) else {purchase: value}
        super().__init__({click: 1.0, purchase: 1.0} | sale | self.further, "value and further")
        unknown = sorted(set(self.after) - set(self.further))
        if unknown:
            raise ValueError(f"after: {unknown[0]!r} is not in further; give its worth there.")
        for name in (click, purchase):
            if name in self.after:
                raise ValueError(f"after: {name!r} does not follow a purchase; leave it out.")

    def fuse(self, scores: dict[str, np.ndarray]) -> np.ndarray:
        """Expected euro, (row,)."""
        clicks = scores[self.click]
        sales = clicks * scores[self.purchase]
        result = sales * (scores[self.value] if isinstance(self.value, str) else self.value)
        for name, euro in self.further.items():
            before = sales if name in self.after else clicks
            result = result + euro * (clicks if name == self.click else before * scores[name])
        return result


def relative_to_page(scores: np.ndarray, page: np.ndarray, name: str = "scores") -> np.ndarray:
    """Each score over the mean of its page, (row,); on a page of zeros nothing stands out: 1 each.

    Scores are 0 or more: over a mean of both signs a ratio says nothing, and may turn the order
    around. Raises ``ValueError`` for a negative score, of the task ``name``, or another length.
    """
    page = np.asarray(page)
    if page.shape != scores.shape:
        raise ValueError(f"page: shape {page.shape} beside scores {scores.shape}; one a row.")
    if (scores < 0).any():
        raise ValueError(
            f"scores: {name!r} goes down to {scores.min():g}; scores relative to the page must be "
            "0 or more: leave relative=True out, or give chances or counts."
        )
    _, place = np.unique(page, return_inverse=True)
    mean = (np.bincount(place, weights=scores) / np.bincount(place))[place]
    return np.divide(scores, mean, out=np.ones_like(scores, dtype=np.float64), where=mean > 0)


def search(
    make: Callable[..., Callable],
    grid: Mapping[str, Sequence[float]],
    objectives: Mapping[str, Callable[[Callable], float]],
) -> pl.DataFrame:
    """Every fusion of a grid judged by every objective: one row each, best of the first on top.

    ``make``: {task: number} -> fusion, such as ``WeightedSum`` or ``Product``; ``grid`` {task:
    numbers to try}; ``objectives`` {name: fusion -> number, higher is better}, on validation rows.
    Columns: the grid's tasks, the objectives, ``front`` (see ``pareto_front``). Scaling all weights
    of a sum or a product alike changes no order: hold one of them at 1. Raises ``ValueError`` for
    an empty grid or no objective, a task called "front", a name in both, and an objective that is
    not finite.
    """
    if not grid or not all(len(numbers) for numbers in grid.values()):
        raise ValueError("grid: nothing to try; give {task: numbers}.")
    if not objectives:
        raise ValueError("objectives: none; give {name: function of a fusion}.")
    if "front" in grid:
        raise ValueError("grid: 'front' is a column of the answer; name that task otherwise.")
    both = sorted((set(grid) | {"front"}) & set(objectives))
    if both:
        raise ValueError(f"objectives: {both[0]!r} is a column already; name it otherwise.")
    rows = []
    for numbers in itertools.product(*grid.values()):
        chosen = dict(zip(grid, map(float, numbers), strict=True))
        fusion = make(chosen)
        found = {name: float(judge(fusion)) for name, judge in objectives.items()}
        for name, value in found.items():
            if not math.isfinite(value):
                raise ValueError(f"objectives: {name!r} is {value} at {chosen}; it must be finite.")
        rows.append(chosen | found)
    frame = pl.DataFrame(rows)
    front = pareto_front(frame.select(*objectives).to_numpy())
    first = next(iter(objectives))
    return frame.with_columns(pl.Series("front", front)).sort(
        first, descending=True, maintain_order=True
    )
