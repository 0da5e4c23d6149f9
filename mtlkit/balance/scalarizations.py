"""One number from many losses, other than their sum: each rule's weights are its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mtlkit.balance.positive import PositiveLosses, checked, positive, to_sum


class GeometricLoss(PositiveLosses):
    """Geometric loss strategy (GLS): the geometric mean of the losses in place of their sum.

    GLS = (L_1 L_2 ... L_k)^(1/k) = exp(mean log L),  w_i = k dGLS/dL_i = GLS / L_i

    k is the number of tasks in the batch. The factor k is the sum convention: equal losses have
    weight 1 each, as under equal weighting. The weights multiply to 1 (their sum is k or more), and
    all w_i L_i are equal, so a task's scale matters only as a factor common to all tasks. With
    ``minimum``, L_i is L_i - minimum_i throughout. Errors as ``PositiveLosses``.

    Chennupati, Sistu, Yogamani and Rawashdeh 2019, MultiNet++ (CVPR workshops; arXiv
    1904.08492).
    """

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        logs = self.excess(losses, self.present, self.tasks).log()
        return (logs.mean() - logs).exp()


class LogSum(PositiveLosses):
    """Scale-invariant weighting (SI): the sum of log L_i, so that  w_i = 1 / L_i.

    A loss multiplied by c gives the same gradient. The weights are those of the objective as it
    stands, so the total gradient grows as losses shrink; ``rescale=True`` multiplies them by one
    number so that they sum to the number of tasks in the batch, k. Its direction is that of
    ``GeometricLoss``. With ``minimum``, L_i is L_i - minimum_i. Errors as ``PositiveLosses``.

    The baseline of Navon et al. 2022 (Nash-MTL, arXiv 2202.01017), and where uncertainty weighting
    and IMTL-L come to rest.
    """

    def __init__(self, rescale: bool = False, minimum: Mapping[str, float] | None = None) -> None:
        super().__init__(minimum)
        self.rescale = rescale

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        weights = 1 / self.excess(losses, self.present, self.tasks)
        return to_sum(weights) if self.rescale else weights


class SmoothTchebycheff(PositiveLosses):
    """Smooth Tchebycheff scalarisation (STCH): a soft maximum of the tasks' distances to an ideal.

    h_i = (L_i - ideal_i) / u_i
    total = k mu log sum of exp(preference_i h_i / mu)
    w_i = k preference_i / u_i * softmax(preference h / mu)_i

    k is the number of tasks in the batch, mu the smoothness. mu -> 0: only the task that is worst
    counts (Tchebycheff); mu -> infinity: w = preference / u, a fixed sum. ``preference`` is 1 and
    ``ideal`` is 0 where not named; with preference 1 and u = 1 the weights sum to k. The paper has
    preferences that sum to 1 and no factor k: with T tasks its mu is ours divided by T.

    u is 1, or, with ``warmup`` epochs, the mean over these epochs of L_i - ideal_i, so that h is
    about 1 for every task; during the warm-up all weights are 1. A task without a label in the
    warm-up has u from the first batch or epoch that shows it.

    ``logs=True`` puts h_i = log((L_i - ideal_i) / u_i) in place, as the authors' code for networks
    does, so that w_i = k preference_i / (L_i - ideal_i) * softmax(preference h / mu)_i.

    Raises ``ValueError`` for mu <= 0, a negative preference or warm-up; with a warm-up or logs, for
    a loss that is not above ``ideal``.

    Lin, Zhang, Yang, Liu, Wang and Zhang 2024 (arXiv 2402.19078).
    """

    bound = "ideal"
    named = ("ideal", "preference")
    memory = ("usual", "count", "epochs")

    def __init__(
        self,
        mu: float = 1.0,
        preference: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
        warmup: int = 0,
        logs: bool = False,
    ) -> None:
        super().__init__()
        if warmup < 0:
            raise ValueError(f"warmup must be 0 epochs or more, not {warmup!r}.")
        self.mu, self.warmup = positive(mu, "mu"), warmup
        self.logs = logs
        self.ideal = checked(ideal, "ideal", -math.inf)
        self.preference = checked(preference, "preference", 0.0)
        self.usual: Tensor | None = None  # (task,): mean over `count` epochs
        self.count: Tensor | None = None  # (task,)
        self.epochs = 0

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        if self.epochs < self.warmup:
            return torch.ones_like(losses)
        preference = self.in_order("preference", self.tasks, 1.0)[self.present]
        distance = losses - self.in_order("ideal", self.tasks, 0.0)[self.present]
        unit = self._units(losses) if self.warmup else torch.ones_like(losses)
        height, slope = distance / unit, 1 / unit  # h: (k,), and dh/dL
        if self.logs:
            distance = self.excess(losses, self.present, self.tasks)
            height, slope = (distance / unit).log(), 1 / distance
        share = (preference * height / self.mu).softmax(0)  # softmax shifts by the maximum
        return len(losses) * preference * slope * share

    def end_epoch(self, losses: Tensor) -> None:
        """In the warm-up, and for a task that had no label in it: take up the mean losses."""
        self.epochs += 1
        if not self.warmup:
            return
        numbers, where = self.labelled(losses)
        usual = self.full("usual", len(numbers), 0.0)
        count = self.full("count", len(numbers), 0.0)
        if self.epochs > self.warmup:
            where = where[count[where] == 0]
        excess = self.excess(numbers[where], where, len(numbers))
        count[where] += 1
        usual[where] += (excess - usual[where]) / count[where]

    def _units(self, losses: Tensor) -> Tensor:
        units = self.full("usual", self.tasks, 0.0)[self.present]
        new = units == 0
        units[new] = self.excess(losses[new], self.present[new], self.tasks)
        return units
