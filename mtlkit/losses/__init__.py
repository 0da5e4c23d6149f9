"""Losses: one a task, links along a chain of outcomes, weights by propensity, pages,
load of experts."""

from mtlkit.losses.jrc import jrc
from mtlkit.losses.lambda_rank import lambda_rank
from mtlkit.losses.load import load_balance_loss
from mtlkit.losses.poisson import log_poisson_tail, poisson_loss
from mtlkit.losses.ranking import (
    RANKING_LOSSES,
    bpr,
    listwise_softmax,
    page_losses,
    pointwise,
)
from mtlkit.losses.tasks import masked_mass, masked_mean, row_losses, task_losses

__all__ = [
    "RANKING_LOSSES",
    "bpr",
    "jrc",
    "lambda_rank",
    "listwise_softmax",
    "load_balance_loss",
    "log_poisson_tail",
    "masked_mass",
    "masked_mean",
    "page_losses",
    "pointwise",
    "poisson_loss",
    "row_losses",
    "task_losses",
]
