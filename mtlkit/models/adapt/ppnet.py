"""PPNet: who and where scales every hidden layer of every tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import ScenarioVectors, linear_layers
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.gate_nu import GateNU
from mtlkit.layers.towers import Towers
from mtlkit.models.adapt.base import Adapting, input_width
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class PPNet(Adapting):
    """Parameter personalised network (Chang et al. 2023, PEPNet, KDD).

    Every hidden layer of every task's tower is scaled by a ``GateNU`` of its own, which reads the
    scenario's vector, the embeddings of the fields in ``prior`` (the user's and the product's, for
    example), which learn from the gates, and the inputs x, detached. The tower's own input is not
    detached. Other parameters as in ``Adapting``; ``prior`` needs the inputs ``FieldEmbedding``.

    An unknown scenario has the vector 0. Raises ``ValueError`` where towers have no hidden layer
    and for a field of ``prior`` that the schema does not have.
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
        super().__init__(schema, network, **sizes)
        columns = prior_columns(self.network, prior)
        self.register_buffer("columns", columns, persistent=False)
        self.vectors = ScenarioVectors(self.here, vector)
        inputs = vector + len(columns) + input_width(self.network)
        self.known = Known()
        hidden = [
            (mlp, number)
            for mlp, number in linear_layers(self.network, Towers) if number + 1 < len(mlp)
        ]  # fmt: skip
        if not hidden:
            raise ValueError("PPNet scales hidden layers of towers; give tower at least one size.")
        for mlp, number in hidden:
            gates = GateNU(inputs, mlp[number].out_features, hidden=gate)
            mlp[number] = GatedLinear(mlp[number], gates, self.known)

    columns: Tensor

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return *super().represent(x, batch), x.index_select(1, self.columns), x

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        *inside, prior, x = shared
        with self.here.rows_of(batch.scenario):
            self.known.rows = torch.cat([self.vectors(), prior, x.detach()], dim=1)
            try:
                return self.network.decode(tuple(inside), batch)
            finally:
                self.known.rows = None


class Known:
    """What is known of the rows at hand before a tower reads them, (batch, inputs of gates)."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None


class GatedLinear(nn.Module):
    """A linear layer whose outputs are scaled by a gate that reads what is known of the row."""

    def __init__(self, linear: nn.Linear, gate: GateNU, known: Known) -> None:
        super().__init__()
        self.linear, self.gate, self.known = linear, gate, known

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.gate(self.known.rows)


def prior_columns(network: Any, prior: Sequence[str]) -> Tensor:
    """Which numbers of the input vector are the embeddings of these fields, int64 (n,)."""
    if not prior:
        return torch.zeros(0, dtype=torch.int64)
    embedding = getattr(network, "embedding", None)
    if not isinstance(embedding, FieldEmbedding):
        raise ValueError(
            f"prior needs a network with the inputs FieldEmbedding; {type(network).__name__} has "
            f"{type(embedding).__name__}."
        )
    fields, width = embedding.layout.fields, embedding.embedding_dim
    for name in prior:
        if name not in fields:
            known = ", ".join(field for field in fields if field) or "none"
            raise ValueError(f"prior names {name!r}, which is no categorical field ({known}).")
    places = [fields.index(name) for name in prior]
    return torch.cat([torch.arange(place * width, (place + 1) * width) for place in places])
