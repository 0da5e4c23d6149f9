"""Rules that take the logarithm of a loss need losses above a known lower bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer


class PositiveLosses(Balancer):
    """Base of the rules that read ``L_k - minimum_k``, which must be above 0.

    ``minimum`` is {task: number}, the lowest value that the task's loss can have; 0 where not
    named, which is right for every loss of ``mtlkit.losses``. A model with losses of its own may go
    below (doubly robust ones do, toys too). The looser the bound, the less a rule of logarithms
    sees of the loss.

    Raises ``ValueError`` that names the task and its loss when a loss is not above its minimum.
    A subclass that has another name for the bound says so in ``bound``.
    """

    bound: ClassVar[str] = "minimum"
    named: ClassVar[tuple[str, ...]] = ("minimum",)

    def __init__(self, minimum: Mapping[str, float] | None = None) -> None:
        self.minimum = checked(minimum, "minimum", -math.inf)

    def excess(self, losses: Tensor, where: Tensor, tasks: int, epsilon: float = 0.0) -> Tensor:
        """L_k - minimum_k + epsilon of the tasks ``where`` (indices): (k,) -> (k,), above 0."""
        lowest = self.in_order(self.bound, tasks, 0.0)[where]  # (k,)
        result = losses - lowest + epsilon
        bad = (result <= 0).nonzero()
        if len(bad):
            row = int(bad[0])
            name, loss, least = self.task_name(int(where[row])), losses[row], lowest[row]
            raise ValueError(
                f"{type(self).__name__} needs losses above their {self.bound}: the loss of task "
                f"{name} is {float(loss):.6g}, its {self.bound} {float(least):.6g}. Give a lower "
                f"one, {self.bound}={{{name}: ...}}."
            )
        return result

    def labelled(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses of an epoch in float64, (task,), and the indices of the tasks that have one.

        NaN and, as in ``weights``, exactly 0 stand for a task without a label.
        """
        numbers = losses.detach().to("cpu", torch.float64)
        return numbers, (numbers.isfinite() & (numbers != 0)).nonzero().squeeze(1)


def checked(values: Mapping[str, float] | None, name: str, least: float) -> dict[str, float]:
    """{task: number} as floats; ``ValueError`` for one that is not finite or below ``least``."""
    for task, value in (values or {}).items():
        if not (math.isfinite(value) and value >= least):
            bound = "" if least == -math.inf else f" and {least:g} or more"
            raise ValueError(f"{name}[{task!r}] must be finite{bound}, not {value!r}.")
    return {task: float(value) for task, value in (values or {}).items()}


def positive(value: float, name: str) -> float:
    """``value``, if it is finite and above 0; else ``ValueError``."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, not {value!r}.")
    return float(value)


def to_sum(weights: Tensor) -> Tensor:
    """Weights (k,) rescaled so that they sum to k; equal weights if they are all 0."""
    total = weights.sum()
    if total <= 0:
        return torch.ones_like(weights)
    return weights * (len(weights) / total)
