"""An observer that keeps how strongly the task gradients disagree, step by step, during fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients, gramian
from mtlkit.balance.fixed import EqualWeights
from mtlkit.balance.wrapper import Wrapper


class GradientObserver(Wrapper):
    """Trains as ``balancer`` does (None: equal weighting) and notes the task gradients it sees.

    ``cosines`` (step, task, task): <g_i, g_j> / (|g_i| |g_j|) of the whole batch, on what the tasks
    share. ``norms`` (step, task): |g_i|. NaN where a task had no labelled row in the batch.

    ``halves=True`` also parts each batch at random (every other row of a shuffled batch) and notes
    ``between_halves`` (step, task, task): the cosine of g_i on the first half with g_j on the
    second. The diagonal compares a task with itself: whatever is missing there to 1 is the noise of
    so many rows, and off the diagonal the same noise is at work. Twice the backward passes.

    A rule whose weights also reach the heads (``weighs_heads``) cannot be watched, because here the
    heads get the plain gradient of their loss: ``ValueError``, except for equal weighting.
    """

    needs_gradients = True
    weighs_heads = False

    def __init__(self, balancer: Balancer | None = None, halves: bool = False) -> None:
        super().__init__(EqualWeights() if balancer is None else balancer)
        if self.balancer.weighs_heads and not isinstance(self.balancer, EqualWeights):
            raise ValueError(
                f"{type(self.balancer).__name__} weighs the heads too, and the observer cannot: "
                "watch equal weighting or a rule that combines gradients (around the observer: "
                "Curriculum(balancer=GradientObserver()))."
            )
        self.halves = halves
        self._whole: list[Tensor] = []
        self._parts: list[Tensor] = []

    @property
    def needs_halves(self) -> bool:  # type: ignore[override]
        return self.halves or self.balancer.needs_halves

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """What the watched rule makes of the gradients, (number,)."""
        self._whole.append(gradients.gramian())
        if gradients.halves is not None:
            first, second = gradients.halves
            cross = gramian(first, second)  # (task, task), not symmetric
            sizes = [gramian(half).diagonal().sqrt() for half in (first, second)]
            self._parts.append(_divide(cross, sizes[0], sizes[1]))
        return super().combine(losses, gradients)

    @property
    def gramians(self) -> Tensor:
        """K = G G^T of every step, (step, task, task), float64."""
        return torch.stack(self._whole)

    @property
    def norms(self) -> Tensor:
        """|g_i|, (step, task), float64; NaN for a task without a gradient."""
        squares = torch.stack(self._whole).diagonal(dim1=1, dim2=2)
        return torch.where(squares > 0, squares.sqrt(), torch.nan)

    @property
    def cosines(self) -> Tensor:
        """Cosines of the whole batch's gradients, (step, task, task), float64."""
        sizes = torch.stack(self._whole).diagonal(dim1=1, dim2=2).sqrt()
        return _divide(torch.stack(self._whole), sizes, sizes)

    @property
    def between_halves(self) -> Tensor:
        """Cosines of the first half's gradients with the second half's, (step, task, task)."""
        if not self._parts:
            raise RuntimeError("Nothing was noted by halves: GradientObserver(halves=True), fit.")
        return torch.stack(self._parts)

    def disagreement(self, last: float = 1.0) -> dict[str, float]:
        """How much the tasks disagreed in the last share ``last`` of the steps noted so far.

        "conflicts": the share of pairs of tasks whose cosine is below 0, over pairs and steps;
        "cosine": the mean size of a cosine; "norm ratio": the largest of the tasks' mean norms
        divided by the smallest. Pairs and steps without a gradient are left out. Raises
        ``ValueError`` for a share that is not above 0 and at most 1.
        """
        if not 0 < last <= 1:
            raise ValueError(f"last must be above 0 and at most 1, not {last!r}.")
        steps = len(self._whole)
        late = slice(steps - max(1, round(last * steps)), None)
        sizes = self.norms[late].nanmean(0)  # (task,)
        angles = self.cosines[late]  # (step, task, task)
        angles = angles[:, ~torch.eye(len(sizes), dtype=torch.bool)]  # (step, pair)
        angles = angles[angles.isfinite()]
        sizes = sizes[sizes.isfinite()]
        return {
            "conflicts": float((angles < 0).double().mean()),
            "cosine": float(angles.abs().mean()),
            "norm ratio": float(sizes.max() / sizes.min()),
        }

    def state_dict(self) -> dict[str, Any]:
        """The watched rule's state and the notes so far."""
        return {
            "balancer": self.balancer.state_dict(),
            "whole": [K.clone() for K in self._whole],
            "parts": [C.clone() for C in self._parts],
        }

    def load_state_dict(self, state: Any) -> None:
        """Continue the watched rule and the notes."""
        self.balancer.load_state_dict(state["balancer"])
        self._whole, self._parts = list(state["whole"]), list(state["parts"])


def _divide(product: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Cosines from inner products and norms (..., task); NaN where a norm is 0."""
    size = left.unsqueeze(-1) * right.unsqueeze(-2)
    return torch.where(size > 0, product / size, torch.nan).clamp(-1.0, 1.0)
