"""HoME's cheap half: experts that are normalised, and a gate over the features of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.experts import Gate, mix
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel, shared_level
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class HoMEExperts(MultiTaskModel):
    """MMoE with the normalised experts and feature gates of HoME (Wang et al. 2024, section 3).

    Expert n reads x * 2 sigmoid(x B_n A_n), a gate of low ``rank`` over the features; A_n starts at
    0, so that it is 1 at first. Each of its layers is linear, batch normalisation, SiLU: no expert
    dies, and all are of the same size. Task gates and towers are those of MMoE. The paper's other
    half, a hierarchy of groups of tasks with gates to itself, is not here.

    In training an expert's statistics are those of the batch, later running ones: predictions do
    not depend on the other rows. A batch of one row has no statistics and takes the running ones.

    So the parts of an accumulated step are normalised apart, and weights of rows do not enter the
    statistics.

    Parameters as in ``MMoE``; ``dropout`` acts in the towers. Raises ``ValueError`` for a rank
    below 1.
    """

    batch_statistics = True

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        experts: int = 4,
        rank: int = 4,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        if rank < 1:
            raise ValueError(f"rank must be 1 or more, not {rank}.")
        self.embedding = inputs(schema, embedding_dim)
        width = self.embedding.width
        self.features = FeatureGates(width, experts, rank)
        self.experts = NormalisedExperts(width, hidden, experts)
        self.gates = nn.ModuleList(Gate(width, experts) for _ in schema.tasks)
        self.towers = Towers(schema, self.experts.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return x, self.experts(self.features(x))  # (batch, width), (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        x, experts = shared
        gated = zip(self.schema.task_names, self.gates, strict=True)
        return self.towers({name: mix(gate(x), experts) for name, gate in gated})

    def task_modules(self, name: str) -> list[nn.Module]:
        return [self.gates[self.schema.task_index(name)], self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        gated = zip(self.schema.task_names, self.gates, strict=True)
        return [shared_level(gated, len(self.features.B))]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        return [self.experts(self.features(self.embed(batch)))]


class FeatureGates(nn.Module):
    """x * 2 sigmoid(x B_n A_n) for each expert n: (batch, width) -> (expert, batch, width)."""

    def __init__(self, width: int, experts: int, rank: int) -> None:
        super().__init__()
        self.B = nn.Parameter(torch.randn(experts, width, rank) / width**0.5)
        self.A = nn.Parameter(torch.zeros(experts, rank, width))

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 * torch.matmul(torch.matmul(x, self.B), self.A).sigmoid()


class NormalisedExperts(nn.Module):
    """Experts of linear, batch normalisation and SiLU: (expert, batch, in) -> the same of hidden.

    Mean and variance are those of each expert's each number over the batch in training, and running
    means of them, with the weight ``momentum`` of the newest, afterwards.
    """

    def __init__(
        self, inputs: int, sizes: Sequence[int], experts: int, *, momentum: float = 0.1
    ) -> None:
        super().__init__()
        if experts < 1:
            raise ValueError(f"experts must be 1 or more, not {experts}.")
        self.weights, self.norms = nn.ParameterList(), nn.ModuleList()
        width = inputs
        for size in sizes:
            bound = (6 / width) ** 0.5  # He initialisation, uniform
            start = torch.empty(experts, width, size).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(start))
            self.norms.append(nn.BatchNorm1d(experts * size, momentum=momentum))
            width = size
        self.width = width

    def forward(self, h: Tensor) -> Tensor:
        for weight, norm in zip(self.weights, self.norms, strict=True):
            h = torch.bmm(h, weight)  # (expert, batch, out)
            experts, rows, size = h.shape
            flat = h.transpose(0, 1).reshape(rows, experts * size)
            h = F.silu(normalised(norm, flat)).reshape(rows, experts, size).transpose(0, 1)
        return h


def normalised(norm: Any, h: Tensor) -> Tensor:
    """Batch normalisation of (batch, n); a batch of one row takes the running statistics."""
    if norm.training and h.shape[0] == 1:
        return F.batch_norm(
            h, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
        )
    return norm(h)
