"""Play a policy on the live shop: rank every visitor's candidates and count what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from mtlkit.data.table import Table
from mtlkit.models import MultiTaskModel
from mtlkit.shop.live import Live, Outcome, Visitor
from mtlkit.shop.margins import margins
from mtlkit.shop.mean_over_luck import mean_over_luck
from mtlkit.train import predict

Policy = Callable[[Sequence[Visitor], np.ndarray, Table], np.ndarray]
Goal = Literal["revenue", "margin", "clicks"]
GOALS = ("revenue", "margin", "clicks")
VISIT = ("user", "scenario", "day", "hour", "region", "device")
VISITORS = 500  # at a time, so that memory does not grow with the stream


class ModelPolicy:
    """Scores (visitor, item) of a model's predictions under a fusion.

    ``fusion``: a callable {task: predictions (row,)} -> scores (row,), of ``mtlkit.online.fusion``
    or your own; one with ``relative`` set is also given ``page`` (row,). ``of_items`` {name: one
    number an item, (item,)} joins the predictions, such as prices for ``ExpectedValue("price")``.

    Raises ``ValueError`` for ``of_items`` with the name of a task or of another shape.
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
        for name, values in self.of_items.items():
            if name in model.schema.task_names:
                raise ValueError(
                    f"of_items: {name!r} is a task, whose predictions it would hide; name the "
                    "column otherwise."
                )
            if values.ndim != 1:
                raise ValueError(
                    f"of_items: {name!r} has shape {values.shape}; give one number an item, "
                    "(item,)."
                )

    def __call__(self, visitors: Sequence[Visitor], items: np.ndarray, table: Table) -> np.ndarray:
        """Scores (visitor, item), higher is shown first."""
        for name, values in self.of_items.items():
            if items.max() >= len(values):
                raise ValueError(
                    f"of_items: {name!r} has {len(values)} numbers, and item {items.max()} is "
                    "shown; give one number for every item."
                )
        scores = predict(self.model, table, self.batch_size)
        scores |= {name: values[items].ravel() for name, values in self.of_items.items()}
        pages = np.repeat(np.arange(len(items)), items.shape[1])
        more = {"page": pages} if getattr(self.fusion, "relative", False) else {}
        return self.fusion(scores, **more).reshape(items.shape)


def best_policy(live: Live, goal: Goal = "revenue") -> Policy:
    """The oracle: ranks by what showing an item brings, in the mean over the luck nobody sees.

    Of revenue and margin that is E[click and purchase] times price or margin: where a hidden appeal
    moves click and purchase alike, the clicked ones buy more often than all would
    (``mean_over_luck`` with ``selected=True``). Of clicks it is E[click]. ``live.best_page`` ranks
    by the chances before luck, which is another order wherever ``noise`` or ``selection_bias`` is
    above 0.

    What remains: it takes every place on the page for the first. Places lower down lose logits, so
    of rare outcomes all lose about the same share; where clicks are frequent and ``position_bias``
    is large, another order of the same page may bring a little more.
    """
    _check_goal(goal)
    world, outcomes = live.world, live.behaviour.outcomes
    worth = {"revenue": lambda: world.items["price"], "margin": lambda: margins(world)}
    euro = None if goal == "clicks" else np.asarray(worth[goal](), dtype=np.float64)

    def policy(visitors: Sequence[Visitor], items: np.ndarray, table: Table) -> np.ndarray:
        visits = {name: np.array([getattr(v, name) for v in visitors]) for name in VISIT}
        scores, _ = live.behaviour.scores(visits, items, np.zeros(items.shape[1]))
        flat = {name: score.ravel() for name, score in scores.items()}
        means = mean_over_luck(outcomes, flat, selected=True)
        value = means["click"].astype(np.float64).reshape(items.shape)
        if euro is None:
            return value
        stock = live.behaviour.stock_columns(visits["day"][:, None], items)
        left = stock["stock"] > 0 if "stock" in stock else 1.0  # what is sold out brings nothing
        return value * means["purchase"].reshape(items.shape) * left * euro[items]

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
        items = live.candidates(part, candidates)
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
    return float(getattr(outcome, f"expected_{goal}" if expected else goal))


def _check_goal(goal: str) -> None:
    if goal not in GOALS:
        raise ValueError(f"goal: {goal!r} is not one of {', '.join(GOALS)}.")
