"""SAR-Net: the scenario scales and shifts the inputs, and has debias experts of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, OfScenarios
from mtlkit.layers.experts import ExpertBank, Gate, mix
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import SHARED, ExpertLevel, ExpertReader
from mtlkit.layers.mlp import MLP
from mtlkit.layers.own import OWN, Scenarios, own_layers
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class SARNet(MultiTaskModel):
    """Scenario-aware ranking network (Shen et al. 2021, CIKM, arXiv 2110.06475).

    For a row of scenario s, h = x * scale_s + shift_s, number by number. Logits_k = tower_k(f_k),
    f_k = sum over n of softmax(W_k h)_n E_n(h), over the experts of s and those that all scenarios
    share. A row meets the experts of its own scenario alone.

    The paper has one task; here each has a gate and a tower, as in ``MMoE``. Not here is what needs
    behaviours one by one: its attention weighs each behaviour of a user by the item at hand and by
    the scenarios of both. In its place stand the pooled sequences of ``inputs`` (another
    ``pooling`` of ``FieldEmbedding`` may attend to the item). Nor is there the coefficient of
    manual intervention, which its gates read to correct for items that were pushed by hand.

    Scale starts at 1 and shift at 0, and a scenario's experts as those of all others. A row of an
    unknown scenario has scale 1, shift 0 and, for experts of its own, those whose weights are the
    mean of all scenarios', which it does not train. A scenario added later starts so.

    Parameters as in ``CGC``; ``own_experts`` is the number of each scenario's own.
    """

    own: Any  # a list of MLP of OwnLinear

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        own_experts: int = 1,
        shared_experts: int = 2,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        if own_experts < 1:
            raise ValueError(f"own_experts must be 1 or more, not {own_experts}.")
        self.here = Here(schema.num_scenarios + 1)
        self.scenarios = Scenarios(self.here)
        self.embedding = inputs(schema, embedding_dim)
        width = self.embedding.width
        self.features = OwnScale(self.here, width)
        self.own = nn.ModuleList(
            own_layers(MLP(width, hidden, dropout=dropout), self.here) for _ in range(own_experts)
        )
        self.shared = ExpertBank(width, hidden, shared_experts, dropout=dropout)
        experts = own_experts + shared_experts
        self.gates = nn.ModuleList(Gate(width, experts) for _ in schema.tasks)
        self.towers = Towers(schema, self.shared.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            h = self.features(x)  # (batch, width)
            own = torch.stack([expert(h) for expert in self.own])
        return h, torch.cat([own, self.shared(h)])  # (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        h, experts = shared
        gated = zip(self.schema.task_names, self.gates, strict=True)
        return self.towers({name: mix(gate(h), experts) for name, gate in gated})

    def task_modules(self, name: str) -> list[nn.Module]:
        return [self.gates[self.schema.task_index(name)], self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        owners = (OWN,) * len(self.own) + (SHARED,) * self.shared.experts
        every = tuple(range(len(owners)))
        gated = zip(self.schema.task_names, self.gates, strict=True)
        return [ExpertLevel(owners, tuple(ExpertReader(*pair, every) for pair in gated))]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        return [self.represent(self.embed(batch), batch)[1]]


class OwnScale(OfScenarios):
    """x * scale_s + shift_s, number by number: (batch, width) -> (batch, width)."""

    stacked = ("scale", "shift")

    def __init__(self, here: Here, width: int) -> None:
        super().__init__(here)
        self.scale = nn.Parameter(torch.ones(here.sets - 1, width))
        self.shift = nn.Parameter(torch.zeros(here.sets - 1, width))

    def unknown(self, name: str) -> Tensor:
        one = getattr(self, name)[:1]
        return torch.ones_like(one) if name == "scale" else torch.zeros_like(one)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = (self.here.of_rows(self.every(name)) for name in self.stacked)
        return x * scale + shift
