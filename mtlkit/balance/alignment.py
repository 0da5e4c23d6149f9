"""Aligned-MTL and IMTL-G: a change of weights that makes the tasks' shares of the step equal."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtlkit.balance import solvers
from mtlkit.balance.base import Balancer

SMALLEST_SUM = 0.1


class AlignedMTL(Balancer):
    """weights = s V Lambda^(-1/2) V^T 1, K = V Lambda V^T: the sum of the aligned gradients.

    The nearest orthogonal system to the gradients, with all singular values equal to s, replaces
    them; the aligned gradients cannot conflict. ``scale`` sets s^2: the "min" (the paper), "median"
    or "mean" of the eigenvalues above T ``noise`` times the largest. The others are left out: a
    Gramian of float32 gradients holds rounding there (``noise`` is float32's precision), which
    would shrink every step of two tasks that have become one. Equal-norm orthogonal gradients get
    weights 1; with "min" the step shrinks to nothing as gradients become parallel or opposite.
    Weights may be negative. All gradients times k leave them as they are; a single loss times k
    does not move them by 1 / k.
    Source: Senushkin et al. 2023 (arXiv 2305.19000), algorithm 1, with preference 1/T times T.
    """

    needs_gramian = True
    weighs_heads = False

    def __init__(
        self,
        scale: Literal["min", "median", "mean"] = "min",
        noise: float = float(np.finfo(np.float32).eps),
    ) -> None:
        if scale not in ("min", "median", "mean"):
            raise ValueError(f'scale must be "min", "median" or "mean", not {scale!r}.')
        self.scale, self.noise = scale, noise

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,)."""
        assert gramian is not None
        K = gramian.numpy()
        values, V = np.linalg.eigh(K / np.trace(K))
        kept = values > values[-1] * len(values) * self.noise
        values, V = values[kept], V[:, kept]
        chosen = {"min": values.min, "median": lambda: np.median(values), "mean": values.mean}
        return torch.from_numpy(V @ (V.sum(0) * np.sqrt(chosen[self.scale]() / values)))


class IMTLG(Balancer):
    """The step d = sum_i a_i g_i whose projections on all gradients, <d, g_i / |g_i|>, are equal.

    a = K^+ n / sum(K^+ n), n_i = |g_i|; weights T a. Solved as a_i = y_i / n_i with C y = 1, C the
    cosines, so the direction of d does not depend on the units of the losses. Two tasks: a_i
    proportional to 1 / n_i, always. From three tasks on a weight may be negative; and the sum of
    K^+ n may be near 0 or negative, so that the paper's division by it makes a huge step, or turns
    it uphill for all tasks. Where that sum is below a tenth of the sum of absolute values, the
    weights are divided by that tenth instead: d keeps its equal and positive projections.
    Parallel gradients: a_i proportional to 1 / n_i.

    Where no step has equal projections (opposed gradients, more tasks than dimensions), y = C^+ 1
    gives those nearest to equal: C y is 1 projected onto the range of C. Of three tasks g, -g and
    one across, the first two get weight 0 and the third all of it; all gradients opposed in pairs
    get weights 0. What the tasks gain in the sum of their projections, 1^T C y, is never below 0.
    Source: Liu, L. et al. 2021 (ICLR); their form with D U^T is the same where K is regular.
    """

    needs_gramian = True
    weighs_heads = False

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), sum k except where the guard acts."""
        assert gramian is not None
        cosine, norms = solvers.cosines(gramian.numpy())
        values, V = np.linalg.eigh(cosine)
        kept = values > 1e-12 * len(values)
        y = V[:, kept] @ (V[:, kept].sum(0) / values[kept])
        if np.abs(y).max() <= 1e-9:
            return torch.zeros_like(losses)
        a = y * (norms.min() / norms)
        return torch.from_numpy(len(a) * a / max(a.sum(), SMALLEST_SUM * np.abs(a).sum()))
