"""HMoE: each scenario adds up its own tower's logits and those of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, OfScenarios
from mtlkit.layers.experts import ExpertBank, mix
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel, shared_level
from mtlkit.layers.own import Others, OwnGate, Scenarios, of_every_scenario, own_layers
from mtlkit.layers.towers import Towers, head_logits
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class HMoE(MultiTaskModel):
    """Experts shared in feature space, scenarios mixed in label space (Li et al. 2020, CIKM).

    For a task, scenario j says S_j = tower_j(f_j), f_j = sum over experts n of g_j(x)_n E_n(x), as
    ``MMoE`` does with scenarios in the place of tasks. A row of scenario t has the logits
    W_tt S_t + sum over j other than t of W_tj stopgrad(S_j), with W_t = softmax(x V_t): it learns
    from what the others say and trains their gates and towers not at all. Gates, towers and V are
    of each scenario and task; all scenarios' gates and towers start equal.

    By the paper's idea all scenarios' gates and towers are computed for every row, so the cost of a
    row grows with the number of scenarios; the experts are computed once, and the backward pass is
    through the layers of the row's own scenario alone. With one scenario there is nothing to
    mix: S_t is the logit.

    A row of an unknown scenario has the mean gate and tower of all for its own, with mean V, and
    trains embeddings and experts alone. A scenario added later starts so; known ones do not read
    it.

    Parameters as in ``MMoE``; ``hidden`` are the widths of each expert, ``experts`` their number.
    """

    gates: Any  # a list of OwnGate, one a task
    weights: Any  # a list of LabelGate, one a task, or none for one scenario

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        experts: int = 4,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        self.here = Here(schema.num_scenarios + 1)
        self.scenarios = Scenarios(self.here, schema)
        self.embedding = inputs(schema, embedding_dim)
        width = self.embedding.width
        self.experts = ExpertBank(width, hidden, experts, dropout=dropout)
        self.gates = nn.ModuleList(OwnGate(self.here, width, experts) for _ in schema.tasks)
        self.towers = own_layers(
            Towers(schema, self.experts.width, tower, dropout=dropout), self.here
        )
        self.others = Others(self.here)
        several = schema.num_scenarios > 1
        self.weights = nn.ModuleList(
            LabelGate(self.here, self.others, width) for _ in schema.tasks if several
        )

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return x, self.experts(x)  # (batch, width), (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        x, experts = shared
        logits = {}
        with self.here.rows_of(batch.scenario):
            for number, task in enumerate(self.schema.tasks):
                gate, tower = self.gates[number], self.towers[number]
                output = tower(mix(gate(x), experts))  # (batch, outputs)
                if self.weights:
                    own, others = self.weights[number](x)  # (batch, 1), (batch, scenario)
                    with torch.no_grad():
                        read = mix(gate.of_every_scenario(x), experts.unsqueeze(1))
                        said = of_every_scenario(
                            tower, read, len(read)
                        )  # (scenario, batch, outputs)
                    output = own.to(output.dtype) * output + mix(others, said)
                logits[task.name] = head_logits(task, output)
        return logits

    def task_modules(self, name: str) -> list[nn.Module]:
        task = self.schema.task_index(name)
        own = [self.weights[task]] if self.weights else []
        return [self.gates[task], *own, self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        gated = zip(self.schema.task_names, self.gates, strict=True)
        return [shared_level(gated, self.experts.experts)]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        return [self.experts(self.embed(batch))]


class LabelGate(OfScenarios):
    """How much a row listens to its own scenario's tower, (batch, 1), and to others', (batch,
    scenario): softmax(x V_t), over its own scenario and the ``others`` that it may read."""

    stacked = ("weight",)

    def __init__(self, here: Here, others: Others, inputs: int) -> None:
        super().__init__(here)
        scenarios = here.sets - 1
        self.others = others
        self.weight = nn.Parameter(0.01 * torch.randn(scenarios, inputs, scenarios))

    def every(self, name: str) -> Tensor:
        """V with the unknown scenario as one more reader and, of itself, one more that is read."""
        weight = self.weight
        mean = weight.mean(0, keepdim=True).detach()
        own = weight.diagonal(dim1=0, dim2=2).mean(-1).detach()  # (inputs,)
        column = torch.cat([torch.zeros_like(weight[:, :, :1]), own[None, :, None]])
        return torch.cat([torch.cat([weight, mean]), column], dim=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        own, others = self.others.own(), self.others()
        own = torch.cat([own, ~own.any(1, keepdim=True)], dim=1)  # (batch, scenario + 1)
        read = own | F.pad(others, (0, 1))
        scores = self.here.linear(x, self.every("weight")).masked_fill(~read, -torch.inf)
        weights = scores.softmax(-1)
        return (weights * own).sum(1, keepdim=True), (weights * ~own)[:, :-1]
