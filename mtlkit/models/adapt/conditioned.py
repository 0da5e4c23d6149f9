"""What the models have in common that make weights from a condition: of the scenario or the row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here, ScenarioVectors
from mtlkit.models.adapt.base import Adapting, input_width
from mtlkit.models.around import Network
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.schema import Schema


class Condition:
    """What layers inside a network read to make their weights: one value a set of the scenarios
    (the unknown one last), or one a row of the batch where ``rows`` is True."""

    def __init__(self, here: Here, rows: bool) -> None:
        self.here, self.rows = here, rows
        self.value: Tensor | None = None

    @contextmanager
    def is_(self, value: Tensor) -> Iterator[None]:
        """A block in which the condition is this, (set or row, ...)."""
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before

    def known(self) -> Tensor:
        """The condition at the moment."""
        if self.value is None:
            raise RuntimeError("A generated layer is called outside of the model that holds it.")
        return self.value

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """x_r W_r, with the weight of each row or of its scenario: (batch, in) -> (batch, out)."""
        if self.rows:
            return torch.bmm(x.unsqueeze(1), weight).squeeze(1)
        return self.here.linear(x, weight)


class Conditioned(Adapting):
    """Base: z is the scenario's vector of ``vector`` numbers and, where ``rows`` is True, the row's
    inputs, detached. Without the inputs all that follows from z is computed once a scenario.

    The unknown scenario has the vector 0. Other parameters as in ``Adapting``.
    """

    def __init__(
        self, schema: Schema, network: Network = SharedBottom, *,
        vector: int = 8, rows: bool = False, **sizes: Any,
    ) -> None:  # fmt: skip
        super().__init__(schema, network, **sizes)
        if vector < 1:
            raise ValueError(f"vector must be 1 or more, not {vector}.")
        self.vectors = ScenarioVectors(self.here, vector)
        self.condition = Condition(self.here, rows)
        self.inputs = vector + (input_width(self.network) if rows else 0)  # the width of z

    def conditions(self, z: Tensor) -> Tensor:
        """What the layers inside read, from z (set or row, inputs); here z as it is."""
        return z

    @contextmanager
    def block(self, batch: Batch, x: Tensor | None) -> Iterator[None]:
        """A block in which layers inside the network know their scenarios and conditions."""
        with self.here.rows_of(batch.scenario):
            if x is None:
                z = self.vectors.every("table")  # (scenario + 1, inputs)
            else:
                z = torch.cat([self.vectors(), x.detach()], dim=1)  # (batch, inputs)
            with self.condition.is_(self.conditions(z)):
                yield

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        if not self.condition.rows:
            with self.block(batch, None):
                return self.network.represent(x, batch)
        with self.block(batch, x):
            return *self.network.represent(x, batch), x

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        inside, x = (shared[:-1], shared[-1]) if self.condition.rows else (shared, None)
        with self.block(batch, x):
            return self.network.decode(inside, batch)
