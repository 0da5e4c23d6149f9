"""Random loss weights: new ones at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer

_DISTRIBUTIONS = ("normal", "dirichlet")


class RandomLossWeighting(Balancer):
    """Random loss weighting (RLW): new weights at every step, equal on average.

    "normal": w = k softmax(e), e from N(0, I). "dirichlet": w = k v, v uniform on the simplex,
    Dirichlet(1, ..., 1). k is the number of tasks in the batch, so the weights sum to k (the
    paper's sum to 1). Nothing is learned: a method that balances must beat this one.

    The rule draws from a generator of its own, one number a task of the schema, whether the batch
    has the task or not: other random numbers (initial weights, dropout) stay as they are.
    ``ValueError`` for an unknown distribution.

    Lin, Ye, Zhang and Tsang 2022, Reasonable Effectiveness of Random Weighting (arXiv 2111.10603),
    algorithm 2.
    """

    memory = ("generator",)

    def __init__(self, distribution: str = "normal", seed: int = 0) -> None:
        if distribution not in _DISTRIBUTIONS:
            raise ValueError(
                f"distribution must be {' or '.join(map(repr, _DISTRIBUTIONS))}, "
                f"not {distribution!r}."
            )
        self.distribution = distribution
        self.generator = torch.Generator().manual_seed(seed)

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights of the present tasks: (k,)."""
        draws = torch.empty(self.tasks, dtype=torch.float64)
        if self.distribution == "normal":
            share = draws.normal_(generator=self.generator)[self.present].softmax(0)
        else:  # exponential numbers over their sum are uniform on the simplex
            share = draws.exponential_(generator=self.generator)[self.present]
            share = share / share.sum()
        return len(losses) * share
