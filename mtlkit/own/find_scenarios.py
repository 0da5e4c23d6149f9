"""Findings about scenarios: a score over all rows that is only the gap between their rates."""

from __future__ import annotations

import numpy as np
import polars as pl

from mtlkit.metrics import auc, gauc, r2
from mtlkit.own.alone import by_luck
from mtlkit.own.finding import Facts, Finding, Found
from mtlkit.schema import Task

GAP = {"AUC": 0.05, "R²": 0.2}  # pooled minus within scenarios, and ...
ALONE = {"AUC": 0.55, "R²": 0.1}  # ... what the scenario alone gives, and ...
LUCK = 2.5  # ... more than that many deviations of what few rows give by luck


def by_scenario(facts: Facts) -> pl.DataFrame:
    """Pooled beside within-scenario, per task, on validation rows.

    Columns: task, metric ("AUC", or "R²", of log(1 + y) for counts and log1p tasks), pooled (over
    all rows), within (inside the scenarios, weighted by their rows), alone (each row's prediction
    is its scenario's training mean). Without several scenarios, and for multiclass tasks, no rows.
    """
    names = ("task", "metric", "pooled", "within", "alone")
    rows = []
    train, later = facts.split.train, facts.split.validation.take(facts.rows)
    for task in train.schema.tasks:
        if task.name not in facts.predictions or train.schema.num_scenarios == 1:
            continue
        if task.kind == "multiclass":
            continue
        known = later.mask(task.name).numpy()
        label = _scale(task, later.label(task.name).numpy()[known].astype(float))
        prediction = _scale(task, facts.predictions[task.name][known].astype(float))
        place = later.scenario.numpy()[known]
        seen = train.mask(task.name).numpy()
        ours = _scale(task, train.label(task.name).numpy()[seen].astype(float))
        means = _means(ours, train.scenario.numpy()[seen], train.schema.num_scenarios + 1)
        if len(label) and np.ptp(label) > 0:
            metric = "AUC" if task.is_binary else "R²"
            scores = (
                _scores(task, label, prediction, place),
                _scores(task, label, means[place], place),
            )
            rows.append((task.name, metric, *scores[0], scores[1][0]))
    kinds = dict(zip(names, [pl.String, pl.String, *[pl.Float64] * 3], strict=True))
    return pl.DataFrame(rows, kinds, orient="row")


def gaps(facts: Facts) -> Found:
    """Tasks whose pooled score comes from the gap between scenarios."""
    for name, metric, pooled, within, alone in by_scenario(facts).iter_rows():
        least = max(ALONE[metric], _luck(facts, name))
        if pooled - within >= GAP[metric] and alone >= least:
            yield Finding(
                "gap between scenarios", "look", facts.encoder.scenario, name, pooled - within,
                f"The {metric} of {name} is {pooled:.3f} over all rows and {within:.3f} inside "
                f"the scenarios; the scenario alone gives {alone:.3f}. Most of the pooled score "
                "tells scenarios apart, not rows: read scores by scenario.",
            )  # fmt: skip


def _luck(facts: Facts, name: str) -> float:
    """What the scenario alone seldom gives where it tells nothing, on so few validation rows."""
    later = facts.split.validation.take(facts.rows)
    label = later.label(name)[later.mask(name)].numpy()
    return by_luck(later.schema.task(name), label, LUCK)


def _scale(task: Task, values: np.ndarray) -> np.ndarray:
    log = task.log1p or task.is_count
    return np.log1p(np.maximum(values, 0)) if log else values


def _means(values: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """Mean of each scenario, (size,); that of all rows where there is none."""
    counts = np.bincount(place, minlength=size)
    sums = np.bincount(place, values, size)
    whole = values.mean() if len(values) else 0.0
    return np.where(counts > 0, sums / np.maximum(counts, 1), whole)


def _scores(
    task: Task, label: np.ndarray, prediction: np.ndarray, place: np.ndarray
) -> tuple[float, float]:
    """The score over all rows, and inside scenarios."""
    if task.is_binary:
        return auc(label, prediction), gauc(label, prediction, place).value
    size = int(place.max()) + 1
    around = ((label - _means(label, place, size)[place]) ** 2).sum()
    within = 1 - ((label - prediction) ** 2).sum() / around if around else float("nan")
    return r2(label, prediction), float(within)
