"""MLoRA: a low-rank adapter for each scenario beside every linear layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.layers.adapted import Here, OfScenarios, replace_layers
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class LowRankLinear(OfScenarios):
    """x W + b + x A_s B_s + b_s: a shared layer and an adapter of ``rank`` for each scenario.

    B_s and b_s start at 0, so the layer is the shared one at first. A scenario has
    rank (in + out) + out numbers of its own, where a layer of its own has in * out + out.
    """

    stacked = ("A", "B", "bias")

    def __init__(self, linear: nn.Linear, here: Here, rank: int | None = None) -> None:
        super().__init__(here)
        scenarios, inputs, outputs = here.sets - 1, linear.in_features, linear.out_features
        self.shared = linear
        self.rank = max(outputs // 16, 1) if rank is None else min(rank, inputs, outputs)
        self.A = nn.Parameter(torch.randn(scenarios, inputs, self.rank) / inputs**0.5)
        self.B = nn.Parameter(torch.zeros(scenarios, self.rank, outputs))
        self.bias = nn.Parameter(torch.zeros(scenarios, outputs))

    def unknown(self, name: str) -> Tensor:
        if name == "A":  # not 0: where a new scenario starts, A and B must not both be
            return self.A.mean(0, keepdim=True)
        return super().unknown(name)

    def forward(self, x: Tensor) -> Tensor:
        here, (A, B, bias) = self.here, (self.every(name) for name in self.stacked)
        return self.shared(x) + here.linear(here.linear(x, A), B, bias)


class MLoRA(Adapting):
    """Multi-domain low-rank adaptation (Yang et al. 2024, RecSys).

    Every linear layer of bottom and towers gets a ``LowRankLinear``: x W + b + x A_s B_s + b_s. At
    first it computes what the network without adapters does, to the last digit; with ``rank`` at
    its largest and the shared weights frozen it is any layer of the scenario's own. ``rank`` None
    is the layer's width over 16, at least 1. Where the network has experts, they stay shared.
    Other parameters as in ``Adapting``. An unknown scenario meets the shared layers alone.

    Raises ``ValueError`` for a rank below 1.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        rank: int | None = None,
        **sizes: Any,
    ) -> None:
        if rank is not None and rank < 1:
            raise ValueError(f"rank must be 1 or more, not {rank}.")
        super().__init__(schema, network, **sizes)
        replace_layers(self.network, partial(LowRankLinear, here=self.here, rank=rank))
