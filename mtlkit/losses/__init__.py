"""Losses: one a task, links along a chain of outcomes, weights by propensity, load of experts."""

from mtlkit.losses.load import load_balance_loss
from mtlkit.losses.poisson import log_poisson_tail, poisson_loss
from mtlkit.losses.tasks import masked_mass, masked_mean, row_losses, task_losses

__all__ = [
    "load_balance_loss",
    "log_poisson_tail",
    "masked_mass",
    "masked_mean",
    "poisson_loss",
    "row_losses",
    "task_losses",
]
