"""APG: the core of every layer's weight is generated from the scenario, or from the row."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.layers.adapted import replace_layers
from mtlkit.models.adapt.conditioned import Condition, Conditioned
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class GeneratedLinear(nn.Module):
    """x V S(z) U + b, with V (in, rank), U (rank, out) and a generated S (rank, rank).

    S(z) = W' relu(W z + c) + c', where W' starts near 0 and c' as the identity: at first the layer
    is x V U + b, or nearly, in every scenario.
    """

    def __init__(
        self, linear: nn.Linear, condition: Condition, inputs: int, *, rank: int, generator: int
    ) -> None:
        super().__init__()
        self.condition = condition
        self.rank = rank = min(rank, linear.in_features, linear.out_features)
        self.V = nn.Parameter(torch.randn(linear.in_features, rank) / linear.in_features**0.5)
        self.U = nn.Parameter(torch.randn(rank, linear.out_features) * (2 / rank) ** 0.5)
        self.bias = linear.bias
        last = nn.Linear(generator, rank * rank)
        nn.init.normal_(last.weight, std=0.01)
        with torch.no_grad():
            last.bias.copy_(torch.eye(rank).flatten())
        self.core = nn.Sequential(nn.Linear(inputs, generator), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        core = self.core(self.condition.known()).unflatten(1, (self.rank, self.rank))
        return self.condition.linear(x @ self.V, core) @ self.U + self.bias


class APG(Conditioned):
    """Adaptive parameter generation (Yan et al. 2022, NeurIPS).

    Every linear layer of bottom and towers has the weight U S(z) V (``GeneratedLinear``, which
    stands in the order of x V S U): U and V of rank ``rank``, or of the layer's width where that is
    smaller, are shared, and a network of ``generator`` hidden units, one a layer, makes the core S.
    z is the scenario's vector of ``vector`` numbers; the cores are then made once a scenario. With
    ``rows=True`` z has the row's inputs as well, detached, and each row has cores of its own. The
    over-parameterised U and V of the paper (each a product of two) are left out: they compute the
    same layers. Where the network has experts, they stay shared. Other parameters as in
    ``Adapting``. The vector of an unknown scenario is 0.

    Raises ``ValueError`` for a rank, vector or generator below 1.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        rank: int = 8,
        vector: int = 8,
        generator: int = 16,
        rows: bool = False,
        **sizes: Any,
    ) -> None:
        for name, value in (("rank", rank), ("generator", generator)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}.")
        super().__init__(schema, network, vector=vector, rows=rows, **sizes)
        make = partial(GeneratedLinear, rank=rank, generator=generator)
        replace_layers(self.network, lambda layer: make(layer, self.condition, self.inputs))
