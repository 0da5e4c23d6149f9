"""The learning rate of every optimiser step: warmed up, then falling or not."""

from __future__ import annotations

import math

SCHEDULES = ("linear", "cosine", "constant")


class Schedule:
    """The share of the learning rate that step t of a run has, t from 0 to ``steps`` - 1.

    The first W = ``warmup_steps`` steps rise evenly: step t has (t + 1) / (W + 1). After them, with
    s = (t - W) / (steps - W) the part of the rest that is over, "linear" has 1 - s, "cosine" has
    (1 + cos(pi s)) / 2 (Loshchilov and Hutter 2017, SGDR, equation 5, one period down to 0) and
    "constant" has 1. So step W is the first with the whole rate, and no step has the rate 0.

    ``steps`` is not read where the rate is constant. Raises ``ValueError`` for an unknown name, a
    warm-up that is no whole number of 0 or more, and one that leaves no step for the fall.
    """

    def __init__(self, name: str, steps: int, warmup_steps: int = 0) -> None:
        if name not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}, not {name!r}.")
        if isinstance(warmup_steps, bool) or not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise ValueError(
                f"warmup_steps is a whole number of steps, 0 or more, not {warmup_steps!r}."
            )
        if name != "constant" and steps and warmup_steps >= steps:
            raise ValueError(
                f"warmup_steps ({warmup_steps}) must be fewer than the {steps} steps of the run, "
                "or the rate could not fall after them: warm up for fewer, or take "
                'schedule="constant".'
            )
        self.name, self.steps, self.warmup_steps = name, steps, warmup_steps

    @property
    def moves(self) -> bool:
        """Whether steps differ in their rate."""
        return self.name != "constant" or self.warmup_steps > 0

    def share(self, done: int) -> float:
        """The share of the learning rate of the step that comes after ``done`` steps."""
        if done < self.warmup_steps:
            return (done + 1) / (self.warmup_steps + 1)
        if self.name == "constant":
            return 1.0
        over = (done - self.warmup_steps) / (self.steps - self.warmup_steps)
        return 1 - over if self.name == "linear" else (1 + math.cos(math.pi * over)) / 2
