"""M3oE: experts of all, of scenarios and of tasks, fused by learned weights at two levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, OfScenarios
from mtlkit.layers.experts import ExpertBank, mix, run_together
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.mlp import MLP
from mtlkit.layers.own import Others, OwnGate, Scenarios, of_every_scenario, own_layers
from mtlkit.layers.towers import Towers, head_logits
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class M3oE(MultiTaskModel):
    """Multi-domain multi-task mixture of experts (Zhang et al. 2024, SIGIR, arXiv 2404.18465).

    Three modules read x: ``experts`` shared ones, one expert D_s a scenario, one expert T_k a task.
    First level: scenario s takes d_s = b_s D_s + (1 - b_s) * mean of the other scenarios' experts,
    and task k takes t_k = b_k T_k + (1 - b_k) * mean of the other tasks' experts. Second level:
    z = sum over n of softmax(x V_sk)_n E_n + p_k d_s + q_k t_k. Logits are tower_sk(z). Gates
    and towers are of each scenario and task.

    All b, p and q are sigmoids of learned numbers that start at 0, and are trained with the rest.
    The paper finds such weights by AutoML, on validation data, so that they choose a structure and
    do not merely fit; and a star-shaped layer of scenarios (``STAR``) and a skip connection come
    before its experts. Neither is here.

    All scenarios' experts are computed for every row, so the cost of a row grows with the number of
    scenarios; D_s learns from the rows of its scenario and from those of all others. With one
    scenario d_s is D_s, with one task t_k is T_k. All scenarios' layers start equal.

    A row of an unknown scenario has the mean of all scenarios' weights for its own expert, gate,
    tower and b, reads all the others alike, and trains no scenario's layers. A scenario added later
    starts so; known ones do not read it.

    Parameters as in ``MMoE``; ``hidden`` are the widths of each expert.
    """

    tasks: Any  # a list of ExpertBank, one a task

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
        width, several = self.embedding.width, schema.num_tasks > 1
        self.experts = ExpertBank(width, hidden, experts, dropout=dropout)
        self.own = own_layers(MLP(width, hidden, dropout=dropout), self.here)
        self.tasks = nn.ModuleList(
            ExpertBank(width, hidden, 1, dropout=dropout) for _ in schema.tasks
        )
        self.balance = Balance(self.here) if schema.num_scenarios > 1 else None
        self.fusions = nn.ModuleList(Fusion(number, several) for number, _ in enumerate(self.tasks))
        self.gates = nn.ModuleList(OwnGate(self.here, width, experts) for _ in schema.tasks)
        towers = Towers(schema, self.experts.width, tower, dropout=dropout)
        self.towers = own_layers(towers, self.here)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            of_scenario = self.own(x)  # (batch, hidden)
            if self.balance is not None:
                every = of_every_scenario(self.own, x, self.schema.num_scenarios)
                of_scenario = self.balance(of_scenario, every)
        return x, self.experts(x), of_scenario, run_together(list(self.tasks), [x])

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        x, experts, of_scenario, of_tasks = shared
        logits = {}
        with self.here.rows_of(batch.scenario):
            parts = zip(self.schema.tasks, self.gates, self.fusions, self.towers, strict=True)
            for task, gate, fusion, tower in parts:
                z = mix(gate(x), experts) + fusion(of_scenario, of_tasks)
                logits[task.name] = head_logits(task, tower(z))
        return logits

    def task_modules(self, name: str) -> list[nn.Module]:
        task = self.schema.task_index(name)
        return [self.gates[task], self.fusions[task], self.towers.of(name)]


class Balance(OfScenarios):
    """b_s of its own expert and 1 - b_s of the mean of the others', b_s = sigmoid(own_s).

    Own (batch, width), all (scenario, batch, width) -> (batch, width).
    """

    stacked = ("own",)

    def __init__(self, here: Here) -> None:
        super().__init__(here)
        self.others = Others(here)
        self.own = nn.Parameter(torch.zeros(here.sets - 1, 1))

    def unknown(self, name: str) -> Tensor:
        return self.own.mean(0, keepdim=True)

    def forward(self, own: Tensor, every: Tensor) -> Tensor:
        b = self.here.of_rows(self.every("own")).sigmoid()  # (batch, 1)
        others = self.others().to(b.dtype)
        mean = self.others.mixed(others / others.sum(1, keepdim=True), every)
        return b * own + (1 - b) * mean


class Fusion(nn.Module):
    """p d + q (b T_k + (1 - b) mean of the other tasks' experts), for one task k.

    d (batch, width), all T (task, batch, width) -> (batch, width).
    """

    def __init__(self, number: int, several: bool) -> None:
        super().__init__()
        self.number = number
        self.parts = nn.Parameter(torch.zeros(2))
        self.own = nn.Parameter(torch.zeros(())) if several else None

    def forward(self, of_scenario: Tensor, of_tasks: Tensor) -> Tensor:
        p, q = self.parts.sigmoid().unbind()
        own = of_tasks[self.number]
        if self.own is not None:
            b, tasks = self.own.sigmoid(), len(of_tasks)
            own = b * own + (1 - b) * (of_tasks.sum(0) - own) / (tasks - 1)
        return p * of_scenario + q * own
