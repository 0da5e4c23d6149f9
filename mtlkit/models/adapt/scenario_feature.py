"""The scenario as one more input."""

from __future__ import annotations

from typing import Any

from mtlkit.models.adapt.base import Adapting, reads_scenario
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class ScenarioFeature(Adapting):
    """A sharing model that reads the scenario as one more id, as ``FieldEmbedding`` gives it.

    What every other scenario model has to beat. It has a name here so that it stands in every
    comparison. Parameters as in ``Adapting``.

    Raises ``ValueError`` where there are several scenarios and the network does not read them:
    ``ArticleNetwork``, and inputs with ``scenario_field=False``. Inputs of a kind of your own are
    believed to hold the scenario.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        super().__init__(schema, network, **sizes)
        if schema.num_scenarios > 1 and reads_scenario(self.network) is False:
            raise ValueError(
                f"{type(self.network).__name__} does not read the scenario here: give a network "
                "and inputs that do, such as SharedBottom with FieldEmbedding, or take OneForAll."
            )
