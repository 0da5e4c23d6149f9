"""MMoE: experts shared by all tasks, one gate a task."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.experts import ExpertBank, Gate, mix
from mtlkit.layers.mlp import MLP
from mtlkit.models.base import MultiTaskModel, head_logits
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
        embedding_dim: int = 16,
        experts: int = 4,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(schema)
        self.embedding = FieldEmbedding(schema, embedding_dim)
        self.experts = ExpertBank(self.embedding.width, hidden, experts, dropout=dropout)
        self.gates = nn.ModuleList(Gate(self.embedding.width, experts) for _ in schema.tasks)
        self.towers = nn.ModuleList(
            MLP(self.experts.width, tower, outputs=task.outputs, dropout=dropout)
            for task in schema.tasks
        )

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return x, self.experts(x)  # (batch, width), (expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        x, experts = shared
        return {
            task.name: head_logits(task, tower(mix(gate(x), experts)))
            for task, gate, tower in zip(self.schema.tasks, self.gates, self.towers, strict=True)
        }

    def task_modules(self, name: str) -> list[nn.Module]:
        index = self.schema.task_index(name)
        return [self.gates[index], self.towers[index]]
