"""Play a policy on the live shop: rank every visitor's candidates and count what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from mtlkit.data.table import Table
from mtlkit.models import MultiTaskModel
from mtlkit.shop.live import Live, Outcome, Visitor
from mtlkit.train import predict

Policy = Callable[[Sequence[Visitor], np.ndarray, Table], np.ndarray]
Goal = Literal["revenue", "margin", "clicks"]
GOALS = ("revenue", "margin", "clicks")
VISITORS = 500  # at a time, so that memory does not grow with the stream


class ModelPolicy:
    """Scores (visitor, item) of a model's predictions under a fusion.

    ``fusion``: a callable {task: predictions (row,)} -> scores (row,), of ``mtlkit.online.fusion``
    or your own; one with ``relative`` set is also given ``page`` (row,). ``of_items`` {name: one
    number an item, (item,)} joins the predictions, such as prices for ``ExpectedValue("price")``.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        fusion: Callable[..., np.ndarray],
        of_items: Mapping[str, np.ndarray] | None = None,
        batch_size: int = 8192,
    ) -> None:
        self.model, self.fusion, self.batch_size = model, fusion, batch_size
        self.of_items = {name: np.asarray(values) for name, values in (of_items or {}).items()}

    def __call__(self, visitors: Sequence[Visitor], items: np.ndarray, table: Table) -> np.ndarray:
        """Scores (visitor, item), higher is shown first."""
        scores = predict(self.model, table, self.batch_size)
        scores |= {name: values[items].ravel() for name, values in self.of_items.items()}
        pages = np.repeat(np.arange(len(items)), items.shape[1])
        more = {"page": pages} if getattr(self.fusion, "relative", False) else {}
        return self.fusion(scores, **more).reshape(items.shape)


def best_policy(live: Live, goal: Goal = "revenue") -> Policy:
    """The oracle: ranks by the true chances before the visitor's luck, times what a sale brings.

    The order of the shop's own ``live.best_page``. It takes every place on the page for the first,
    so where places differ much in what they are looked at it is the best up to that.
    """
    _check_goal(goal)
    aim = "click" if goal == "clicks" else goal

    def policy(visitors: Sequence[Visitor], items: np.ndarray, table: Table) -> np.ndarray:
        size = items.shape[1]
        many = getattr(live, "best_pages", None)
        if many is not None:
            ranked = many(visitors, items, size, aim)
        else:
            pairs = zip(visitors, items, strict=True)
            ranked = np.stack([live.best_page(one, page, size, aim) for one, page in pairs])
        place = np.argsort(ranked, axis=1)  # of the items in their own order
        sort = np.argsort(items, axis=1)
        scores = np.empty(items.shape)
        np.put_along_axis(scores, sort, -place.astype(np.float64), axis=1)
        return scores

    return policy


def play(
    live: Live,
    policy: Policy,
    visitors: Sequence[Visitor],
    candidates: int = 40,
    goal: Goal = "revenue",
    *,
    size: int | None = None,
    expected: bool = False,
) -> np.ndarray:
    """What each visitor brings under a policy, (visitor,): euro, or clicks.

    Every visitor has the same ``candidates`` items under any policy, sees the ``size`` with the
    highest scores (default: the shop's page), and acts with luck that belongs to visitor and item
    alone: two policies played on the same visitors are paired. Ties keep the candidates' order.

    Parameters
    ----------
    policy
        (visitors, items (visitor, item), table of all their rows) -> scores (visitor, item); see
        ``ModelPolicy`` and ``best_policy``.
    goal
        "revenue" and "margin" in euro of what was bought, or "clicks".
    expected
        The expectation given the visitor's luck in place of what happened: the same mean, far
        less noise.

    Raises ``ValueError`` for no visitors, an unknown goal, a page longer than the candidates, or
    scores of another shape or not finite.
    """
    _check_goal(goal)
    many = list(visitors)
    if not many:
        raise ValueError("visitors: none given; draw some with live.visitors(count).")
    slots = live.world.dials.page_size if size is None else size
    if not 1 <= slots <= candidates:
        raise ValueError(
            f"size: a page of {slots} does not fit {candidates} candidates; give 1 to {candidates}."
        )
    earned = []
    for start in range(0, len(many), VISITORS):
        part = many[start : start + VISITORS]
        items = np.stack([live.candidates(visitor, candidates) for visitor in part])
        scores = np.asarray(policy(part, items, live.table(part, items)), dtype=np.float64)
        if scores.shape != items.shape or not np.isfinite(scores).all():
            raise ValueError(
                f"policy: expected finite scores of shape {items.shape}, one a visitor and item, "
                f"got shape {scores.shape}."
            )
        order = np.argsort(-scores, axis=1, kind="stable")[:, :slots]
        pages = np.take_along_axis(items, order, axis=1)
        earned += [_worth(outcome, goal, expected) for outcome in live.serve_many(part, pages)]
    return np.array(earned, dtype=np.float64)


def _worth(outcome: Outcome, goal: Goal, expected: bool) -> float:
    if goal == "clicks":
        return float((outcome.expected_click if expected else outcome.click).sum())
    name = f"expected_{goal}" if expected else goal
    if not hasattr(outcome, name):
        raise ValueError('goal: this shop knows no margins; use "revenue" or "clicks".')
    return float(getattr(outcome, name))


def _check_goal(goal: str) -> None:
    if goal not in GOALS:
        raise ValueError(f"goal: {goal!r} is not one of {', '.join(GOALS)}.")
