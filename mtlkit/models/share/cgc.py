"""CGC: each task mixes experts of its own with experts that all tasks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.extraction import Extraction
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class CGC(MultiTaskModel):
    """Customised gate control (Tang et al. 2020, RecSys, equations 1 to 4).

    Logits_k = tower_k(f_k), f_k = sum over the own and the shared experts n of
    softmax(W_k x)_n * E_n(x). No task reads another one's experts: the gradient of task k for them
    is 0.

    Parameters as in ``SharedBottom``; ``hidden`` are the widths of each expert, ``own_experts`` the
    number of each task's own, ``shared_experts`` of those for all.
    """

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
        self.embedding = inputs(schema, embedding_dim)
        self.level = Extraction(
            self.embedding.width, hidden, schema.num_tasks, own=own_experts, shared=shared_experts,
            passes_on=False, dropout=dropout,
        )  # fmt: skip
        self.towers = Towers(schema, self.level.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return x, self.level.shared(x)  # (batch, width), (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        x, common = shared
        own = [x] * self.schema.num_tasks
        outputs = self.level.mixed(own, self.level.own_experts(own), common)
        return self.towers(dict(zip(self.schema.task_names, outputs, strict=True)))

    def task_modules(self, name: str) -> list[nn.Module]:
        task = self.schema.task_index(name)
        return [self.level.own[task], self.level.gates[task], self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        return [self.level.expert_level(self.schema.task_names)]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        x = self.embed(batch)
        return [self.level.experts([x] * self.schema.num_tasks, x)]
