"""Several input layers side by side: embeddings of each task's own beside those that all share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.schema import Schema


class SeveralInputs(nn.ModuleList):
    """``count`` input layers of the same schema: batch -> (batch, count * width of each).

    ``split(x)`` gives their vectors again, each (batch, width of each).
    """

    def __init__(
        self, schema: Schema, embedding_dim: int, count: int, make: Callable[[Schema, int], Any]
    ) -> None:
        super().__init__(make(schema, embedding_dim) for _ in range(count))
        first: Any = self[0]
        self.each = int(first.width)
        self.width = self.each * count

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([layer(batch) for layer in self], dim=1)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The vectors of each layer, views of x."""
        return x.split(self.each, dim=-1)

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more: every layer that is told of it knows it by itself."""
