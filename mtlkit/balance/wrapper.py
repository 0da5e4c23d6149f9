"""A balancer around another one: run as the inner rule is, unless it says otherwise."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.schema import Schema


class Wrapper(Balancer):
    """Base of balancers around ``self.balancer``: everything is passed on to the inner rule.

    What a rule needs (a Gramian, gradients, halves, a second pass) and where its weights reach is
    the inner rule's; a subclass overrides the property where it needs more, and ``weights`` and
    ``combine`` where it changes what the inner rule sees or makes. The inner rule's memory is part
    of its own: a subclass with more lists it in ``memory`` beside "balancer".
    """

    memory: ClassVar[tuple[str, ...]] = ("balancer",)

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer

    @property
    def needs_gramian(self) -> bool:  # type: ignore[override]
        return self.balancer.needs_gramian

    @property
    def needs_gradients(self) -> bool:  # type: ignore[override]
        return self.balancer.needs_gradients

    @property
    def needs_halves(self) -> bool:  # type: ignore[override]
        return self.balancer.needs_halves

    @property
    def weighs_heads(self) -> bool:  # type: ignore[override]
        return self.balancer.weighs_heads

    @property
    def needs_second_pass(self) -> bool:  # type: ignore[override]
        return self.balancer.needs_second_pass

    @property
    def parameters(self) -> tuple[str, ...] | None:  # type: ignore[override]
        return self.balancer.parameters

    def bind(self, schema: Schema) -> Wrapper:
        """Learn the tasks' names, for the inner rule as well."""
        super().bind(schema)
        self.balancer.bind(schema)
        return self

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """The inner rule's weights (task,), detached."""
        self.last_weights = self.balancer.weights(losses, gramian)
        return self.last_weights

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """What the inner rule makes of the gradients, (number,)."""
        update = self.balancer.combine(losses, gradients)
        self.last_weights = self.balancer.last_weights
        return update

    def after_step(self, losses: Tensor) -> None:
        """Passed on to the inner rule."""
        self.balancer.after_step(losses)

    def end_epoch(self, losses: Tensor) -> None:
        """Passed on to the inner rule."""
        self.balancer.end_epoch(losses)
