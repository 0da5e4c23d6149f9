"""GradNorm: loss weights that let every task's gradient push as hard as its progress asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtlkit.balance.base import SmallAdam
from mtlkit.balance.positive import PositiveLosses


class GradNorm(PositiveLosses):
    """GradNorm: weights moved until gradient norms match how far each task lags behind.

    On the last shared weight matrix W (or ``parameters``, names of shared parameters):
    G_i = w_i ||grad_W L_i||                         norm of the weighted gradient
    r_i = (L_i / L_i(0)) / mean of these over tasks  more than 1: the task lags behind
    target_i = mean(G) * r_i^alpha                   a constant: no gradient flows into it
    grad of sum |G_i - target_i| on w_i = sign(G_i - target_i) * ||grad_W L_i||

    A task that lags gets the larger target, so its weight rises. The paper moves w and divides it
    by its sum after every step, which leaves Adam's memory pointing elsewhere; here w is k times a
    softmax of free numbers, moved by Adam along the same gradient, so that w is positive and sums
    to the number of tasks k at all times. The weights multiply the losses: heads are weighted too.

    Parameters
    ----------
    alpha
        How strongly lagging tasks are pulled: 0 gives equal norms; the paper uses 0.12 and 1.5.
    learning_rate
        Of the free numbers.
    initial
        {task: L(0)}, for example the loss of a constant prediction (log of the number of classes).
        A task that is not named takes the mean of its first ``warmup`` batches (the paper: one).
    minimum
        {task: lower bound} where losses can be 0 or negative: L_i is then L_i - minimum_i.

    Chen, Badrinarayanan, Lee and Rabinovich 2018 (ICML, arXiv 1711.02257), equations 1 to 3.
    """

    needs_gramian = True
    memory = ("logits", "start", "seen", "adam")
    named = ("initial", "minimum")

    def __init__(
        self,
        alpha: float = 0.12,
        learning_rate: float = 0.025,
        *,
        parameters: Sequence[str] | None = None,
        initial: Mapping[str, float] | None = None,
        warmup: int = 1,
        minimum: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(minimum)
        if warmup < 1:
            raise ValueError(f"warmup must be 1 batch or more, not {warmup}.")
        self.alpha, self.warmup = alpha, warmup
        self.parameters = None if parameters is None else tuple(parameters)
        self.initial = dict(initial or {})
        wrong = [name for name, value in self.initial.items() if not value > 0]
        if wrong:
            raise ValueError(f"initial[{wrong[0]!r}] must be more than 0.")
        self.adam = SmallAdam(learning_rate)
        self.logits: Tensor | None = None
        self.start: Tensor | None = None
        self.seen: Tensor | None = None

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks from their norms, sqrt(diag K): (k,)."""
        assert gramian is not None
        here = self.present
        excess = self.excess(losses, here, self.tasks)
        logits = self.full("logits", self.tasks, 0.0)
        start, seen = self.full("start", self.tasks, 0.0), self.full("seen", self.tasks, 0.0)
        fresh = seen[here] < self.warmup
        mean = (start[here] * seen[here] + excess) / (seen[here] + 1)
        start[here] = torch.where(fresh, mean, start[here])
        seen[here] = torch.where(fresh, seen[here] + 1, seen[here])
        given = self.in_order("initial", self.tasks, 0.0)
        reference = torch.where(given > 0, given, start)[here]  # (k,)

        share = logits[here].softmax(0)
        weights = len(here) * share  # (k,)
        if bool((seen[here] >= self.warmup).all()):
            gradient = gradnorm_gradient(
                weights, gramian.diagonal().sqrt(), excess / reference, self.alpha
            )
            gradient = gradient / gramian.diagonal().sqrt().mean()  # so that no unit matters
            along = weights * (gradient - (share * gradient).sum())  # through the softmax
            self.adam.step(logits, along, here)
        return weights


def gradnorm_gradient(weights: Tensor, norms: Tensor, ratio: Tensor, alpha: float) -> Tensor:
    """Gradient on w of sum |w_i norms_i - target_i|, the targets held fixed: all (task,).

    ``norms`` are those of the unweighted losses, ``ratio`` is L_i / L_i(0).
    """
    weighted = weights * norms
    target = weighted.mean() * (ratio / ratio.mean()) ** alpha
    return (weighted - target).sign() * norms
