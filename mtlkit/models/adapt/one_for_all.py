"""One model for all scenarios, which does not know that there are several."""

from __future__ import annotations

from functools import partial
from typing import Any

from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class OneForAll(Adapting):
    """All scenarios' rows train one network that does not read the scenario.

    The first of the two plain answers (the other is ``OneEach``). Parameters as in ``Adapting``;
    ``inputs`` is ``FieldEmbedding`` without the scenario's field.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        sizes = {"inputs": partial(FieldEmbedding, scenario_field=False), **sizes}
        super().__init__(schema, network, **sizes)
