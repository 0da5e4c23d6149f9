"""Embedding shift: what an id means is moved a little in every scenario."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.layout import scenario_of_ids
from mtlkit.layers.table import EmbeddingTable
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class EmbeddingShift(Adapting):
    """Every id has the embedding e_i + d_is in scenario s; all layers are shared.

    The shifts d_is start at 0, where the model computes what its network does, to the last digit. A
    prior on embedding rows (``row_prior`` of ``fit``) holds e_i and d_is back each by the number of
    its own reads: an id that is often met in a scenario may mean something of its own there, a rare
    one means what it means elsewhere. So each id stands between one embedding for all scenarios and
    one each, by its rows (partial pooling; for linear models Evgeniou and Pontil 2004, KDD).

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
        self.shifts = Shifts(self, schema.num_scenarios + 1)

    def add_scenario(self, scenario: str) -> None:
        rows = len(self.table)
        super().add_scenario(scenario)
        inserted = None
        if len(self.table) > rows:  # the scenario is a field: its row stands after the known ones'
            inserted = int(self.layout.offsets[-1]) + self.schema.scenario_index(scenario)
        self.shifts.grow(inserted)

    def forward(self, batch: Batch) -> Tensor:
        rows = self.lookup(self.ids(batch)) + self.shifts.lookup(self.shifts.ids(batch))
        return self.assemble(rows, batch)


class Shifts(EmbeddingTable):
    """The shifts of all rows of an embedding in every scenario, block after block; the unknown
    scenario's is the last."""

    def __init__(self, embedding: FieldEmbedding, sets: int) -> None:
        rows = len(embedding.table)
        super().__init__(sets * rows, embedding.embedding_dim)
        nn.init.zeros_(self.table)
        self.rows, self.sets = rows, sets
        self.of = (embedding.layout,)  # a tuple: it belongs to the embedding, not to this module

    def ids(self, batch: Batch) -> Tensor:
        (layout,) = self.of
        return layout.ids(batch) + self.rows * scenario_of_ids(layout, batch)

    def grow(self, inserted: int | None) -> None:
        """A block more, equal to the last; and in each a row more at ``inserted``, equal to 0."""
        blocks = self.table.detach().view(self.sets, self.rows, -1)
        blocks = torch.cat([blocks, blocks[-1:]])
        if inserted is not None:
            new = torch.zeros_like(blocks[:, :1])
            blocks = torch.cat([blocks[:, :inserted], new, blocks[:, inserted:]], dim=1)
        self.sets, self.rows = blocks.shape[:2]
        self.table = nn.Parameter(blocks.flatten(0, 1), self.table.requires_grad)

    def add_scenario(self, scenario: str) -> None:
        """Nothing: its embedding lets it grow."""
