"""A model around another one: everything is asked of the network inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.levels import ExpertLevel
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import SchemaError

Network = Callable[..., MultiTaskModel]  # called with a schema (and sizes), it makes a model


class Around(MultiTaskModel):
    """Base of what stands around any sharing model: links between tasks, and scenarios.

    A subclass makes ``self.network`` and overrides the step that it changes.
    """

    network: MultiTaskModel

    def embed(self, batch: Batch) -> Tensor:
        return self.network.embed(batch)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return self.network.represent(x, batch)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        return self.network.decode(shared, batch)

    def task_modules(self, name: str) -> list[nn.Module]:
        return self.network.task_modules(name)

    def scenario_modules(self, name: str) -> list[nn.Module]:
        return self.network.scenario_modules(name)

    def expert_levels(self) -> Sequence[ExpertLevel]:
        return self.network.expert_levels()

    def expert_outputs(self, batch: Batch) -> Sequence[Tensor]:
        return self.network.expert_outputs(batch)


def require_no_pages(network: MultiTaskModel, outer: nn.Module) -> None:
    """Refuse a network whose losses of pages ``outer``, which has losses of its own, would drop."""
    if network.has_page_losses:
        who = type(outer).__name__
        raise SchemaError(
            f"{type(network).__name__} inside {who} would lose its losses of pages: put it around "
            f"the whole, RankedPages({who}(...), losses)."
        )
