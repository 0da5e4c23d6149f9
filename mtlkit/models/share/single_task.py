"""Single-task reference: a full network of its own for every task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.mlp import MLP
from mtlkit.models.base import MultiTaskModel, head_logits
from mtlkit.schema import Schema, Task


class _Network(nn.Module):
    """Embedding, bottom and tower of one task."""

    def __init__(
        self,
        schema: Schema,
        task: Task,
        embedding_dim: int,
        hidden: Sequence[int],
        tower: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, embedding_dim)
        self.bottom = MLP(self.embedding.width, hidden, dropout=dropout)
        self.tower = MLP(self.bottom.width, tower, outputs=task.outputs, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.tower(self.bottom(x))  # (batch, outputs)


class SingleTask(MultiTaskModel):
    """Logits_k = tower_k(bottom_k(x_k)): nothing is shared, not even the embeddings.

    The reference of every comparison: each task gets a network as large as a whole
    ``SharedBottom`` for one task, trained by the same loop for the same number of steps. The
    gradient of one task's loss is zero on every other task's network, so training all at once is
    training each alone. For a model of one task only, pass ``schema.select(name)``. Parameters as
    in ``SharedBottom``.
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
        self.networks = nn.ModuleList(
            _Network(schema, task, embedding_dim, hidden, tower, dropout) for task in schema.tasks
        )

    def embed(self, batch: Batch) -> Tensor:
        """The input vectors of all networks side by side, (batch, task * width)."""
        return torch.cat([embedding(batch) for embedding in self.embeddings()], dim=1)

    def outputs(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        parts = x.chunk(len(self.networks), dim=1)  # task x (batch, width)
        return {
            task.name: head_logits(task, network(part))
            for task, network, part in zip(self.schema.tasks, self.networks, parts, strict=True)
        }

    def task_modules(self, name: str) -> list[nn.Module]:
        return [self.networks[self.schema.task_index(name)]]
