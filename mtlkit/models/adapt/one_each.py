"""One model for each scenario: nothing is shared but the schema."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import OwnLinear, replace_layers
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.layout import scenario_of_ids
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class OneEach(Adapting):
    """Each scenario's rows train a network of their own, embeddings included.

    The second of the two plain answers (the other is ``OneForAll``). All networks start equal but
    for their embeddings. Parameters as in ``Adapting``; the inputs are a ``ScenarioEmbedding``.
    Rows of an unknown scenario read embeddings of its own, 0 until training has such rows, and
    layers that are the mean of all.

    Raises ``ValueError`` for a network of other layers than ``MLP``: experts and gates, which
    would stay shared.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        super().__init__(schema, network, **{"inputs": ScenarioEmbedding, **sizes})
        replace_layers(self.network, partial(OwnLinear, here=self.here))
        own = {id(p) for m in self.network.modules() if isinstance(m, OwnLinear | ScenarioEmbedding)
               for p in m.parameters()}  # fmt: skip
        shared = [name for name, p in self.network.named_parameters() if id(p) not in own]
        if shared:
            raise ValueError(
                f"One model each needs a network of plain layers, such as SharedBottom: in "
                f"{type(self.network).__name__} {shared[0]} would stay shared."
            )


class ScenarioEmbedding(FieldEmbedding):
    """``FieldEmbedding`` with a table of each scenario's own, the unknown one's last and 0.

    The tables stand one after the other: an id of scenario s is moved on by s tables.
    """

    def __init__(self, schema: Schema, embedding_dim: int = 32, **options: Any) -> None:
        super().__init__(schema, embedding_dim, scenario_field=False, **options)
        self.rows, sets = len(self.table), schema.num_scenarios + 1
        self.table = nn.Parameter(torch.zeros(sets * self.rows, embedding_dim))
        nn.init.normal_(self.table.data[: -self.rows], std=0.01)

    def ids(self, batch: Batch) -> Tensor:
        return super().ids(batch) + self.rows * scenario_of_ids(self.layout, batch)

    def add_scenario(self, scenario: str) -> None:
        self.schema = self.schema.extend(scenario=scenario)
        table = torch.cat([self.table.detach(), self.table.detach()[-self.rows :]])
        self.table = nn.Parameter(table, self.table.requires_grad)
