"""What every scenario model is that stands around a sharing model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.adapted import Here
from mtlkit.layers.layout import FieldLayout
from mtlkit.models.around import Around, Network, require_no_pages
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.share.shared_bottom import SharedBottom
from mtlkit.models.share.single_task import SingleTask
from mtlkit.schema import Schema


class Adapting(Around):
    """Base of the scenario models that stand around any sharing model.

    Parameters
    ----------
    schema
        Inputs, scenarios and tasks.
    network
        The sharing model: a class of ``SHARING`` or a factory, called with the schema and
        ``sizes``. ``partial(MMoE, experts=3)``, for example.
    sizes
        Its sizes: ``embedding_dim``, ``hidden``, ``tower``, ``dropout``, ``inputs``.

    Layers inside the network learn from ``here`` which scenario each row has. Rows of an unknown
    scenario meet what is shared, and what each class says in the place of the rest.
    """

    def __init__(self, schema: Schema, network: Network = SharedBottom, **sizes: Any) -> None:
        super().__init__(schema)
        self.network = network(schema, **sizes)
        require_no_pages(self.network, self)
        self.batch_statistics = self.batch_statistics or self.network.batch_statistics
        self.here = Here(schema.num_scenarios + 1)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        with self.here.rows_of(batch.scenario):
            return super().represent(x, batch)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        with self.here.rows_of(batch.scenario):
            return super().decode(shared, batch)

    def add_scenario(self, scenario: str) -> None:
        super().add_scenario(scenario)
        self.here.sets = self.schema.num_scenarios + 1


def reads_scenario(network: MultiTaskModel) -> bool | None:
    """Whether the scenario is among a network's inputs; None for inputs of a kind of your own."""
    layouts = [m for m in network.modules() if isinstance(m, FieldLayout)]
    if not layouts:
        told = [m.reads_scenario for m in network.modules() if hasattr(m, "reads_scenario")]
        if told:
            return any(told)
        return None if hasattr(network, "embedding") else False
    return any(layout.with_scenario or "scenario" in layout.fields for layout in layouts)


def input_width(network: MultiTaskModel) -> int:
    """How many numbers ``embed`` gives a row; ``ValueError`` for a network that does not say."""
    if isinstance(network, SingleTask):
        return sum(input_width(one) for one in network.networks)
    if isinstance(network, Around):
        return input_width(network.network)
    if not hasattr(network, "embedding"):
        raise ValueError(
            f"{type(network).__name__} does not say how wide its inputs are: pick a network with "
            "an embedding, such as SharedBottom."
        )
    return int(network.embedding.width)
