"""Fair comparisons: the same seeds, data and budget for every candidate, and honest intervals.

A difference between two models means little without its spread over seeds: gains of 0.002 AUC are
the norm and the seeds alone often move as much. ``compare`` trains every candidate once a seed,
pairs the runs by seed and gives each difference an interval. The verdict comes from the interval
alone.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from mtlkit.comparison.plan import Plan, Run
from mtlkit.comparison.processes import Wanted, choose_jobs, kept, over_processes, packed
from mtlkit.comparison.store import RunStore, read_run
from mtlkit.comparison.table import Comparison
from mtlkit.data.splits import Split
from mtlkit.train.device import has_fast_bfloat16
from mtlkit.train.evaluation import evaluate
from mtlkit.train.loop import fit
from mtlkit.train.progress import progress_bar

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
    jobs: int | str = "auto",
    threads: int = 1,
    store: str | Path | None = None,
    store_key: str | None = None,
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
        run gets its own copy. The budget (epochs, batch size, steps, patience) is the same for all;
        ``Trees`` have one of their own, ``rounds``, which the table of costs shows as steps.
    on
        "validation", or "test": every model is then selected on validation (by ``fit``), and read
        once on test. Training never sees the test rows. Do this once, at the very end.
    by_scenario, group
        Also measure every scenario; name of a key for GAUC.
    oracle
        {task: {metric: value}}, the best reachable on the rows measured, for the distance to it.
    trainer, evaluator
        ``mtlkit.train.fit`` and ``evaluate``, or something with the same arguments.
    jobs, threads
        Processes to spread the runs over, and torch's threads in each run. The numbers are those of
        one process, whatever ``jobs`` is: every run computes with ``threads`` threads, which may
        move last digits. "auto": the physical cores; 1 where that would not do, see
        ``comparison.processes.choose_jobs``. Candidates may be lambdas and classes of a notebook.
        What they write elsewhere (a list of models, say) stays in their process. A process takes
        some seconds to start and holds the tables once more; this one is the first of them. More
        threads than one pay for few and large runs, on cores that nobody else uses.
    store, store_key
        A folder that keeps each run as it ends. A comparison that is called again reads what is
        there and does the rest, so an interrupted one goes on. A run is read only if all is equal
        that determines it (``comparison.store.RunStore``); code of mtlkit counts by its version.
        ``store_key``, a text, stands in for the code of your factories, trainer and evaluator, and
        must be given where that code cannot be read (``comparison.fingerprint`` says what can).

    Raises ``ValueError`` for an unknown reference or option, unequal budgets, repeated seeds, a
    ``store`` that is no folder, a factory that returns the same model twice; ``SchemaError`` for
    tables that share rows. A run's exception that cannot leave its process: ``RuntimeError``.
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

    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a whole number from 1, not {threads!r}.")
    if store_key is not None and store is None:
        raise ValueError("store_key names the code of stored runs: give store too.")
    fast = has_fast_bfloat16(torch.device("cpu"))
    plan = Plan(
        dict(candidates), split, options, on, by_scenario, group, trainer, evaluator, threads, fast
    )
    processes = choose_jobs(jobs, plan, own_code=trainer is not fit or evaluator is not evaluate)
    wanted = [(name, seed) for seed in seeds for name in candidates]
    runs: dict[tuple[str, int], Run] = {}
    kept_in = None if store is None else RunStore(store, plan, store_key)
    with progress_bar(len(wanted), progress, unit="run") as bar:
        for run in _runs(plan, wanted, processes, kept_in, jobs):
            runs[run.candidate, run.seed] = run
            bar.set_postfix_str(f"{run.candidate}, seed {run.seed}")
            bar.update()
    return _comparison(
        [runs[key] for key in wanted],
        candidates=tuple(candidates),
        reference=reference,
        seeds=tuple(seeds),
        on=on,
        confidence=confidence,
        oracle={task: dict(values) for task, values in (oracle or {}).items()},
    )


def _runs(
    plan: Plan,
    wanted: Sequence[tuple[str, int]],
    processes: int,
    store: RunStore | None,
    jobs: int | str,
) -> Iterator[Run]:
    """Every wanted run, stored or done now; in this process, or those to be done over several."""
    missing: list[Wanted] = []
    for name, seed in wanted:
        place = store.place(name, seed) if store is not None else None
        run = read_run(place) if place is not None else None
        if run is not None:
            yield run
        elif processes == 1:  # at once: the tables of this seed are at hand
            yield kept(plan, name, seed, place)
        else:
            missing.append((name, seed, place))
    if len(missing) > 1:
        try:
            content = packed(plan)
        except ValueError as error:
            if jobs != "auto":
                raise
            warnings.warn(f"One process after all. {error}", stacklevel=4)
        else:
            yield from over_processes(plan, content, missing, min(processes, len(missing)))
            return
    for name, seed, place in missing:
        yield kept(plan, name, seed, place)


def _comparison(runs: Sequence[Run], **described: Any) -> Comparison:
    """The table of runs in the order in which one process does them."""
    tasks: dict[str, tuple[str, int]] = {}
    for run in runs:
        for task, metric in run.tasks.items():
            tasks.setdefault(task, metric)
    values = [(run.candidate, run.seed, *value) for run in runs for value in run.values]
    costs = [(run.candidate, run.seed, *run.cost) for run in runs]
    return Comparison(
        runs=pl.DataFrame(values, schema=_RUNS, orient="row"),
        costs=pl.DataFrame(costs, schema=_COSTS, orient="row"),
        tasks=tasks,
        **described,
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
