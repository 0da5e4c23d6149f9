"""The same trials for everyone: knobs chosen on validation rows, over several starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mtlkit.comparison.runs import compare
from mtlkit.data.splits import Split

Metrics = dict[str, dict[str, float]]  # {task: {metric: value}}
Trial = tuple[Callable[[int], Any], Mapping[str, Any]]  # factory, options of fit


@dataclass(frozen=True)
class Tuned:
    """What a search found: ``chosen`` {candidate: trial}, ``scores`` {candidate: {trial: score}}.

    ``factories`` {candidate: factory} and ``fit_options_for`` {candidate: options} are those of the
    chosen trials, as ``compare`` takes them.
    """

    chosen: dict[str, str]
    scores: dict[str, dict[str, float]]
    factories: dict[str, Callable[[int], Any]]
    fit_options_for: dict[str, dict[str, Any]]

    def frame(self) -> pl.DataFrame:
        """One row a candidate: candidate, chosen, trial 1, trial 2, ..."""
        return pl.DataFrame([
            {"candidate": name, "chosen": self.chosen[name]}
            | {f"trial {i}": score for i, score in enumerate(scores.values(), start=1)}
            for name, scores in self.scores.items()
        ])  # fmt: skip


def tune(
    trials: Mapping[str, Mapping[str, Trial]],
    split: Split | Callable[[int], Split],
    *,
    score: Callable[[Metrics], float],
    seeds: Iterable[int],
    **options: Any,
) -> Tuned:
    """Train every trial of every candidate once a seed; choose each candidate's best.

    Parameters
    ----------
    trials
        {candidate: {trial: (factory, options of fit)}}, the same number for every candidate, so
        that nobody wins by patience.
    split, options
        As in ``compare``: rows, ``fit_options``, ``store``, ``jobs`` and so on. Validation rows
        judge, also where the rows of ``split`` have test rows.
    score
        {task: {metric: value}} of one run -> a number, higher is better. A trial scores its mean
        over the seeds; one with a score that is not finite is never chosen.
    seeds
        None of those that a later comparison uses.

    Raises ``ValueError`` for no candidates, unequal numbers of trials, or a candidate without a
    finite score; ``FloatingPointError`` where a trial's loss stops being finite.
    """
    counts = {name: len(own) for name, own in trials.items()}
    if not counts or min(counts.values()) < 1 or len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no candidates"
        raise ValueError(f"Everyone must get the same number of trials, 1 or more: {told}.")
    flat = {f"{name}: {what}": trial for name, own in trials.items() for what, trial in own.items()}
    if len(flat) < sum(counts.values()):
        raise ValueError("Two trials have the same name, written 'candidate: trial'; rename one.")
    found = compare(
        {key: factory for key, (factory, _) in flat.items()}, split, seeds=seeds, on="validation",
        fit_options_for={key: dict(own) for key, (_, own) in flat.items()}, by_scenario=False,
        progress=options.pop("progress", False), **options,
    )  # fmt: skip
    means = {key: _mean_score(found.runs.filter(candidate=key), score) for key in flat}
    scores = {n: {what: means[f"{n}: {what}"] for what in own} for n, own in trials.items()}
    chosen = {}
    for name, own in scores.items():
        finite = {what: value for what, value in own.items() if math.isfinite(value)}
        if not finite:
            raise ValueError(f"No trial of {name!r} has a finite score: {own}.")
        chosen[name] = max(finite, key=lambda what: finite[what])
    best = {name: trials[name][what] for name, what in chosen.items()}
    return Tuned(
        chosen,
        scores,
        {name: factory for name, (factory, _) in best.items()},
        {name: dict(own) for name, (_, own) in best.items()},
    )


def _mean_score(runs: pl.DataFrame, score: Callable[[Metrics], float]) -> float:
    by_seed: dict[int, Metrics] = {}
    for seed, task, metric, value in runs.select("seed", "task", "metric", "value").iter_rows():
        by_seed.setdefault(seed, {}).setdefault(task, {})[metric] = value
    return float(np.mean([score(metrics) for metrics in by_seed.values()]))
