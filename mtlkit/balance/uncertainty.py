"""Loss weights that are learned beside the model: uncertainty weighting and IMTL-L."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtlkit.balance.base import SmallAdam
from mtlkit.balance.positive import PositiveLosses, positive

_FORMS = ("by kind", "classification", "regression")
_REGULARISERS = ("log", "log1p")


class UncertaintyWeighting(PositiveLosses):
    """Uncertainty weighting (UW): each task learns s_k = log sigma_k^2, the noise of its labels.

    total = sum of  a_k e^(-s_k) L_k + s_k / 2,   so  w_k = a_k e^(-s_k)

    a = 1/2 is the regression form: the negative log-likelihood of a normal distribution with
    variance sigma^2. a = 1 is the classification form: a likelihood with temperature sigma^2, in
    the paper's approximation. ``form="by kind"`` takes the first for regression and the second for
    binary, multiclass and count tasks (a count's loss is a log-likelihood too, so the temperature
    is the same idea; the paper has no counts). "classification" and "regression" are for all tasks.

    s starts at 0 and follows the gradient 1/2 - w_k L_k by Adam, without weight decay, bounded
    nowhere: a bound at 0 would freeze every loss below 1/2. Where L_k stays put, s_k comes to rest
    at e^s = 2 a L (L for regression, 2 L for classification), so w_k = 1 / (2 L_k) in both forms:
    at rest UW is half the sum of log losses, and a task's scale does not matter. The weights sum to
    nothing in particular; they are the paper's, not rescaled.

    ``regulariser="log1p"`` replaces s / 2 by log(1 + sigma^2), which is never negative.
    ``learning_rate`` is 0.01, ten times that of ``fit``, so that s arrives within a course's short
    runs; the paper trains s with the model's own optimiser.

    Raises ``RuntimeError`` where "by kind" has no schema, ``ValueError`` as ``PositiveLosses``
    (with a negative loss, s would fall for ever).

    Kendall, Gal and Cipolla 2018 (arXiv 1705.07115), equations 7 and 10; Liebel and Koerner 2018
    (arXiv 1805.06334) for log1p.
    """

    memory = ("log_variance", "adam")

    def __init__(
        self,
        learning_rate: float = 0.01,
        form: str = "by kind",
        regulariser: str = "log",
        minimum: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(minimum)
        if form not in _FORMS:
            raise ValueError(f"form must be one of {', '.join(map(repr, _FORMS))}, not {form!r}.")
        if regulariser not in _REGULARISERS:
            raise ValueError(f"regulariser must be 'log' or 'log1p', not {regulariser!r}.")
        self.form, self.regulariser = form, regulariser
        self.log_variance: Tensor | None = None  # (task,)
        self.adam = SmallAdam(positive(learning_rate, "learning_rate"))

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks, (k,), from s before it moves."""
        excess = self.excess(losses, self.present, self.tasks)
        log_variance = self.full("log_variance", self.tasks, 0.0)
        s = log_variance[self.present]  # (k,)
        weights = self._factor()[self.present] * (-s).exp()
        slope = s.sigmoid() if self.regulariser == "log1p" else 0.5
        self.adam.step(log_variance, slope - weights * excess, self.present)
        return weights

    def _factor(self) -> Tensor:
        """a, (task,): 1/2 for the regression form, 1 for the classification form."""
        if self.form != "by kind":
            half = [self.form == "regression"] * self.tasks
        elif self.schema is None:
            raise RuntimeError(
                "UncertaintyWeighting(form='by kind') does not know the kinds of the tasks: call "
                "bind(schema), or choose form='classification' or form='regression'."
            )
        else:
            half = [task.kind == "regression" for task in self.schema.tasks]
        return 1.0 - 0.5 * torch.tensor(half, dtype=torch.float64)


class IMTLL(PositiveLosses):
    """IMTL-L: each task learns a scale e^(s_k) that brings its scaled loss to 1.

    total = sum of  e^(s_k) L_k - s_k,   so  w_k = e^(s_k)

    s starts at 0 and follows the gradient e^s L - 1 by Adam, without weight decay; at rest
    e^s = 1 / L, twice the weight of uncertainty weighting. The weights are the paper's, not
    rescaled. ``learning_rate`` as in ``UncertaintyWeighting``; errors as ``PositiveLosses``.

    Liu, Li, Kuang, Xue, Chen, Yang, Liao and Zhang 2021, Towards Impartial Multi-task Learning
    (ICLR), the loss balance.
    """

    memory = ("log_scale", "adam")

    def __init__(
        self, learning_rate: float = 0.01, minimum: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(minimum)
        self.log_scale: Tensor | None = None  # (task,)
        self.adam = SmallAdam(positive(learning_rate, "learning_rate"))

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks, (k,), from s before it moves."""
        excess = self.excess(losses, self.present, self.tasks)
        log_scale = self.full("log_scale", self.tasks, 0.0)
        weights = log_scale[self.present].exp()  # (k,)
        self.adam.step(log_scale, weights * excess - 1.0, self.present)
        return weights
