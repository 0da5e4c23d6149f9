"""Fair comparisons: the same seeds, data and budget for every candidate, and honest intervals.

A difference between two models means little without its spread over seeds: gains of 0.002 AUC are
the norm and the seeds alone often move as much. ``compare`` trains every candidate once a seed,
pairs the runs by seed and gives each difference an interval. The verdict comes from the interval
alone.
"""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from mtlkit.comparison.table import Comparison
from mtlkit.comparison.text import WHOLE
from mtlkit.data.splits import Split, check_disjoint
from mtlkit.train.evaluation import evaluate, main_metric
from mtlkit.train.loop import fit
from mtlkit.train.progress import progress_bar
from mtlkit.train.randomness import seeded

BUDGET = ("epochs", "batch_size", "max_steps", "patience")
MANAGED = ("seed", "progress", "checkpoint", "checkpoint_every", "resume")


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
