"""Nash-MTL and FairGrad: the tasks bargain, and none may be left without a gain."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mtlkit.balance import solvers
from mtlkit.balance.base import Balancer

LIMIT = 1000.0


class FairGrad(Balancer):
    """w > 0 with K w = w^(-1 / alpha): every task gains, <g_i, d> = w_i^(-1 / alpha) > 0.

    d = sum_i w_i g_i maximises the alpha-fair sum of the gains <g_i, d> in a ball. alpha = 1 is
    Nash-MTL; alpha = 0 counts the gains alike: equal weighting; a large alpha looks at the smallest
    gain alone.

    Size. ``rescale=True`` solves with K divided by its mean diagonal: orthogonal gradients of equal
    norm get weights 1, all gradients times k leave the weights as they are, and a learning rate
    tuned for equal weighting fits. The ratios of the weights are the paper's where alpha = 1; for
    other alpha the ratios too depend on the unit of K, in the paper as here. Where the tasks can
    hardly gain together (close to Pareto stationary) the weights grow without bound while d does
    not: all are then shrunk by one factor so that no w_i |g_i| is above 1000 root-mean-square
    gradient norms. ``rescale=False`` is w as the equation has it; w then grows as gradients shrink.
    Where no finite w exists, see ``solvers.fair`` for the answer.
    Source: Ban and Ji 2024 (arXiv 2402.15638), equation 4.
    """

    needs_gramian = True
    weighs_heads = False

    def __init__(self, alpha: float = 2.0, rescale: bool = True) -> None:
        if not (math.isfinite(alpha) and (alpha == 0 or 0.05 <= alpha <= 20)):
            raise ValueError(f"alpha must be 0 or lie between 0.05 and 20, not {alpha!r}.")
        self.alpha, self.rescale = alpha, rescale

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), positive."""
        assert gramian is not None
        if self.alpha == 0:
            return torch.ones_like(losses)
        K = gramian.numpy()
        if not self.rescale:
            return torch.from_numpy(solvers.fair(K, self.alpha))
        K = K / K.diagonal().mean()
        weights = solvers.fair(K, self.alpha)
        largest = (weights * np.sqrt(K.diagonal())).max()
        return torch.from_numpy(weights * min(1.0, LIMIT / largest))


class NashMTL(FairGrad):
    """a > 0 with K a = 1 / a: the Nash bargaining solution, <g_i, d> a_i = 1 for every task.

    a minimises a^T K a / 2 - sum_i log a_i. When L_i becomes k L_i, a_i becomes a_i / k: the raw
    step d does not depend on the units of the losses. Its length is always sqrt(T), |d|^2 =
    a^T K a = T, also beside an optimum; so ``rescale=True``, the default, multiplies all a by one
    factor, the root-mean-square gradient norm: |d| = sqrt(sum_i |g_i|^2), as long as the sum of the
    gradients were they orthogonal. That keeps the direction free of units. See ``FairGrad``, of
    which this is alpha = 1. The released code divides K by its norm, reuses old weights where its
    solver fails, clips the shared gradient at norm 1, and weights the heads as well.
    Source: Navon et al. 2022 (arXiv 2202.01017), claim 3.1 and algorithm 1.
    """

    def __init__(self, rescale: bool = True) -> None:
        super().__init__(1.0, rescale)
