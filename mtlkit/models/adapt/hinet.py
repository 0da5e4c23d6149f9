"""HiNet: shared experts, the scenario's own and those of the others; then experts of tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, OfScenarios
from mtlkit.layers.experts import ExpertBank, Gate, mix
from mtlkit.layers.extraction import Extraction
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import SHARED, ExpertLevel, ExpertReader
from mtlkit.layers.own import OWN, Others, OwnExperts, Scenarios
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class HiNet(MultiTaskModel):
    """Hierarchical information extraction (Zhou et al. 2023, ICDE, arXiv 2303.06095).

    First scenarios. A mixture is experts and a gate on x over them, as one expert of ``MMoE``'s
    tasks (the paper's sub-expert integration); G is that of all scenarios, S_s that of scenario s
    alone, and the scenario-aware attention adds up those of the others,
    A_s = sum over j other than s of a_sj S_j(x), a_s = softmax over these j of K v_s, with a
    vector v_s for each scenario. Its own scenario is not among them. Then tasks: ``CGC`` on
    [G, S_s, A_s].

    All scenarios' mixtures are computed for every row, so the cost of a row grows with the number
    of scenarios; a mixture learns from the rows of its scenario and from those of all others. With
    one scenario there is no A. With two there is one other, whose weight is 1: K and v learn
    nothing until there are three. All scenarios' experts start equal.

    A row of an unknown scenario has the mean weights of all for S, attends to all alike (v = 0),
    and trains no scenario's layers. A scenario added later starts so; known ones do not attend to
    it.

    Parameters as in ``SharedBottom``; ``hidden`` are the widths of the scenarios' experts, of which
    each scenario has ``own_experts`` and all share ``shared_experts``; ``task_hidden``,
    ``task_experts`` and ``common_experts`` those of the tasks' own and shared ones; ``vector`` the
    width of v.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        own_experts: int = 2,
        shared_experts: int = 2,
        hidden: Sequence[int] = (128, 64),
        vector: int = 8,
        task_experts: int = 1,
        common_experts: int = 2,
        task_hidden: Sequence[int] = (64,),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        self.here = Here(schema.num_scenarios + 1)
        self.scenarios = Scenarios(self.here, schema)
        self.embedding = inputs(schema, embedding_dim)
        width = self.embedding.width
        self.shared = ExpertBank(width, hidden, shared_experts, dropout=dropout)
        self.gate = Gate(width, shared_experts)
        self.own = OwnExperts(self.here, width, hidden, own_experts, dropout=dropout)
        several = schema.num_scenarios > 1
        self.attention = Attention(self.here, vector) if several else None
        self.level = Extraction(
            (3 if several else 2) * self.shared.width, task_hidden, schema.num_tasks,
            own=task_experts, shared=common_experts, passes_on=False, dropout=dropout,
        )  # fmt: skip
        self.towers = Towers(schema, self.level.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            parts = [mix(self.gate(x), self.shared(x)), self.own(x)]  # (batch, hidden) each
            if self.attention is not None:
                parts.append(self.attention(self.own.of_every_scenario(x)))
        c = torch.cat(parts, dim=1)
        return c, self.level.shared(c)  # (batch, 3 * hidden), (expert, batch, task hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        c, common = shared
        own = [c] * self.schema.num_tasks
        outputs = self.level.mixed(own, self.level.own_experts(own), common)
        return self.towers(dict(zip(self.schema.task_names, outputs, strict=True)))

    def task_modules(self, name: str) -> list[nn.Module]:
        task = self.schema.task_index(name)
        return [self.level.own[task], self.level.gates[task], self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        own, shared = len(self.own.experts), self.shared.experts
        first = ExpertLevel(
            (OWN,) * own + (SHARED,) * shared,
            (
                ExpertReader(OWN, self.own.gate, tuple(range(own))),
                ExpertReader(SHARED, self.gate, tuple(range(own, own + shared))),
            ),
        )
        return [first, self.level.expert_level(self.schema.task_names)]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        x = self.embed(batch)
        with self.here.rows_of(batch.scenario):
            first = torch.cat([self.own.outputs(x), self.shared(x)])
        c = self.represent(x, batch)[0]
        return [first, self.level.experts([c] * self.schema.num_tasks, c)]


class Attention(OfScenarios):
    """What a row's scenario takes from the others' outputs, (scenario, batch, width) -> (batch,
    width): sum over the other scenarios j of softmax(K v_s)_j outputs_j."""

    stacked = ("vectors", "keys")

    def __init__(self, here: Here, width: int) -> None:
        super().__init__(here)
        self.others = Others(here)
        self.vectors = nn.Parameter(0.1 * torch.randn(here.sets - 1, width))
        self.keys = nn.Parameter(0.1 * torch.randn(here.sets - 1, width))

    def weights(self) -> Tensor:
        """(batch, scenario); 0 for the row's own."""
        scores = self.here.of_rows(self.every("vectors")) @ self.keys.T
        return scores.masked_fill(~self.others(), -torch.inf).softmax(-1)

    def forward(self, outputs: Tensor) -> Tensor:
        return self.others.mixed(self.weights(), outputs)
