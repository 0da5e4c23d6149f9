"""What a comparison does for one candidate and one seed, in whichever process."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from mtlkit.data.splits import Split, check_disjoint, require_split
from mtlkit.schema import WHOLE
from mtlkit.train.evaluation import main_metric
from mtlkit.train.randomness import seeded


class Run(NamedTuple):
    """One trained model in plain numbers and texts, so that it fits through a pipe and a file.

    ``tasks``: {task: (main metric, sign)}; ``values``: (task, scenario, metric, value), in the
    order measured; ``cost``: (parameters, seconds, steps, backward passes).
    """

    candidate: str
    seed: int
    tasks: dict[str, tuple[str, int]]
    values: list[tuple[str, str, str, float]]
    cost: tuple[int, float, int, int]


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """A block in which torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Plan:
    """The runs of a comparison: ``run(candidate, seed)`` trains and measures one of them.

    The arguments are those of ``compare``; ``options`` are merged, {candidate: {option: value}}.
    """

    candidates: Mapping[str, Callable[[int], Any]]
    split: Split | Callable[[int], Split]
    options: Mapping[str, Mapping[str, Any]]
    on: str
    by_scenario: bool
    group: str | None
    trainer: Callable[..., Any]
    evaluator: Callable[..., Any]
    threads: int
    fast_bfloat16: bool = False  # of the CPU, measured once for all processes
    seen: list[weakref.ref[Any]] = field(default_factory=list)
    drawn: tuple[int, Split] | None = None
    sent: bool = False  # whether this is the copy of another process

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "seen": [], "drawn": None, "sent": True}

    def data(self, seed: int) -> Split:
        """The tables of a seed, which share no row; those of the last seed are kept."""
        if self.drawn is None or (callable(self.split) and self.drawn[0] != seed):
            split = self.split(seed) if callable(self.split) else self.split
            require_split(split)
            check_disjoint(*(table for table in split if table is not None))
            self.drawn = (seed, split)
        return self.drawn[1]

    def run(self, candidate: str, seed: int) -> Run:
        """Build, train and measure one model."""
        data = self.data(seed)
        measured = getattr(data, self.on)
        with torch_threads(self.threads):
            model = self._new_model(candidate, seed)
            # a balancer's state must not leak between runs
            options = copy.deepcopy(dict(self.options[candidate]))
            history = self.trainer(
                model, data.train, data.validation, seed=seed, progress=False, **options
            )
            places = {WHOLE: self.evaluator(model, measured, group=self.group)}
            if self.by_scenario and _several_places(model.schema, measured):
                if WHOLE in model.schema.scenario_names:
                    raise ValueError(f"A scenario must not be called {WHOLE!r}: rename it.")
                places |= self.evaluator(model, measured, by_scenario=True, group=self.group)
        values = [
            (task, place, metric, float(value))
            for place, by_task in places.items()
            for task, metrics in by_task.items()
            for metric, value in metrics.items()
        ]
        tasks = {task.name: main_metric(task) for task in model.schema.tasks}
        return Run(candidate, seed, tasks, values, _cost(model, history))

    def _new_model(self, candidate: str, seed: int) -> Any:
        factory = self.candidates[candidate]
        with seeded(seed):
            model = factory(seed)
        self._refuse_old(candidate, model)
        self.seen.append(weakref.ref(model))
        if self.sent:  # here the next run may be another process's: ask the factory twice at once
            with seeded(seed):
                self._refuse_old(candidate, factory(seed))
        return model

    def _refuse_old(self, candidate: str, model: Any) -> None:
        if any(old() is model for old in self.seen):
            raise ValueError(
                f"The factory of {candidate!r} returned a model it had returned before: a trained "
                "model must not start the next run. Build a new one in each call."
            )


def _several_places(schema: Any, table: Any) -> bool:
    """Whether rows are of more than one scenario, the unknown one counted: else all is said."""
    if schema.num_scenarios > 1:
        return True
    scenario = getattr(table, "scenario", None)
    return scenario is not None and bool((scenario == schema.unknown_scenario).any())


def _cost(model: Any, history: Any) -> tuple[int, float, int, int]:
    total = model.parameter_count()["total"]
    return total, float(history.seconds), int(history.steps), int(history.backward_passes)
