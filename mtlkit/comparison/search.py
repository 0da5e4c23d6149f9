"""A small search for the learning rate, so that every candidate of a comparison is tuned alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mtlkit.data.splits import Split
from mtlkit.train.evaluation import main_metric, selection_score
from mtlkit.train.history import History
from mtlkit.train.loop import fit
from mtlkit.train.randomness import seeded


class RateSearch(NamedTuple):
    """``best``: the learning rate with the highest score; ``scores``: {rate: score}."""

    best: float
    scores: dict[float, float]


def search_rate(
    factory: Callable[[int], Any],
    split: Split,
    rates: Iterable[float],
    *,
    seed: int = 99,
    starts: int = 1,
    reference: Mapping[str, float] | None = None,
    fit_options: Mapping[str, Any] | None = None,
) -> RateSearch:
    """Train models with each rate, from the same starts, and score their best epochs on validation.

    The score of a model with one task is its main metric, turned so that higher is better. With
    several tasks it is ``selection_score`` against ``reference`` {task: value of a single-task
    model}. A rate scores the mean over ``starts`` runs with the seeds ``seed``, ``seed + 1``, ...;
    minus infinity if the loss of one of them stops being finite. These should be none of the seeds
    compared later. ``factory`` and ``fit_options`` are those of ``compare``; the test rows are not
    read. If the best rate is the first or the last one, search further. ``Trees`` have a rate of
    their own, ``Trees(learning_rate=...)``, which these do not touch: all score alike.

    Raises ``ValueError`` for no rates, fewer than one start, several tasks without ``reference``,
    or when every rate diverges.
    """
    if starts < 1:
        raise ValueError(f"starts is {starts}; give the number of runs a rate, 1 or more.")
    scores: dict[float, float] = {}
    for rate in rates:
        options = {**(fit_options or {}), "learning_rate": rate}
        scores[rate] = 0.0
        for start in range(seed, seed + starts):
            scores[rate] += _one_run(factory, split, start, options, reference) / starts
            if not math.isfinite(scores[rate]):
                break
    known = {rate: score for rate, score in scores.items() if math.isfinite(score)}
    if not known:
        raise ValueError(
            f"No rate among {list(scores)} gave a finite score; give (smaller) learning rates."
        )
    return RateSearch(max(known, key=lambda rate: known[rate]), scores)


def _one_run(
    factory: Callable[[int], Any],
    split: Split,
    seed: int,
    options: Mapping[str, Any],
    reference: Mapping[str, float] | None,
) -> float:
    """The score of one model's best epoch; minus infinity if it has none."""
    with seeded(seed):
        model = factory(seed)
    try:
        history = fit(
            model, split.train, split.validation, **{"seed": seed, "progress": False, **options}
        )
    except FloatingPointError:
        return -math.inf
    if history.best_epoch is None:  # the metric is undefined on these validation rows
        return -math.inf
    return _score(model.schema, _kept(history), reference)


def _kept(history: History) -> Any:
    """Validation metrics of the weights that a run keeps: of one epoch, or of each task's own."""
    if history.best_epochs is None:
        assert history.best_epoch is not None
        return history.rows[history.best_epoch]["validation"]
    return {
        task: history.rows[epoch]["validation"][task] for task, epoch in history.best_epochs.items()
    }


def _score(schema: Any, metrics: Any, reference: Mapping[str, float] | None) -> float:
    if reference is not None:
        return selection_score(schema, metrics, reference=reference)
    if schema.num_tasks > 1:
        raise ValueError(
            "Scores of several tasks have different units: give reference={task: value of a "
            "single-task model} to search_rate."
        )
    metric, sign = main_metric(schema.tasks[0])
    return sign * metrics[schema.tasks[0].name][metric]
