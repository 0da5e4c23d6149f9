"""Embedding shift: what an id means is moved a little in every scenario."""

from __future__ import annotations

from typing import Any

from mtlkit.layers.shifted import ShiftedEmbedding
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
