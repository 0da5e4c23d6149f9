"""Losses in levels: coarse outcomes first, finer ones as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.balance.fixed import EqualWeights
from mtlkit.balance.wrapper import Wrapper
from mtlkit.schema import Schema, SchemaError


class Curriculum(Wrapper):
    """A schedule from coarse to fine: level l = 0, 1, 2, ... comes in one after the other.

    came_l(t) = clip((t - start) / length - (l - 1), 0, 1) for l >= 1, and 1 for level 0
    w = floor + (1 - floor) * came_l(t),                     or, with fade=True,
    w = floor + (1 - floor) * (came_l(t) - came_{l+1}(t))

    So level 1 rises in a straight line from ``floor`` to 1 between t = start and start + length,
    level 2 in the ``length`` after that, and so on. With ``fade`` a level goes back to ``floor``
    while the next one comes in, and the finest stays. A reversed list runs from fine to coarse.

    Parameters
    ----------
    levels
        Lists of tasks, coarse first: [("click",), ("cart",), ("purchase", "return")]. A task that
        is not named keeps weight 1. None: by depth along ``given``, so that click is before
        purchase and purchase before return.
    start, length
        Time of the first change, and how long a level takes to come in; in finished epochs
        (``every="epoch"``) or earlier steps ("step").
    floor
        Weight before a level comes in, from 0 to 1.
    balancer
        A rule that works inside the curriculum: it is given the losses w L and the gradients w g,
        and what it makes of them counts. (A task at w = 0 is to it one without labels. Where the
        rule leaves heads their plain gradient, a head trains before its level has come in, and
        what is shared does not.) None: equal weighting, so that w alone counts.

    Raises ``ValueError`` for numbers outside these ranges and a task in two levels, ``SchemaError``
    for an unknown task.

    The idea of an order in which things are learned: Bengio, Louradour, Collobert and Weston 2009,
    Curriculum Learning (ICML). The form of the schedule is ours.
    """

    memory = ("time", "balancer")

    def __init__(
        self,
        levels: Sequence[Sequence[str]] | None = None,
        start: float = 0.0,
        length: float = 1.0,
        floor: float = 0.0,
        fade: bool = False,
        every: str = "epoch",
        balancer: Balancer | None = None,
    ) -> None:
        super().__init__(balancer if balancer is not None else EqualWeights())
        if every not in ("epoch", "step"):
            raise ValueError(f"every must be 'epoch' or 'step', not {every!r}.")
        if not (start >= 0 and length > 0 and 0 <= floor <= 1):
            raise ValueError(
                f"start must be 0 or more ({start!r}), length above 0 ({length!r}) and floor from "
                f"0 to 1 ({floor!r})."
            )
        self.levels: list[tuple[str, ...]] | None = None
        if levels is not None:
            self.levels = [(level,) if isinstance(level, str) else tuple(level) for level in levels]
            named = [name for level in self.levels for name in level]
            twice = [name for name in named if named.count(name) > 1]
            if not self.levels or twice:
                what = f"has task {twice[0]!r} twice" if twice else "is empty"
                raise ValueError(f"levels {what}: every level lists tasks of its own.")
        self.start, self.length, self.floor = float(start), float(length), float(floor)
        self.fade, self.every = fade, every
        self.time = 0
        self._last: Tensor | None = None  # w of the last step, for the second pass

    def bind(self, schema: Schema) -> Curriculum:
        """Learn the tasks' names, and the levels from ``given`` where none were listed."""
        known = schema.task_names
        for name in (name for level in self.levels or () for name in level):
            if name not in known:
                raise SchemaError(
                    f"Curriculum(levels=...) names task {name!r}; this schema has "
                    f"{', '.join(known)}."
                )
        super().bind(schema)
        return self

    def level_weights(self, time: float) -> list[float]:
        """The weight of every level at a time, for figures; needs ``levels`` or ``bind``."""
        count = len(self._levels())
        place = (time - self.start) / self.length
        came = [1.0] + [min(max(place - level + 1, 0.0), 1.0) for level in range(1, count)] + [0.0]
        share = [a - b if self.fade else a for a, b in pairwise(came)]
        return [self.floor + (1 - self.floor) * s for s in share]

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """Weights (task,), detached: of the schedule, times those of the inner rule."""
        scale = self._step(losses)
        if gramian is not None:
            both = scale.to(gramian.device, gramian.dtype)
            gramian = both.unsqueeze(1) * gramian * both
        inner = self.balancer.weights(scale * losses.detach(), gramian)
        self.last_weights = scale * inner * (losses.detach() != 0)  # 0: no label in the batch
        return self.last_weights

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """What the inner rule makes of the gradients w g, (number,)."""
        scale = self._step(losses)
        rows = scale.to(gradients.matrix).unsqueeze(1)  # (task, 1)
        halves = gradients.halves
        scaled = replace(
            gradients,
            matrix=rows * gradients.matrix,
            halves=None if halves is None else (rows * halves[0], rows * halves[1]),
        )
        update = self.balancer.combine(scale * losses, scaled)
        inner = self.balancer.last_weights
        self.last_weights = None if inner is None else scale * inner
        return update

    def after_step(self, losses: Tensor) -> None:
        """Passed on to the inner rule, with the weights of the step."""
        if self._last is not None:
            self.balancer.after_step(self._last.to(losses) * losses)

    def end_epoch(self, losses: Tensor) -> None:
        """One epoch more."""
        self.balancer.end_epoch(self._scale().to(losses) * losses)
        self.time += self.every == "epoch"

    def _scale(self) -> Tensor:
        """The schedule's weight of every task now, (task,), float64."""
        if self.schema is None:
            raise RuntimeError("Curriculum does not know the order of tasks: call bind(schema).")
        weights = torch.ones(self.schema.num_tasks, dtype=torch.float64)
        for level, weight in zip(self._levels(), self.level_weights(self.time), strict=True):
            for name in level:
                weights[self.schema.task_index(name)] = weight
        return weights

    def _step(self, like: Tensor) -> Tensor:
        """The weights (task,) of this step, in the type of ``like``; time goes on by a step."""
        scale = self._scale().to(like.device, like.dtype)
        self.time += self.every == "step"
        self._last = scale
        return scale

    def _levels(self) -> list[tuple[str, ...]]:
        if self.levels is not None:
            return self.levels
        if self.schema is None:
            raise RuntimeError("Curriculum does not know the tasks yet: call bind(schema).")
        depth: dict[str, int] = {}
        for task in self.schema.tasks:
            parent, depth[task.name] = task.given, 0
            while parent is not None:
                depth[task.name] += 1
                parent = self.schema.task(parent).given
        return [
            tuple(name for name, d in depth.items() if d == level)
            for level in range(max(depth.values()) + 1)
        ]
