"""EPNet: the scenario scales every input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import ScenarioVectors
from mtlkit.layers.gate_nu import GateNU
from mtlkit.models.adapt.base import Adapting, input_width
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class EPNet(Adapting):
    """Embedding personalised network (Chang et al. 2023, PEPNet, KDD).

    The network reads x * gate(v_s, x): v_s is the scenario's vector, the gate a ``GateNU`` of
    ``gate`` hidden units with a factor for each number of x. The gate reads x detached, so that
    embeddings learn from what they are used for and not from how they steer; what is scaled is x
    itself. Other parameters as in ``Adapting``.

    An unknown scenario has the vector 0: the gate sees the row alone.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        vector: int = 8,
        gate: int = 16,
        **sizes: Any,
    ) -> None:
        super().__init__(schema, network, **sizes)
        width = input_width(self.network)
        self.vectors = ScenarioVectors(self.here, vector)
        self.gate = GateNU(vector + width, width, hidden=gate)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            factors = self.gate(torch.cat([self.vectors(), x.detach()], dim=1))
            return self.network.represent(x * factors, batch)
