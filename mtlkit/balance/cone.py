"""UPGrad: the sum of the task gradients, each first projected so that it hurts no task."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlkit.balance import solvers
from mtlkit.balance.base import Balancer


class UPGrad(Balancer):
    """d = sum_i P(g_i), P the projection onto {d: <g_j, d> >= 0 for all j}; without conflict, 1.

    P(g_i) = sum_j v_ij g_j with v_i = argmin v^T K v over v >= e_i; the weight of task j is
    sum_i v_ij, at least 1. To first order no task's loss rises: G d >= 0. A loss times k scales
    its own P(g_i) by k and leaves the others: d is linear under such scaling, as equal weighting
    is. Two tasks: the same as PCGrad.
    Source: Quinton and Rey 2024 (arXiv 2406.16232); their mean of projections, times T.
    """

    needs_gramian = True
    weighs_heads = False

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), each 1 or more."""
        assert gramian is not None
        return torch.from_numpy(solvers.cone_weights(gramian.numpy()).sum(0))
