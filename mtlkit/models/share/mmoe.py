"""MMoE: experts shared by all tasks, one gate a task."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.experts import ExpertBank, Gate, mix
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel, shared_level
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class MMoE(MultiTaskModel):
    """Multi-gate mixture of experts (Ma et al. 2018, KDD, equations 5 to 7).

    Logits_k = tower_k(f_k), f_k = sum over experts n of g_k(x)_n * f_n(x), g_k(x) = softmax(W_k x).
    With one expert it is a shared bottom; with equal gates it is the mean of the experts.

    Parameters as in ``SharedBottom``; ``hidden`` are the widths of each expert, ``experts`` their
    number.
    """

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
        self.embedding = inputs(schema, embedding_dim)
        self.experts = ExpertBank(self.embedding.width, hidden, experts, dropout=dropout)
        self.gates = nn.ModuleList(Gate(self.embedding.width, experts) for _ in schema.tasks)
        self.towers = Towers(schema, self.experts.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return x, self.experts(x)  # (batch, width), (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        x, experts = shared
        names = self.schema.task_names
        gated = zip(names, self.gates, strict=True)
        return self.towers({name: mix(gate(x), experts) for name, gate in gated})

    def task_modules(self, name: str) -> list[nn.Module]:
        return [self.gates[self.schema.task_index(name)], self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        gated = zip(self.schema.task_names, self.gates, strict=True)
        return [shared_level(gated, self.experts.experts)]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        return [self.experts(self.embed(batch))]
