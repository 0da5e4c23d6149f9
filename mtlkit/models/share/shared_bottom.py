"""Shared bottom: one network for all tasks, one small tower a task."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.mlp import MLP
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
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
    inputs
        What makes a vector of a row: called with (schema, embedding_dim), it gives a module with
        ``width``. ``partial(FieldEmbedding, pooling="sum")``, for example.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        self.embedding = inputs(schema, embedding_dim)
        self.bottom = MLP(self.embedding.width, hidden, dropout=dropout)
        self.towers = Towers(schema, self.bottom.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (self.bottom(x),)  # (batch, hidden)
