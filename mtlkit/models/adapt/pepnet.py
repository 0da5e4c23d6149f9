"""PEPNet: EPNet scales the inputs, PPNet the towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.gate_nu import GateNU
from mtlkit.models.adapt.base import input_width
from mtlkit.models.adapt.ppnet import PPNet
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class PEPNet(PPNet):
    """Parameter and embedding personalised network (Chang et al. 2023, KDD).

    ``EPNet`` scales the inputs by the scenario; ``PPNet`` scales the hidden layers of the towers.
    Its gates read the embeddings of ``prior`` as they are, which learn from it, and all inputs as
    EPNet leaves them, detached. Parameters as in ``PPNet``.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network = SharedBottom,
        *,
        prior: Sequence[str] = (),
        vector: int = 8,
        gate: int = 16,
        **sizes: Any,
    ) -> None:
        super().__init__(schema, network, prior=prior, vector=vector, gate=gate, **sizes)
        width = input_width(self.network)
        self.input_gate = GateNU(vector + width, width, hidden=gate)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            factors = self.input_gate(torch.cat([self.vectors(), x.detach()], dim=1))
        *inside, _, scaled = super().represent(x * factors, batch)
        return *inside, x.index_select(1, self.columns), scaled
