"""One model for all scenarios, which does not know that there are several."""

from __future__ import annotations

from functools import partial
from typing import Any

from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.models.adapt.base import Adapting, reads_scenario
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class OneForAll(Adapting):
    """All scenarios' rows train one network that does not read the scenario.

    The first of the two plain answers (the other is ``OneEach``). Parameters as in ``Adapting``;
    ``inputs`` is ``FieldEmbedding`` without the scenario's field, nor a categorical one called
    "scenario".

    Raises ``ValueError`` where there are several scenarios and the network would read them all the
    same, by ``inputs`` of another kind.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        sizes = {"inputs": partial(FieldEmbedding, scenario_field=False), **sizes}
        super().__init__(schema, network, **sizes)
        if schema.num_scenarios > 1 and reads_scenario(self.network):
            raise ValueError(
                f"{type(self.network).__name__} reads the scenario here, which one model for all "
                "must not: leave out inputs, or take ScenarioFeature."
            )
