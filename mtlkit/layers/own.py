"""What scenarios have of their own in networks of experts, and how one reads that of the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.layers.adapted import Here, OfScenarios, OwnLinear, replace_layers
from mtlkit.layers.embedding import only_one_scenario
from mtlkit.layers.experts import mix
from mtlkit.layers.mlp import MLP
from mtlkit.schema import Schema

OWN = "scenario"  # whose an expert is that belongs to each row's own scenario


class Scenarios(nn.Module):
    """Keeps ``here`` right when a model with layers of single scenarios grows.

    With ``schema`` a model that was made for one scenario cannot grow: it was made without the
    layers that read other scenarios, and ``add_scenario`` raises ``SchemaError``.
    """

    def __init__(self, here: Here, schema: Schema | None = None) -> None:
        super().__init__()
        self.here = here
        self.alone = schema if here.sets == 2 else None

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more (``MultiTaskModel.extend``)."""
        if self.alone is not None:
            raise only_one_scenario(self.alone, scenario)
        self.here.sets += 1


def own_layers(network: nn.Module, here: Here) -> Any:
    """Make every linear layer of the network's ``MLP`` each scenario's own; return the network."""
    replace_layers(network, partial(OwnLinear, here=here))
    return network


def of_every_scenario(network: nn.Module, x: Tensor, scenarios: int) -> Tensor:
    """What the own layers of all known scenarios make of the rows: (scenario, batch, width).

    ``x`` is (batch, inputs), the same rows for all, or (scenario, batch, inputs). One batched
    product a layer: ``scenarios`` times the arithmetic of one.
    """
    layers: Any = network
    x = x.expand(scenarios, *x.shape[-2:])
    for layer in layers:
        if isinstance(layer, OwnLinear):
            weight, bias = layer.weight, layer.bias.unsqueeze(1)
            x = torch.baddbmm(bias, x, weight)
        else:
            x = layer(x)
    return x


class OwnGate(OfScenarios):
    """A ``Gate`` of each scenario's own, softmax(x W_s): (batch, inputs) -> (batch, experts).

    All start equal; an unknown scenario's rows read the mean of all.
    """

    stacked = ("weight",)

    def __init__(self, here: Here, inputs: int, experts: int) -> None:
        super().__init__(here)
        weight = 0.01 * torch.randn(inputs, experts)
        self.weight = nn.Parameter(weight.repeat(here.sets - 1, 1, 1))

    def unknown(self, name: str) -> Tensor:
        return self.weight.mean(0, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.here.linear(x, self.every("weight")).softmax(-1)

    def of_every_scenario(self, x: Tensor) -> Tensor:
        """The gates of every known scenario on the same rows: (scenario, batch, experts)."""
        return torch.matmul(x, self.weight).softmax(-1)


class OwnExperts(nn.Module):
    """Experts of each scenario's own and its gate over them, (batch, inputs) -> (batch, width).

    Sum over n of softmax(x W_s)_n E_sn(x), with ``experts`` of ``sizes`` for each scenario, all of
    which start as those of every other one.
    """

    experts: Any  # a list of MLP

    def __init__(
        self, here: Here, inputs: int, sizes: Sequence[int], experts: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if experts < 1:
            raise ValueError(f"own_experts must be 1 or more, not {experts}.")
        self.experts = nn.ModuleList(
            own_layers(MLP(inputs, sizes, dropout=dropout), here) for _ in range(experts)
        )
        self.gate = OwnGate(here, inputs, experts)

    def outputs(self, x: Tensor) -> Tensor:
        """What each row's scenario's own experts say, (expert, batch, width)."""
        return torch.stack([expert(x) for expert in self.experts])

    def forward(self, x: Tensor) -> Tensor:
        return mix(self.gate(x), self.outputs(x))

    def of_every_scenario(self, x: Tensor) -> Tensor:
        """What those of every known scenario make of the same rows: (scenario, batch, width)."""
        gate = self.gate.of_every_scenario(x)  # (scenario, batch, expert)
        outputs = [of_every_scenario(expert, x, len(gate)) for expert in self.experts]
        return mix(gate, torch.stack(outputs))


class Others(OfScenarios):
    """Which other scenarios each row may read: ``others()`` is bool, (batch, scenario).

    All that were known from the start, except the row's own. One that a trained model learns of
    later reads them, too, but is read by none, or their predictions would move with it.
    """

    read: Tensor

    def __init__(self, here: Here) -> None:
        super().__init__(here)
        self.register_buffer("read", torch.ones(here.sets - 1, dtype=torch.bool))

    def add_scenario(self, scenario: str) -> None:
        self.read = torch.cat([self.read, torch.zeros_like(self.read[:1])])

    def own(self) -> Tensor:
        """Which scenario is the row's own, bool (batch, scenario): none where it is unknown."""
        known = torch.eye(len(self.read) + 1, dtype=torch.bool, device=self.read.device)
        return self.here.of_rows(known[:, :-1])

    def forward(self) -> Tensor:
        return self.read & ~self.own()

    def mixed(self, weights: Tensor, outputs: Tensor) -> Tensor:
        """Sum over j of weights[r, j] outputs[j, r]: (batch, scenario), (scenario, batch, width)
        -> (batch, width). Rows of an unknown scenario train no scenario's layers by it."""
        known = self.own().any(1).unsqueeze(1)  # (batch, 1)
        return mix(weights, torch.where(known, outputs, outputs.detach()))
