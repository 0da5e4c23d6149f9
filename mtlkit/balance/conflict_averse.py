"""CAGrad: near the mean gradient, the direction whose worst-served task gains most."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtlkit.balance import solvers
from mtlkit.balance.base import Balancer


class CAGrad(Balancer):
    """d = argmax min_i <g_i, d> over |d - g0| <= c |g0|, g0 the mean gradient; weights T u.

    d = sum_i u_i g_i with u_i = 1/T + c |g0| / |g_w| w_i, w on the simplex from the dual problem
    (``solvers.conflict_averse``). c = 0 is equal weighting; as c grows, d turns to MGDA's
    direction. Below 1 the method still minimises the mean loss. ``rescale=True`` divides by 1 + c^2
    as the released code does by default; the paper does not.

    Not invariant to the scale of a single loss: g0 belongs to the tasks with large gradients.
    Gradients scaled all by k leave the weights as they are. Where the gradients can be balanced to
    zero and g_w = 0, d is g0 projected onto the directions that raise no loss.
    Source: Liu, B. et al. 2021 (arXiv 2110.14048), algorithm 1.
    """

    needs_gramian = True
    weighs_heads = False

    def __init__(self, c: float = 0.4, rescale: bool = False) -> None:
        if not (math.isfinite(c) and c >= 0):
            raise ValueError(f"c must be finite and 0 or more (usually below 1), not {c!r}.")
        self.c, self.rescale = c, rescale

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), each 1 or more (before ``rescale``)."""
        assert gramian is not None
        _, u = solvers.conflict_averse(gramian.numpy(), self.c)
        weights = len(losses) * torch.from_numpy(u)
        return weights / (1 + self.c**2) if self.rescale else weights
