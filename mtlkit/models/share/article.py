"""The article's own network: 784 inputs, a shared layer of 128, one sigmoid head a task."""

from __future__ import annotations

from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.mlp import MLP
from mtlkit.layers.towers import Towers
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import Schema, SchemaError


class ArticleNetwork(MultiTaskModel):
    """p_k = sigmoid(w_k . relu(V x + c) + b_k): the smallest network that shares a representation.

    x is the row's dense block, (batch, 784) for a 28 x 28 picture; relu(V x + c), (batch, 128), is
    the shared encoder Z, and each task decodes it with one linear layer. The sigmoid is applied in
    ``predict``; ``forward`` returns logits. Raises ``SchemaError`` if a task is not binary or the
    schema has other inputs than dense columns.
    """

    def __init__(self, schema: Schema, *, hidden: int = 128) -> None:
        super().__init__(schema)
        wrong = [task for task in schema.tasks if not task.is_binary]
        if wrong:
            raise SchemaError(
                f"ArticleNetwork has sigmoid heads only; task {wrong[0].name!r} is "
                f"{wrong[0].kind}. Use SharedBottom, or schema.select(...) with binary tasks."
            )
        if schema.dense_width == 0 or schema.categorical or schema.sequences:
            raise SchemaError(
                "ArticleNetwork reads dense columns only (784 for a 28 x 28 picture); this schema "
                f"has {schema.dense_width} of them, {len(schema.categorical)} categorical and "
                f"{len(schema.sequences)} sequence fields. Use SharedBottom for other inputs."
            )
        self.encoder = MLP(schema.dense_width, (hidden,))
        self.heads = Towers(schema, hidden)

    def embed(self, batch: Batch) -> Tensor:
        return batch.dense  # (batch, 784)

    @property
    def towers(self) -> Towers:  # type: ignore[override]
        """The heads, under the name that all models have for them."""
        return self.heads

    def encode(self, x: Tensor) -> Tensor:
        """The shared representation Z, (batch, hidden)."""
        return self.encoder(x)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (self.encode(x),)  # (batch, hidden)
