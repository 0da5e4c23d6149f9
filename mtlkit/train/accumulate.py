"""Several batches, one step: gradients are added up, and the balancer acts once, on the sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.accumulate import shares_of
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.balance.engine.gramian import gramian
from mtlkit.balance.fixed import EqualWeights, FixedWeights
from mtlkit.data.batch import Batch
from mtlkit.models.base import MultiTaskModel
from mtlkit.train.randomness import undone


class Accumulation:
    """Steps 2 to 5 of the loop over several batches, whose rows count as those of one.

    With n_ik the labelled rows of task k in batch i, its loss is the mean over all of them,
    L_k = sum over i of (n_ik / n_k) L_ik, and so is its gradient; the memory of a forward and
    backward pass is that of one batch. A rule that reads losses (or gradient norms) needs all L_k
    before the first backward pass: the batches are walked once to look, which leaves no trace (not
    in random numbers, not in running statistics), and once more, with the same dropout masks, to
    learn.

    Raises ``ValueError`` for gradients that are taken at the representation.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        forward: Callable[[Batch], dict[str, Tensor]],
        balancer: Balancer,
        gradient_step: GradientStep | None,
        forward_block: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        if gradient_step is not None and gradient_step.shared == "representation":
            raise ValueError(
                "accumulate adds up gradients on parameters; a representation is one of a batch's "
                'own. Use shared="parameters", or accumulate=1 with a larger batch_size.'
            )
        self.model, self.forward, self.balancer = model, forward, balancer
        self.gradient_step, self.forward_block = gradient_step, forward_block

    def run(
        self, batches: Sequence[Batch], forget: Callable[[], None]
    ) -> tuple[Tensor, Tensor | None]:
        """Set ``.grad``; the losses (task,) and the weights (task,), None for a rule without.

        ``forget`` is called after a look at the batches, to forget what it has read of the tables.
        """
        if self.gradient_step is not None and not self.balancer.weighs_heads:
            losses = self.gradient_step.run_all(batches, self.forward_block)
            return losses, self.balancer.last_weights
        shares = self.shares(batches)
        weights = self._weights(batches, shares, forget)
        losses = torch.zeros_like(weights)
        for batch, share in zip(batches, shares, strict=True):
            part = share * self._losses(batch)
            if part.requires_grad:
                (weights * part).sum().backward()
            losses += part.detach()
        return losses, weights

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """The losses (task,) over all rows of the batches."""
        parts = [s * self._losses(b) for b, s in zip(batches, self.shares(batches), strict=True)]
        return torch.stack(parts).sum(0)

    def shares(self, batches: Sequence[Batch]) -> Tensor:
        """n_ik / n_k, (batch, task)."""
        return shares_of([self.model.loss_mass(batch) for batch in batches])

    def rows(self, batches: Sequence[Batch]) -> int:
        """Rows of all batches."""
        return sum(batch.rows for batch in batches)

    def mass(self, batches: Sequence[Batch]) -> Tensor:
        """n_k, (task,)."""
        return torch.stack([self.model.loss_mass(batch) for batch in batches]).sum(0)

    def _losses(self, batch: Batch) -> Tensor:
        with self.forward_block():
            logits = self.forward(batch)
        return self.model.losses(logits, batch)

    def _weights(
        self, batches: Sequence[Batch], shares: Tensor, forget: Callable[[], None]
    ) -> Tensor:
        if type(self.balancer) in (EqualWeights, FixedWeights):  # they read no loss
            return self.balancer.weights(shares[0])
        inner = None
        with undone(self.model):
            if self.gradient_step is None:
                with torch.no_grad():
                    losses = self.losses(batches)
            else:
                found = [self.gradient_step.watch(b, self.forward_block) for b in batches]
                parts = [
                    (share * loss, share.unsqueeze(1) * matrix)
                    for share, (loss, matrix) in zip(shares, found, strict=True)
                ]
                losses, matrix = (torch.stack(part).sum(0) for part in zip(*parts, strict=True))
                inner = gramian(matrix)
        forget()
        return self.balancer.weights(losses, inner)
