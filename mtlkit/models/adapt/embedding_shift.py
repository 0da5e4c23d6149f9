"""Embedding shift: what an id means is moved a little in every scenario."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.layout import FieldLayout, id_sizes, id_starts, scenario_of_ids
from mtlkit.layers.table import EmbeddingTable
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class EmbeddingShift(Adapting):
    """Every id has the embedding e_i + d_is in scenario s; all layers are shared.

    The shifts d_is start at 0, where the model computes what a network of the same weights without
    them does, to the last digit. A prior on embedding rows (``row_prior`` of ``fit``) holds e_i and
    d_is back each by the number of its own reads: an id that is often met in a scenario may mean
    something of its own there, a rare one means what it means elsewhere. So each id stands between
    one embedding for all scenarios and one each, by its rows (partial pooling; for linear models
    Evgeniou and Pontil 2004, KDD).

    ``inputs=ShiftedEmbedding`` gives the shifts to any other model: ``MLoRA(schema,
    inputs=ShiftedEmbedding)`` has adapters in its layers as well. Other parameters as in
    ``Adapting``. An unknown scenario has no shifts, until training has rows of it.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        super().__init__(schema, network, **{"inputs": ShiftedEmbedding, **sizes})


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
