"""FAMO: all tasks improve at the same rate, judged by the losses before and after each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtlkit.balance.base import SmallAdam
from mtlkit.balance.positive import PositiveLosses, positive

EPSILON = 1e-8


class FAMO(PositiveLosses):
    """Fast adaptive multitask optimisation: the task that improved least gets more weight next.

    D_i = L_i - minimum_i + 1e-8,   z = softmax(xi),   c = sum of z_i / D_i
    total = k * sum of (z_i / c) log D_i, with z and c constants,   so  w_i = k z_i / (c D_i)

    k is the number of tasks in the batch. c **divides**: the z_i / (c D_i) sum to 1, the step is a
    convex combination of the task gradients, and with the factor k (the sum convention, which the
    paper does not have) the weights sum to k. With equal xi the weights are those of ``LogSum``,
    rescaled.

    After the model's step the losses of the same batch are computed again, with the same dropout
    masks, and given to ``after_step``. With delta_i = log D_i(old) - log D_i(new), the improvement,
    xi takes a step of Adam against

    gradient of xi = J^T delta = z_i (delta_i - sum of z_j delta_j),   plus decay * xi

    so that a task that improved less than the average gains. softmax, its Jacobian J and the sums
    run over the tasks in the batch; the xi of the others wait unchanged.

    ``learning_rate`` and ``decay`` are those of xi. Raises ``ValueError`` as ``PositiveLosses``
    (a loss equal to its minimum is allowed), ``RuntimeError`` for ``after_step`` without a call of
    ``weights`` before it.

    Liu, Feng, Stone and Liu 2023 (arXiv 2306.03792), algorithm 1.
    """

    needs_second_pass = True
    memory = ("xi", "adam")

    def __init__(
        self,
        learning_rate: float = 0.025,
        decay: float = 0.001,
        minimum: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(minimum)
        if not decay >= 0:
            raise ValueError(f"decay must be 0 or more, not {decay!r}.")
        self.xi: Tensor | None = None  # (task,)
        self.adam = SmallAdam(positive(learning_rate, "learning_rate"), decay=decay)
        self._before: tuple[Tensor, Tensor] | None = None  # present (k,), D (k,): within one step

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """Weights (task,), detached."""
        self._before = None
        result = super().weights(losses, gramian)
        if self._before is None:  # no task has a label in this batch
            self._before = (self.present, self.present.to(torch.float64))
        return result

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        distance = self.excess(losses, self.present, self.tasks, EPSILON)  # D: (k,)
        self._before = (self.present, distance)
        share = self.full("xi", self.tasks, 0.0)[self.present].softmax(0)  # z: (k,)
        weights = share / distance
        return len(losses) * weights / weights.sum()  # the sum is c

    def after_step(self, losses: Tensor) -> None:
        """Move xi by what the step did to the losses (task,) of the same batch."""
        if self._before is None:
            raise RuntimeError("FAMO.after_step needs a call of weights on the same batch before.")
        (present, before), self._before = self._before, None
        if not len(present):
            return
        numbers = losses.detach().to("cpu", torch.float64)
        self._check_finite(numbers, "The loss after the step")
        after = self.excess(numbers[present], present, len(numbers), EPSILON)
        improvement = before.log() - after.log()  # delta: (k,)
        xi = self.full("xi", len(numbers), 0.0)
        share = xi[present].softmax(0)
        self.adam.step(xi, share * (improvement - (share * improvement).sum()), present)
