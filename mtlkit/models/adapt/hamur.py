"""HAMUR: adapters between the layers, whose weights one hyper-network makes for all scenarios."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.layers.adapted import linear_layers
from mtlkit.models.adapt.conditioned import Condition, Conditioned
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class Adapter(nn.Module):
    """h + scale * norm(sigmoid(h U I V + b) U' I V' + b') + shift, with h after the ReLU.

    U (width, rank), V (rank, inner), U' (inner, rank) and V' (rank, width) are the adapter's own, I
    (rank, rank) the condition. ``norm`` takes a row's mean from its numbers and divides by their
    spread, with no look at other rows. scale and shift start at 0, and the adapter is silent.
    """

    def __init__(self, width: int, condition: Condition, *, rank: int, inner: int) -> None:
        super().__init__()
        self.condition = condition

        def factor(inputs: int, outputs: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)

        self.U, self.V = nn.ParameterList(), nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in ((width, inner), (inner, width)):
            self.U.append(factor(inputs, rank))
            self.V.append(factor(rank, outputs))
            self.biases.append(nn.Parameter(torch.zeros(outputs)))
        self.scale, self.shift = (nn.Parameter(torch.zeros(width)) for _ in range(2))

    def layer(self, number: int, h: Tensor) -> Tensor:
        """h U I V + b."""
        inside = self.condition.linear(h @ self.U[number], self.condition.known())
        return inside @ self.V[number] + self.biases[number]

    def forward(self, h: Tensor) -> Tensor:
        inside = self.layer(1, self.layer(0, h).sigmoid())
        centred = inside - inside.mean(1, keepdim=True)
        normal = centred * (centred.square().mean(1, keepdim=True) + 1e-5).rsqrt()
        return h + self.scale * normal + self.shift


class HAMUR(Conditioned):
    """Hyper adapter for multi-domain recommendation (Li et al. 2023, CIKM).

    An ``Adapter`` follows the ReLU of every hidden layer of bottom and towers. Its weights are
    low-rank products U I V, where one hyper-network that all scenarios and all adapters share makes
    I, ``rank`` times ``rank``, from z by ``hyper`` hidden units: z is the scenario's vector of
    ``vector`` numbers and, with ``rows=True`` as in the paper, the row's inputs, detached. Without
    them I is made once a scenario. ``inner`` is the width inside an adapter.

    Two choices are ours. The paper normalises over the batch, here over the units of each row, so
    that no row depends on another. And scale and shift of the normalised start at 0, so that the
    model starts as the plain network, to the last digit, and lets adapters in where they help.
    Where the network has experts, they stay shared. Other parameters as in ``Adapting``. The vector
    of an unknown scenario is 0.

    Raises ``ValueError`` for a number below 1 and where no layer is hidden.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        rank: int = 4,
        inner: int = 16,
        vector: int = 8,
        hyper: int = 16,
        rows: bool = True,
        **sizes: Any,
    ) -> None:
        for name, value in (("rank", rank), ("inner", inner), ("hyper", hyper)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}.")
        super().__init__(schema, network, vector=vector, rows=rows, **sizes)
        self.rank = rank
        last = nn.Linear(hyper, rank * rank)
        nn.init.normal_(last.weight, std=0.01)
        with torch.no_grad():
            last.bias.copy_(torch.eye(rank).flatten())
        self.hyper = nn.Sequential(nn.Linear(self.inputs, hyper), nn.ReLU(), last)
        hidden = [
            (mlp, number)
            for mlp, number in linear_layers(self.network) if number + 1 < len(mlp)
        ]  # fmt: skip
        if not hidden:
            raise ValueError("HAMUR adapts hidden layers; give hidden or tower at least one size.")
        for mlp, number in hidden:
            width = mlp[number].out_features
            adapter = Adapter(width, self.condition, rank=rank, inner=inner)
            mlp[number + 1] = nn.Sequential(mlp[number + 1], adapter)

    def conditions(self, z: Tensor) -> Tensor:
        """I of every set or row, (set or row, rank, rank)."""
        return self.hyper(z).unflatten(1, (self.rank, self.rank))
