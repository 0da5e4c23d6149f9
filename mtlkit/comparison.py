"""Fair comparisons: the same seeds, data and budget for every candidate, and honest intervals.

A difference between two models means little without its spread over seeds: gains of 0.002 AUC are
the norm and the seeds alone often move as much. ``compare`` trains every candidate once a seed,
pairs the runs by seed and gives each difference an interval. The verdict comes from the interval
alone.
"""

from __future__ import annotations

import copy
import inspect
import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from mtlkit import comparison_text
from mtlkit.data.splits import Split, check_disjoint
from mtlkit.metrics import METRIC_SIGNS, delta_m, oracle_distance
from mtlkit.train import evaluate, fit, main_metric, progress_bar, seeded

WHOLE = "all"  # the scenario column's entry for all rows together
BUDGET = ("epochs", "batch_size", "max_steps", "patience")
MANAGED = ("seed", "progress", "checkpoint", "checkpoint_every", "resume")


class Interval(NamedTuple):
    """A mean with the ends of its confidence interval (NaN where there are too few values).

    ``f"{interval:.2f}"`` is "0.31 (0.28 to 0.34)", each number written as the format says.
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        mean, low, high = (format(number, spec) for number in self)
        return mean if math.isnan(self.low) else f"{mean} ({low} to {high})"


def paired_interval(
    differences: Iterable[float],
    confidence: float = 0.95,
    method: str = "t",
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of paired differences with a two-sided confidence interval.

    "t": mean +- t(n - 1) s / sqrt(n), Student's paired interval (Biometrika 1908). "bootstrap": the
    percentile interval over ``resamples`` resamples with replacement (Efron, Annals of Statistics
    1979), which is too narrow for a few values: prefer "t". One value has no interval: its ends are
    NaN. Raises ``ValueError`` for no values, NaN, or a bad option.

    How often a 95 % interval holds the true mean (simulated: 200,000 samples for "t", 4,000 for
    "bootstrap"; the skewed ones are exponential, and lognormal with sigma 1):

    ============  ======================  ======================
    distribution  t: 3, 5, 10, 20 values  bootstrap: the same
    ============  ======================  ======================
    normal        .95  .95  .95  .95      .75  .85  .90  .92
    exponential   .88  .88  .90  .92      .70  .79  .85  .89
    lognormal     .84  .82  .84  .87      .63  .73  .82  .85
    ============  ======================  ======================
    """
    values = np.asarray(list(differences), dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"differences must be one or more finite numbers, not {values.tolist()}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}.")
    if method not in ("t", "bootstrap"):
        raise ValueError(f'method must be "t" or "bootstrap", not {method!r}.')
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    if method == "t":
        top = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
        half = float(top * stats.sem(values))
        return Interval(mean, mean - half, mean + half)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return Interval(mean, *map(float, found.confidence_interval))


def verdict(low: float, high: float, sign: int) -> str:
    """One word from the interval of a difference alone; ``sign`` is +1 where higher is better."""
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    if sign == 0:
        return "no direction"
    if low <= 0 <= high:
        return "no difference seen"
    return "better" if (low > 0) == (sign > 0) else "worse"


def compare(
    candidates: Mapping[str, Callable[[int], Any]],
    split: Split | Callable[[int], Split],
    *,
    seeds: Iterable[int] = range(5),
    reference: str | None = None,
    fit_options: Mapping[str, Any] | None = None,
    fit_options_for: Mapping[str, Mapping[str, Any]] | None = None,
    on: str = "validation",
    by_scenario: bool = True,
    group: str | None = None,
    oracle: Mapping[str, Mapping[str, float]] | None = None,
    confidence: float = 0.95,
    trainer: Callable[..., Any] = fit,
    evaluator: Callable[..., Any] = evaluate,
    progress: bool = True,
) -> Comparison:
    """Train every candidate once a seed, with equal budgets, and measure all on the same rows.

    Parameters
    ----------
    candidates
        {name: factory}. ``factory(seed)`` builds a new model; torch's random numbers are seeded
        with the run's seed around the call, so pairs start alike where their layers agree.
    split
        The rows, the same for all. The interval then covers the luck of initial weights and batch
        order, not of the data. A function ``split(seed) -> Split`` draws new data a seed and covers
        both.
    seeds
        Whole numbers; run i of one candidate is paired with run i of every other.
    reference
        The candidate all others are compared with, usually the single-task models; by default the
        first one.
    fit_options, fit_options_for
        Arguments of ``fit`` for all, and for one candidate ({name: {...}}): say, its balancer. Each
        run gets its own copy. The budget (epochs, batch size, steps, patience) is the same for all.
    on
        "validation", or "test": every model is then selected on validation (by ``fit``), and read
        once on test. Training never sees the test rows. Do this once, at the very end.
    by_scenario, group
        Also measure every scenario; name of a key for GAUC.
    oracle
        {task: {metric: value}}, the best reachable on the rows measured, for the distance to it.
    trainer, evaluator
        ``mtlkit.train.fit`` and ``evaluate``, or something with the same arguments.

    Raises ``ValueError`` for an unknown reference or option, unequal budgets, repeated seeds, a
    factory that returns the same model twice; ``SchemaError`` for tables that share rows.
    """
    seeds = [int(seed) for seed in seeds]
    reference = next(iter(candidates), "") if reference is None else reference
    if reference not in candidates:
        raise ValueError(
            f"The reference {reference!r} must be one of the candidates: "
            f"{', '.join(candidates) or 'none given'}."
        )
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be one or more different whole numbers, not {seeds}.")
    if on not in ("validation", "test"):
        raise ValueError(f'on must be "validation" or "test", not {on!r}.')
    options = _options(list(candidates), fit_options or {}, fit_options_for or {}, trainer)

    runs: list[tuple[Any, ...]] = []
    costs: list[tuple[Any, ...]] = []
    tasks: dict[str, tuple[str, int]] = {}
    seen: list[weakref.ref[Any]] = []
    with progress_bar(len(candidates) * len(seeds), progress, unit="run") as bar:
        for seed in seeds:
            data = split(seed) if callable(split) else split
            measured = getattr(data, on)
            if callable(split) or seed == seeds[0]:
                check_disjoint(*(table for table in data if table is not None))
            for name, factory in candidates.items():
                bar.set_postfix_str(f"{name}, seed {seed}")
                with seeded(seed):
                    model = factory(seed)
                if any(old() is model for old in seen):
                    raise ValueError(
                        f"The factory of {name!r} returned a model it had returned before: a "
                        "trained model must not start the next run. Build a new one in each call."
                    )
                seen.append(weakref.ref(model))
                own = copy.deepcopy(options[name])  # a balancer's state must not leak between runs
                history = trainer(
                    model, data.train, data.validation, seed=seed, progress=False, **own
                )
                for task in model.schema.tasks:
                    tasks.setdefault(task.name, main_metric(task))
                places = {WHOLE: evaluator(model, measured, group=group)}
                if by_scenario and model.schema.num_scenarios > 1:
                    if WHOLE in model.schema.scenario_names:
                        raise ValueError(f"A scenario must not be called {WHOLE!r}: rename it.")
                    places |= evaluator(model, measured, by_scenario=True, group=group)
                runs += [
                    (name, seed, task, place, metric, float(value))
                    for place, by_task in places.items()
                    for task, metrics in by_task.items()
                    for metric, value in metrics.items()
                ]
                costs.append((name, seed, *_cost(model, history)))
                bar.update()
    return Comparison(
        runs=pl.DataFrame(runs, schema=_RUNS, orient="row"),
        costs=pl.DataFrame(costs, schema=_COSTS, orient="row"),
        candidates=tuple(candidates),
        reference=reference,
        seeds=tuple(seeds),
        tasks=tasks,
        on=on,
        confidence=confidence,
        oracle={task: dict(values) for task, values in (oracle or {}).items()},
    )


_RUNS = {"candidate": pl.Utf8, "seed": pl.Int64, "task": pl.Utf8, "scenario": pl.Utf8}
_RUNS |= {"metric": pl.Utf8, "value": pl.Float64}
_COSTS = {"candidate": pl.Utf8, "seed": pl.Int64, "parameters": pl.Int64, "seconds": pl.Float64}
_COSTS |= {"steps": pl.Int64, "backward_passes": pl.Int64}


def _options(
    names: Sequence[str],
    shared: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]],
    trainer: Callable[..., Any],
) -> dict[str, dict[str, Any]]:
    unknown = sorted(set(own) - set(names))
    if unknown:
        raise ValueError(f"fit_options_for names {unknown[0]!r}, which is no candidate.")
    parameters = inspect.signature(trainer).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    merged = {name: {**shared, **own.get(name, {})} for name in names}
    for name, options in merged.items():
        for option in options:
            if option in MANAGED:
                raise ValueError(f"compare sets {option!r} itself; leave it out of the options.")
            if option not in parameters and not open_ended:
                raise ValueError(f"{option!r} (candidate {name!r}) is no option of the trainer.")
    for option in BUDGET:
        default = parameters[option].default if option in parameters else None
        values = {name: options.get(option, default) for name, options in merged.items()}
        if len({repr(value) for value in values.values()}) > 1:
            raise ValueError(
                f"Budgets must be equal, but {option} is "
                + ", ".join(f"{value!r} for {name!r}" for name, value in values.items())
                + ". Put it in fit_options."
            )
    return merged


def _cost(model: Any, history: Any) -> tuple[int, float, int, int]:
    total = model.parameter_count()["total"]
    return total, float(history.seconds), int(history.steps), int(history.backward_passes)


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

        Raises ``ValueError`` where the comparison holds no such number.
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
        return np.array([values[seed] for seed in self.seeds])

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
        return comparison_text.markdown(self, metric, scenario)

    def _repr_html_(self) -> str:
        return comparison_text.html(self)

    def __repr__(self) -> str:
        return (
            f"Comparison of {', '.join(self.candidates)} (reference: {self.reference}) on "
            f"{self.on}, {len(self.seeds)} seed(s)\n{comparison_text.plain(self)}"
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
