"""One tower for each scenario and task, on what all scenarios share."""

from __future__ import annotations

from functools import partial
from typing import Any

from mtlkit.layers.adapted import OwnLinear, replace_layers
from mtlkit.layers.towers import Towers
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class ScenarioTowers(Adapting):
    """Logits of task t in scenario s: tower_(s, t) on the representation that the network shares.

    Hard parameter sharing over scenarios, as tasks share a bottom (Caruana 1997, Machine Learning
    28). All towers of a task start equal. A row of an unknown scenario reads the tower whose
    weights are the mean of the task's towers, and trains the shared layers only. Parameters as in
    ``Adapting``.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        super().__init__(schema, network, **sizes)
        replace_layers(self.network, partial(OwnLinear, here=self.here), inside=Towers)
