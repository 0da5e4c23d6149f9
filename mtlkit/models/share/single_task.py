"""Single-task reference: a full network of its own for every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.joined import field_inputs
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class SingleTask(MultiTaskModel):
    """Logits_k = tower_k(bottom_k(x_k)): nothing is shared, not even the embeddings.

    The reference of every comparison: each task gets a network as large as a whole
    ``SharedBottom`` for one task, trained by the same loop for the same number of steps. The
    gradient of one task's loss is zero on every other task's network, so training all at once is
    training each alone, and ``fit`` keeps each network's own best epoch. (``own_stop=False``: one
    joint score picks the epoch of all, as for a shared network; a handicap.) For a model of one
    task only, pass ``schema.select(name)``. Other parameters as in ``SharedBottom``.
    """

    networks: Any  # a list of SharedBottom, one task each

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
        own_stop: bool = True,
    ) -> None:
        super().__init__(schema)
        self.separate = own_stop
        self.networks = nn.ModuleList(
            SharedBottom(
                schema.with_tasks([replace(task, given=None)]), embedding_dim=embedding_dim,
                hidden=hidden, tower=tower, dropout=dropout, inputs=inputs,
            )
            for task in schema.tasks
        )  # fmt: skip

    def embed(self, batch: Batch) -> Tensor:
        """The input vectors of all networks side by side, (batch, task * width)."""
        return torch.cat([network.embed(batch) for network in self.networks], dim=1)

    def outputs(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        parts = x.chunk(len(self.networks), dim=-1)  # task x (batch, width)
        logits: dict[str, Tensor] = {}
        for network, part in zip(self.networks, parts, strict=True):
            logits |= network.outputs(part, batch)
        return logits

    def task_modules(self, name: str) -> list[nn.Module]:
        return [self.networks[self.schema.task_index(name)]]
