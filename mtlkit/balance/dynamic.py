"""Weights that follow the course of training: DWA, task priority, and a fixed schedule."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.positive import PositiveLosses, checked, positive, to_sum


class DynamicWeightAverage(PositiveLosses):
    """Dynamic weight average (DWA): more weight for a task whose loss falls more slowly.

    r_k = L_k(last epoch) / L_k(the epoch before),  w = T softmax(r / temperature)

    L_k(e) is the task's mean training loss of epoch e. The weights hold for a whole epoch and sum
    to T over all tasks of the schema; they are 1 in epochs 0 and 1. A task without a label in an
    epoch keeps its last two means, so its r stays; before it has two, its r is 1. Since r is near 1
    and the temperature 2, the weights hardly leave 1: r = 0.9 against 1.1 gives 0.95 and 1.05.
    A large temperature is equal weighting. Read the losses' scale as you like: r has none.

    Raises ``ValueError`` for a temperature that is not above 0, and as ``PositiveLosses``.

    Liu, Johns and Davison 2019 (arXiv 1803.10704).
    """

    memory = ("last", "before")

    def __init__(
        self, temperature: float = 2.0, minimum: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(minimum)
        self.temperature = positive(temperature, "temperature")
        self.last: Tensor | None = None  # (task,): 0 until there is a labelled epoch
        self.before: Tensor | None = None  # (task,)

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        last = self.full("last", self.tasks, 0.0)
        before = self.full("before", self.tasks, 0.0)
        rate = torch.where(before > 0, last / before, 1.0)  # (task,)
        return (self.tasks * (rate / self.temperature).softmax(0))[self.present]

    def end_epoch(self, losses: Tensor) -> None:
        """Move on by one epoch; NaN leaves the task as it was."""
        numbers, where = self.labelled(losses)
        last = self.full("last", len(numbers), 0.0)
        before = self.full("before", len(numbers), 0.0)
        excess = self.excess(numbers[where], where, len(numbers))
        before[where] = last[where]
        last[where] = excess


class DynamicTaskPriority(PositiveLosses):
    """Dynamic task priority (DTP): more weight for a task that is still difficult.

    w_k = -(1 - m_k)^gamma log m_k,   m_k <- decay m_k + (1 - decay) kappa_k

    kappa in (0, 1) says how well the task goes, 1 is perfect; m starts as the first kappa. The
    paper takes a metric for kappa, such as accuracy. We have only the losses, so here
    kappa_k = exp(-L_k): for binary and multiclass tasks the geometric mean of the probability that
    the model gives to the true label; for regression exp(-mean squared error of the standardised
    label), 0.37 for a model that always says the mean; for counts the likelihood relative to that
    of the best rate. So w is about (1 - e^-L)^gamma L: high losses get more, and a rare outcome,
    whose log-loss is low however bad the ranking is, gets little. (An accuracy would mislead there
    too.)

    The weights are the paper's; ``rescale=True`` makes them sum to the number of tasks in the
    batch. m is kept above 1e-308, so that no weight is infinite.

    Raises ``ValueError`` for gamma < 0, decay outside [0, 1), and as ``PositiveLosses``.

    Guo, Haque, Huang, Yeung and Fei-Fei 2018, Dynamic Task Prioritization (ECCV).
    """

    memory = ("mean",)

    def __init__(
        self,
        gamma: float = 1.0,
        decay: float = 0.9,
        rescale: bool = False,
        minimum: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(minimum)
        if not gamma >= 0:
            raise ValueError(f"gamma must be 0 or more, not {gamma!r}.")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be 0 or more and below 1, not {decay!r}.")
        self.gamma, self.decay, self.rescale = gamma, decay, rescale
        self.mean: Tensor | None = None  # (task,): NaN until the task has a label

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        kappa = (-self.excess(losses, self.present, self.tasks)).exp()
        mean = self.full("mean", self.tasks, torch.nan)
        old = mean[self.present]
        new = torch.where(old.isnan(), kappa, self.decay * old + (1 - self.decay) * kappa)
        new = new.clamp(min=1e-308)
        mean[self.present] = new
        weights = (1 - new) ** self.gamma * -new.log()
        return to_sum(weights) if self.rescale else weights


class DecaySchedule(Balancer):
    """A schedule fixed in advance: w_k(t) = initial_k * factor_k^t.

    ``schedule`` is {task: (initial, factor)}; a task that is not named keeps weight 1. t counts
    finished epochs (``every="epoch"``) or earlier steps ("step"). factor < 1 lets an auxiliary task
    fade, factor > 1 lets a task come in late. The weights are used as they are.

    Raises ``ValueError`` for an initial weight that is negative, a factor that is not above 0 or
    an unknown ``every``, ``SchemaError`` for an unknown task.

    Tang, Liu, Zhao and Gong 2020, Progressive Layered Extraction (RecSys), the joint loss.
    """

    memory = ("time",)
    named = ("initial", "factor")

    def __init__(self, schedule: Mapping[str, tuple[float, float]], every: str = "epoch") -> None:
        if every not in ("epoch", "step"):
            raise ValueError(f"every must be 'epoch' or 'step', not {every!r}.")
        self.initial = checked({k: v[0] for k, v in schedule.items()}, "initial", 0.0)
        self.factor = {k: positive(v[1], f"factor[{k!r}]") for k, v in schedule.items()}
        self.every = every
        self.time = 0

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        initial = self.in_order("initial", self.tasks, 1.0)
        factor = self.in_order("factor", self.tasks, 1.0)
        weights = initial * factor**self.time
        self.time += self.every == "step"
        return weights[self.present]

    def end_epoch(self, losses: Tensor) -> None:
        """One epoch more."""
        self.time += self.every == "epoch"
