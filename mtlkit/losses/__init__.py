"""Losses: one a task, links between outcomes along a chain, and weights by propensity."""

from mtlkit.losses.tasks import (
    log_poisson_tail,
    masked_mean,
    poisson_loss,
    row_losses,
    task_losses,
)

__all__ = ["log_poisson_tail", "masked_mean", "poisson_loss", "row_losses", "task_losses"]
