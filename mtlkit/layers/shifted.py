"""Embeddings that differ by scenario: what all share, and a shift of each scenario's own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.layout import FieldLayout, id_sizes, id_starts, scenario_of_ids
from mtlkit.layers.table import EmbeddingTable
from mtlkit.schema import Schema


class ShiftedEmbedding(FieldEmbedding):
    """``FieldEmbedding`` whose rows have a shift for every scenario: batch -> (batch, width)."""

    def __init__(self, schema: Schema, embedding_dim: int = 32, **options: Any) -> None:
        super().__init__(schema, embedding_dim, **options)
        self.shifts = Shifts(schema, embedding_dim)

    def forward(self, batch: Batch) -> Tensor:
        rows, shifts = self.lookup(self.ids(batch)), self.shifts(batch)
        if self.layout.with_scenario:  # the scenario's own row, each row's last, has none
            fields = batch.rows * self.shifts.layout.num_fields
            own = shifts[:fields].view(batch.rows, -1, self.embedding_dim)
            shifts = torch.cat([F.pad(own, (0, 0, 0, 1)).flatten(0, 1), shifts[fields:]])
        return self.assemble(rows + shifts, batch)


class Shifts(EmbeddingTable):
    """The shifts of all ids in every scenario: batch -> (id, width), ordered as ``ids``.

    The tables of the scenarios stand one after the other, the unknown one's last; all start at 0.
    """

    def __init__(self, schema: Schema, embedding_dim: int) -> None:
        sizes = id_sizes(schema, scenario_field=False)
        rows = sum(sizes.values())
        super().__init__((schema.num_scenarios + 1) * rows, embedding_dim)
        nn.init.zeros_(self.table)
        self.rows = rows
        self.layout = FieldLayout(schema, embedding_dim, id_starts(sizes))

    def ids(self, batch: Batch) -> Tensor:
        return self.layout.ids(batch) + self.rows * scenario_of_ids(self.layout, batch)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        return rows

    def add_scenario(self, scenario: str) -> None:
        table = torch.cat([self.table.detach(), self.table.detach()[-self.rows :]])
        self.table = nn.Parameter(table, self.table.requires_grad)
