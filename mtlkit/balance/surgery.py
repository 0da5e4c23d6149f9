"""Gradient surgery: PCGrad takes conflicts away, GradVac pulls gradients to a usual angle."""

from __future__ import annotations

import math
from operator import mul
from typing import ClassVar

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer


class PCGrad(Balancer):
    """Each gradient loses its part against every gradient that it conflicts with; then the sum.

    For every task i: g_i' = g_i; for the other tasks j in random order, where <g_i', g_j> < 0:
    g_i' <- g_i' - <g_i', g_j> / |g_j|^2 g_j, with the original g_j. The step is sum_i g_i'; without
    conflicts that is equal weighting. From K alone: g_i' = sum_j r_j g_j, so <g_i', g_j> = (K r)_j.

    Two tasks have a closed form, where <g_1, g_2> < 0: weights 1 - <g_1, g_2> / |g_i|^2 for i.
    From three tasks on the step may still conflict with a task. The order is drawn anew for every i
    and every step, from ``seed``. Gradients scaled all by k leave the weights as they are.
    Source: Yu et al. 2020 (arXiv 2001.06782), algorithm 1.
    """

    needs_gramian = True
    weighs_heads = False
    memory: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), each 1 or more."""
        assert gramian is not None
        K, total = gramian.tolist(), [0.0] * len(losses)
        for i, others in enumerate(self._orders(len(losses))):
            row = [0.0] * len(losses)  # g_i' = sum_j row_j g_j
            row[i] = 1.0
            for j in others:
                inner = sum(map(mul, row, K[j]))  # <g_i', g_j>
                if inner < 0:
                    row[j] -= inner / K[j][j]
            total = [a + b for a, b in zip(total, row)]
        return torch.tensor(total, dtype=torch.float64)

    def _orders(self, tasks: int) -> list[list[int]]:
        """For each i, the other tasks in a fresh random order."""
        draws = torch.rand(tasks, tasks, generator=self.generator, dtype=torch.float64)
        return [[j for j in row if j != i] for i, row in enumerate(draws.argsort(1).tolist())]


class GradVac(PCGrad):
    """Each gradient is pulled towards the angle that it usually has with every other one.

    For every task i, the other tasks j in random order, with f = cos(g_i', g_j) and f^_ij the
    running mean of f: where f < f^, g_i' <- g_i' + w g_j,
    w = |g_i'| (f^ sqrt(1 - f^2) - f sqrt(1 - f^^2)) / (|g_j| sqrt(1 - f^^2)), which makes the
    cosine f^; then f^ <- (1 - beta) f^ + beta f, for every pair. f^ starts at 0, so the first step
    is PCGrad's. The step is sum_i g_i'.

    One angle for all shared parameters together (the paper's "whole model"). Where a g_i' has been
    taken away altogether, the pair is passed over. w is bounded by sqrt(1 - f^^2) >= 0.001: two
    gradients that always agreed would ask for an endless step when they once disagree.
    Source: Wang et al. 2021 (arXiv 2010.05874).
    """

    memory = ("generator", "similarity")

    def __init__(self, beta: float = 0.01, seed: int = 0) -> None:
        if not 0 <= beta <= 1:
            raise ValueError(f"beta must lie between 0 and 1, not {beta!r}.")
        super().__init__(seed)
        self.beta = beta
        self.similarity: Tensor | None = None  # f^, (task, task) over all tasks

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """Weights (task,), detached; a task without labels leaves its similarities as they are."""
        if self.similarity is None:
            self.similarity = torch.zeros(len(losses), len(losses), dtype=torch.float64)
        elif len(self.similarity) != len(losses):
            raise ValueError(
                f"GradVac remembers {len(self.similarity)} tasks and was given {len(losses)}: "
                "make a new one."
            )
        return super().weights(losses, gramian)

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), each 1 or more; moves the running cosines."""
        assert gramian is not None and self.similarity is not None
        tasks = len(losses)
        where = self.present[:, None], self.present[None, :]
        usual = self.similarity[where].tolist()  # (k, k)
        K, total = gramian.tolist(), [0.0] * tasks
        for i, others in enumerate(self._orders(tasks)):
            row = [0.0] * tasks
            row[i] = 1.0
            pull = K[i]  # <g_i', g_k> for all k
            for j in others:
                square = sum(map(mul, row, pull))  # |g_i'|^2
                if square <= 1e-14 * K[i][i]:
                    continue
                cosine = max(-1.0, min(1.0, pull[j] / math.sqrt(square * K[j][j])))
                target = usual[i][j]
                if cosine < target:
                    sine = max(math.sqrt(1 - min(target * target, 1.0)), 1e-3)
                    grow = target * math.sqrt(1 - cosine * cosine) / sine - cosine
                    length = math.sqrt(square / K[j][j]) * grow
                    row[j] += length
                    pull = [a + length * b for a, b in zip(pull, K[j])]
                usual[i][j] = (1 - self.beta) * target + self.beta * cosine
            total = [a + b for a, b in zip(total, row)]
        self.similarity[where] = torch.tensor(usual, dtype=torch.float64)
        return torch.tensor(total, dtype=torch.float64)
