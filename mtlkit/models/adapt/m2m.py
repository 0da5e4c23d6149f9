"""M2M: the scenario generates the attention over experts and the layers of the towers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, ScenarioVectors
from mtlkit.layers.experts import ExpertBank, mix
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel, shared_level
from mtlkit.layers.towers import head_logits
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema, Task


class MetaLinear(nn.Module):
    """x W(v_s) + b(v_s), both linear in the scenario's vector v: (batch, in) -> (batch, out).

    W(v) = V v + W_0 and b(v) = U v + b_0, made once a scenario. V and U start near 0.
    """

    def __init__(self, inputs: int, outputs: int, vector: int, here: Here) -> None:
        super().__init__()
        self.here, self.inputs = here, inputs
        self.weight, self.bias = nn.Linear(vector, inputs * outputs), nn.Linear(vector, outputs)
        bound = (6 / inputs) ** 0.5  # W_0 as in He et al. 2015, uniform
        nn.init.uniform_(self.weight.bias, -bound, bound)
        nn.init.zeros_(self.bias.bias)
        for own in (self.weight, self.bias):
            nn.init.normal_(own.weight, std=0.1 / inputs**0.5)

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        weight = self.weight(vectors).unflatten(1, (self.inputs, -1))  # (set, in, out)
        return self.here.linear(x, weight, self.bias(vectors))


class MetaAttention(nn.Module):
    """How much a task listens to each expert: softmax over i of u . sigma(meta([E_i; t])).

    experts (expert, batch, width) -> (batch, expert); t is the task's learned vector, sigma the
    leaky ReLU.
    """

    def __init__(self, width: int, task: int, vector: int, here: Here) -> None:
        super().__init__()
        self.task = nn.Parameter(torch.randn(task) * 0.1)
        self.meta = MetaLinear(width + task, width, vector, here)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, experts: Tensor, vectors: Tensor) -> Tensor:
        scores = []
        for expert in experts.unbind():
            read = torch.cat([expert, self.task.expand(expert.shape[0], -1)], dim=1)
            scores.append(self.score(F.leaky_relu(self.meta(read, vectors))))
        return torch.cat(scores, dim=1).softmax(1)


class MetaTower(nn.Module):
    """Layers L_j = sigma(meta_j(L_{j-1}) + P_j L_{j-1}), then a linear layer of the logits.

    P_j is the identity, or a linear layer where the width changes; sigma is the leaky ReLU.
    """

    def __init__(
        self, inputs: int, sizes: Sequence[int], task: Task, vector: int, here: Here, dropout: float
    ) -> None:
        super().__init__()
        self.kind, self.dropout = task, dropout
        self.metas, self.passes = nn.ModuleList(), nn.ModuleList()
        for size in sizes:
            self.metas.append(MetaLinear(inputs, size, vector, here))
            same = inputs == size
            self.passes.append(nn.Identity() if same else nn.Linear(inputs, size, bias=False))
            inputs = size
        self.last = nn.Linear(inputs, task.outputs)
        nn.init.xavier_uniform_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, vectors: Tensor) -> Tensor:
        for meta, passed in zip(self.metas, self.passes, strict=True):
            x = F.leaky_relu(meta(x, vectors) + passed(x))
            x = F.dropout(x, self.dropout, self.training)
        return head_logits(self.kind, self.last(x))


class M2M(MultiTaskModel):
    """Multi-scenario multi-task meta learning (Zhang et al. 2022, WSDM).

    Experts E_i(x) that all scenarios share; for each task a ``MetaAttention`` over them and a
    ``MetaTower``, whose weights and biases are generated from the scenario's vector of ``vector``
    numbers (``MetaLinear``), once a scenario. ``tower`` are the widths of the residual layers. The
    paper makes the scenario's vector by a network from its features, here it is learned; and one
    generated layer stands in each place where the paper allows several. ``task_vector`` is the
    width of each task's vector. Other parameters as in ``MMoE``.

    The vector of an unknown scenario is 0: it meets the weights W_0, b_0 that all others vary.
    Raises ``ValueError`` for a vector or task_vector below 1.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        experts: int = 4,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        vector: int = 8,
        task_vector: int = 8,
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        for name, value in (("vector", vector), ("task_vector", task_vector)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}.")
        super().__init__(schema)
        self.here = Here(schema.num_scenarios + 1)
        self.embedding = inputs(schema, embedding_dim)
        self.experts = ExpertBank(self.embedding.width, hidden, experts, dropout=dropout)
        self.vectors = ScenarioVectors(self.here, vector)
        width = self.experts.width
        self.attention = nn.ModuleList(
            MetaAttention(width, task_vector, vector, self.here) for _ in schema.tasks
        )
        self.metas = nn.ModuleList(
            MetaTower(width, tower, task, vector, self.here, dropout) for task in schema.tasks
        )

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (self.experts(x),)  # (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        (experts,) = shared
        logits = {}
        with self.here.rows_of(batch.scenario):
            vectors = self.vectors.every("table")  # (scenario + 1, vector)
            parts = zip(self.schema.task_names, self.attention, self.metas, strict=True)
            for name, attention, tower in parts:
                logits[name] = tower(mix(attention(experts, vectors), experts), vectors)
        return logits

    def task_modules(self, name: str) -> list[nn.Module]:
        number = self.schema.task_index(name)
        return [self.attention[number], self.metas[number]]

    def add_scenario(self, scenario: str) -> None:
        super().add_scenario(scenario)
        self.here.sets = self.schema.num_scenarios + 1

    def expert_levels(self) -> list[ExpertLevel]:
        gated = zip(self.schema.task_names, self.attention, strict=True)
        return [shared_level(gated, self.experts.experts)]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        return [self.experts(self.embed(batch))]
