"""MGDA: the shortest vector in the convex hull of the task gradients."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mtlkit.balance import solvers
from mtlkit.balance.base import Balancer


class MGDA(Balancer):
    """a = argmin |sum_i a_i g_i / c_i|^2 over the simplex; weights T a (sum convention).

    With c_i = 1 the step d = sum_i a_i g_i is a common descent direction, <g_i, d> >= |d|^2 for
    every task, and is zero exactly where no common descent exists (Pareto stationary). The task
    with the smallest gradient takes most of the weight, whatever its importance.

    ``normalise`` sets c_i: "none" 1, "l2" |g_i|, "loss" L_i, "loss+" L_i |g_i|. The normalisers
    are not in the paper but in its released code, which finds a with them and then weights the raw
    losses by a; so does this class. With ``weigh="normalised"`` the step is the one that was
    minimised, a_i g_i / c_i, scaled to sum T: again a common descent direction.

    Raises ``ValueError`` for an unknown option, and for "loss" and "loss+" when a loss is negative.
    Source: Désidéri 2012; Sener and Koltun 2018 (arXiv 1810.04650), and their code.
    """

    needs_gramian = True
    weighs_heads = False

    def __init__(
        self,
        normalise: Literal["none", "l2", "loss", "loss+"] = "none",
        weigh: Literal["raw", "normalised"] = "raw",
    ) -> None:
        if normalise not in ("none", "l2", "loss", "loss+"):
            raise ValueError(
                f'normalise must be "none", "l2", "loss" or "loss+", not {normalise!r}.'
            )
        if weigh not in ("raw", "normalised"):
            raise ValueError(f'weigh must be "raw" or "normalised", not {weigh!r}.')
        self.normalise, self.weigh = normalise, weigh

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,) of the present tasks, sum k."""
        assert gramian is not None
        size = torch.ones_like(losses)  # c, (k,)
        if self.normalise in ("l2", "loss+"):
            size = size * gramian.diagonal().sqrt()
        if self.normalise in ("loss", "loss+"):
            if (losses < 0).any():
                name = self.task_name(int(self.present[int(losses.argmin())]))
                raise ValueError(
                    f"MGDA(normalise={self.normalise!r}) divides by the losses, but the loss of "
                    f'task {name} is {float(losses.min())}: use "none" or "l2".'
                )
            size = size * losses
        alpha = torch.from_numpy(solvers.min_norm(gramian / size[:, None] / size))  # (k,)
        if self.weigh == "normalised":
            alpha = alpha / size
            alpha = alpha / alpha.sum()
        return len(losses) * alpha
