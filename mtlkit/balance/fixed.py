"""Fixed loss weights: the plain sum, and the weights you choose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.schema import Schema, SchemaError


class EqualWeights(Balancer):
    """w_k = 1 for every task: the total loss is the plain sum of the task losses."""

    needs_gramian = False

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """Weights (task,), detached."""
        return torch.ones_like(losses.detach())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore: the weights never change."""


class FixedWeights(Balancer):
    """w_k as given: the total loss is sum of w_k L_k. A task that is not named gets weight 1.

    ``weights`` is {task: weight}. The order of tasks is the schema's: ``fit`` first calls
    ``bind(schema)``. Raises ``ValueError`` for a weight that is negative or not finite, and
    ``SchemaError`` for a task that the schema lacks.
    """

    needs_gramian = False

    def __init__(self, weights: Mapping[str, float]) -> None:
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(
                    f"The weight of task {name!r} must be finite and 0 or more, not {weight!r}."
                )
        self.by_task = {name: float(weight) for name, weight in weights.items()}
        self._names: tuple[str, ...] | None = None

    @classmethod
    def from_schema(cls, schema: Schema) -> FixedWeights:
        """The default weights that the schema's tasks carry."""
        return cls({task.name: task.weight for task in schema.tasks}).bind(schema)

    def bind(self, schema: Schema) -> FixedWeights:
        """Fix the order of the weights to the schema's tasks."""
        unknown = sorted(set(self.by_task) - set(schema.task_names))
        if unknown:
            raise SchemaError(
                f"FixedWeights names task {unknown[0]!r}; this schema has "
                f"{', '.join(schema.task_names)}."
            )
        self._names = schema.task_names
        return self

    def weights(self, losses: Tensor, gramian: Tensor | None = None) -> Tensor:
        """Weights (task,), detached."""
        if self._names is None:
            raise RuntimeError("FixedWeights does not know the order of tasks: call bind(schema).")
        ordered = [self.by_task.get(name, 1.0) for name in self._names]
        return torch.tensor(ordered, dtype=losses.dtype, device=losses.device)

    def state_dict(self) -> dict[str, Any]:
        return {"by_task": dict(self.by_task)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the weights of ``state_dict``."""
        self.by_task = {name: float(weight) for name, weight in state["by_task"].items()}
