"""Shared bottom: one network for all tasks, one small tower a task."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.mlp import MLP
from mtlkit.models.base import MultiTaskModel, head_logits
from mtlkit.schema import Schema


class SharedBottom(MultiTaskModel):
    """Logits_k = tower_k(bottom(x)): hard parameter sharing (Caruana 1997, Machine Learning 28).

    Parameters
    ----------
    schema
        Inputs and tasks.
    embedding_dim
        Width of every embedding.
    hidden
        Widths of the shared layers.
    tower
        Widths of the hidden layers of each task's tower; a linear output layer follows.
    dropout
        Share of hidden units dropped in training, in bottom and towers.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 16,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(schema)
        self.embedding = FieldEmbedding(schema, embedding_dim)
        self.bottom = MLP(self.embedding.width, hidden, dropout=dropout)
        self.towers = nn.ModuleList(
            MLP(self.bottom.width, tower, outputs=task.outputs, dropout=dropout)
            for task in schema.tasks
        )

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (self.bottom(x),)  # (batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        (bottom,) = shared
        return {
            task.name: head_logits(task, tower(bottom))
            for task, tower in zip(self.schema.tasks, self.towers, strict=True)
        }

    def task_modules(self, name: str) -> list[nn.Module]:
        return [self.towers[self.schema.task_index(name)]]
