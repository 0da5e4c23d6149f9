"""Losses: one a task, links between outcomes along a chain, and weights by propensity."""

from mtlkit.losses.poisson import log_poisson_tail, poisson_loss
from mtlkit.losses.tasks import masked_mass, masked_mean, row_losses, task_losses

__all__ = [
    "log_poisson_tail",
    "masked_mass",
    "masked_mean",
    "poisson_loss",
    "row_losses",
    "task_losses",
]
