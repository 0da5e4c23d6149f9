"""The result of a comparison: paired runs, and every number that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mtlkit.comparison.interval import Interval, paired_interval, verdict
from mtlkit.comparison.pairs import Paired, paired
from mtlkit.comparison.text import html, markdown, plain
from mtlkit.metrics import METRIC_SIGNS, delta_m, oracle_distance
from mtlkit.schema import WHOLE


@dataclass(frozen=True, repr=False)
class Comparison:
    """Paired runs of several candidates. In a notebook it shows itself as a table.

    ``runs``: candidate, seed, task, scenario ("all" for all rows together), metric, value.
    ``costs``: candidate, seed, parameters, seconds, steps, backward_passes. ``tasks``: {task: (main
    metric, +1 where higher is better or -1)}.
    """

    runs: pl.DataFrame
    costs: pl.DataFrame
    candidates: tuple[str, ...]
    reference: str
    seeds: tuple[int, ...]
    tasks: dict[str, tuple[str, int]]
    on: str
    confidence: float
    oracle: dict[str, dict[str, float]]

    def table(
        self,
        metric: str | None = None,
        scenario: str | None = WHOLE,
        method: str = "t",
        simultaneous: bool = False,
    ) -> pl.DataFrame:
        """Every candidate and task: mean, difference to the reference with interval, verdict.

        ``metric`` None takes each task's main metric; ``scenario`` None lists all of them. Columns:
        candidate, task, scenario, metric, sign, mean, difference (candidate - reference, in the
        metric's unit), low, high, verdict, pairs (seeds with a value on both sides), and with an
        oracle: oracle, to_oracle (0 = nothing left to gain).

        The rule for many comparisons is the plain one: each interval holds at ``confidence`` for
        its own difference, and with m of them about (1 - confidence) m exclude 0 by luck alone.
        ``simultaneous=True`` widens them so that all m hold together (Bonferroni).
        """
        names = [name for name, _ in self.tasks.values()] if metric is None else [metric]
        chosen = self.runs.filter(pl.col("metric").is_in(names))
        if scenario is not None:
            chosen = chosen.filter(pl.col("scenario") == scenario)
        if chosen.is_empty():
            raise ValueError(
                f"No runs for metric {metric!r} in scenario {scenario!r}; metrics: "
                f"{', '.join(self.runs['metric'].unique().sort())}; scenarios: "
                f"{', '.join(self.runs['scenario'].unique(maintain_order=True))}."
            )
        values: dict[tuple[str, str, str], dict[str, dict[int, float]]] = {}
        for name, seed, task, place, kind, value in chosen.iter_rows():
            if metric is not None or self.tasks[task][0] == kind:
                cell = values.setdefault((place, task, kind), {c: {} for c in self.candidates})
                cell[name][seed] = value
        rivals = max(1, len(self.candidates) - 1) * len(values)
        confidence = 1 - (1 - self.confidence) / rivals if simultaneous else self.confidence
        rows = [
            self._row(place, task, kind, candidate, cell, confidence, method)
            for (place, task, kind), cell in values.items()
            for candidate in self.candidates
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def _row(
        self,
        place: str,
        task: str,
        metric: str,
        candidate: str,
        cell: Mapping[str, Mapping[int, float]],
        confidence: float,
        method: str,
    ) -> dict[str, Any]:
        own, base = cell[candidate], cell[self.reference]
        sign = METRIC_SIGNS.get(metric, 0)
        mean = _mean(own.values())
        row: dict[str, Any] = {"candidate": candidate, "task": task, "scenario": place}
        row |= {"metric": metric, "sign": sign, "mean": mean}
        paired = [own[s] - base[s] for s in own if s in base]
        paired = [d for d in paired if math.isfinite(d)]
        if candidate == self.reference:
            row |= {"difference": None, "low": None, "high": None, "verdict": "reference"}
        elif not paired:
            row |= {"difference": math.nan, "low": math.nan, "high": math.nan}
            row |= {"verdict": "no interval"}
        else:
            interval = paired_interval(paired, confidence, method)
            row |= {"difference": interval.mean, "low": interval.low, "high": interval.high}
            row |= {"verdict": verdict(interval.low, interval.high, sign)}
        row["pairs"] = len(paired)
        if self.oracle:
            best = self.oracle.get(task, {}).get(metric, math.nan) if place == WHOLE else math.nan
            row |= {"oracle": best, "to_oracle": oracle_distance(mean, best, sign=sign or 1)}
        return row

    def by_seed(self, candidate: str, metric: str, task: str, scenario: str = WHOLE) -> np.ndarray:
        """One value for each of ``seeds``, in their order, (seed,): what an interval is made of.

        NaN for a seed without one: its rows had no such scenario. Raises ``ValueError`` where no
        seed has such a number.
        """
        wanted = {"candidate": candidate, "metric": metric, "task": task, "scenario": scenario}
        found = self.runs.filter(**wanted)
        if found.is_empty():
            for column, value in wanted.items():
                known = self.runs[column].unique(maintain_order=True).to_list()
                if value not in known:
                    raise ValueError(f"{value!r} is no {column}; there are: {', '.join(known)}.")
            raise ValueError(f"No run has all of these: {wanted}.")
        values = dict(found.select("seed", "value").iter_rows())
        return np.array([values.get(seed, math.nan) for seed in self.seeds])

    def interval(
        self,
        candidate: str,
        metric: str,
        task: str,
        minus: str | None = None,
        scenario: str = WHOLE,
        method: str = "t",
    ) -> Interval:
        """Mean of one metric over the seeds with its interval.

        With ``minus``, another candidate: of the differences, paired by seed. As in ``table``,
        which gives the main metrics against the reference, undefined values are left out.
        """
        values = self.by_seed(candidate, metric, task, scenario)
        if minus is not None:
            values = values - self.by_seed(minus, metric, task, scenario)
        values = values[np.isfinite(values)]
        if not len(values):
            return Interval(math.nan, math.nan, math.nan)
        return paired_interval(values, self.confidence, method)

    def difference(
        self,
        candidate: str,
        reference: str,
        *,
        task: str,
        metric: str | None = None,
        sign: int | None = None,
        scenario: str = WHOLE,
    ) -> Paired:
        """Candidate minus reference over the paired seeds, in the metric's unit.

        ``metric`` None takes the task's main metric; ``sign`` None follows from the metric's name
        (0 where ``mtlkit.metrics`` does not know it). Raises ``ValueError`` for a name that is not
        there.
        """
        kind = self.main_metric(task) if metric is None else metric
        own, base = (self.by_seed(name, kind, task, scenario) for name in (candidate, reference))
        direction = METRIC_SIGNS.get(kind, 0) if sign is None else sign
        return paired(own, base, sign=direction, confidence=self.confidence)

    def main_metric(self, task: str) -> str:
        """The metric by which a task is judged. Raises ``ValueError`` for an unknown task."""
        if task not in self.tasks:
            raise ValueError(f"{task!r} is no task; these are: {', '.join(self.tasks)}.")
        return self.tasks[task][0]

    def improvement(self, method: str = "t") -> pl.DataFrame:
        """delta_m of every candidate but the reference, in per cent, with interval and verdict.

        For each seed: the mean over tasks of the relative improvement of the main metric over the
        reference's run with the same seed (see ``mtlkit.metrics.delta_m``).
        """
        runs: dict[tuple[str, int], dict[str, float]] = {
            (name, seed): dict.fromkeys(self.tasks, math.nan)
            for name in self.candidates
            for seed in self.seeds
        }
        for name, seed, task, place, kind, value in self.runs.iter_rows():
            if place == WHOLE and self.tasks[task][0] == kind:
                runs[name, seed][task] = value
        signs = {task: sign for task, (_, sign) in self.tasks.items()}
        rows = []
        for name in self.candidates:
            if name == self.reference:
                continue
            gains = [
                100 * delta_m(runs[name, seed], runs[self.reference, seed], signs)
                for seed in self.seeds
            ]
            gains = [gain for gain in gains if math.isfinite(gain)]
            interval = Interval(math.nan, math.nan, math.nan)
            if gains:
                interval = paired_interval(gains, self.confidence, method)
            rows.append(
                {"candidate": name, "delta_m_percent": interval.mean}
                | {"low": interval.low, "high": interval.high}
                | {"verdict": verdict(interval.low, interval.high, 1), "pairs": len(gains)}
            )
        return pl.DataFrame(rows)

    def cost(self) -> pl.DataFrame:
        """Mean cost of a run: parameters, seconds (and their ratio to the reference), passes."""
        means = self.costs.group_by("candidate", maintain_order=True).agg(
            pl.col("parameters", "seconds", "steps", "backward_passes").mean()
        )
        base = means.filter(pl.col("candidate") == self.reference)["seconds"][0]
        return means.with_columns(
            pl.col("parameters").cast(pl.Int64),
            (pl.col("seconds") / base if base else pl.lit(math.nan)).alias("seconds_ratio"),
        )

    def means(self, candidate: str | None = None) -> dict[str, float]:
        """{task: mean main metric over the seeds}; of the reference by default. See ``spread``."""
        return {task: _mean(values) for task, values in self._selection(candidate).items()}

    def spread(self, candidate: str | None = None) -> dict[str, float]:
        """{task: standard deviation of the main metric over seeds}; of the reference by default.

        ``fit(reference=comparison.means(), spread=comparison.spread())`` selects epochs by it. Both
        are refused for a comparison on test rows, which must not select anything. NaN for one seed.
        """
        return {
            task: float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
            for task, values in self._selection(candidate).items()
        }

    def _selection(self, candidate: str | None) -> dict[str, list[float]]:
        name = self.reference if candidate is None else candidate
        if name not in self.candidates:
            raise ValueError(f"{name!r} is no candidate; these are: {', '.join(self.candidates)}.")
        if self.on == "test":
            raise ValueError(
                "These numbers were read on test rows and must not select anything: take them from "
                'a comparison with on="validation".'
            )
        chosen: dict[str, list[float]] = {task: [] for task in self.tasks}
        for run, _, task, place, kind, value in self.runs.iter_rows():
            if run == name and place == WHOLE and kind == self.tasks[task][0]:
                chosen[task].append(value)
        return chosen

    def to_markdown(self, metric: str | None = None, scenario: str | None = WHOLE) -> str:
        """The table, the costs and the rule of the verdict as Markdown."""
        return markdown(self, metric, scenario)

    def _repr_html_(self) -> str:
        return html(self)

    def __repr__(self) -> str:
        return (
            f"Comparison of {', '.join(self.candidates)} (reference: {self.reference}) on "
            f"{self.on}, {len(self.seeds)} seed(s)\n{plain(self)}"
        )

    def record(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and strings, ready for JSON; NaN becomes None."""
        content = {
            "reference": self.reference,
            "candidates": list(self.candidates),
            "seeds": list(self.seeds),
            "on": self.on,
            "confidence": self.confidence,
            "table": self.table(scenario=None).to_dicts(),
            "improvement": self.improvement().to_dicts(),
            "cost": self.cost().to_dicts(),
        }
        return _plain(content)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
