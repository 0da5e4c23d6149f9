"""One tower a task: where the shared part of a network ends and each task's own begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mtlkit.layers.mlp import MLP
from mtlkit.schema import Schema, Task


def head_logits(task: Task, output: Tensor) -> Tensor:
    """(batch, outputs) -> (batch,) for a single output, unchanged for a multiclass task."""
    return output if task.kind == "multiclass" else output.squeeze(-1)


class Towers(nn.ModuleList):
    """One small network a task: hidden layers with ReLU, then a linear output layer.

    (batch, inputs) -> {task: logits}, each (batch,), or (batch, classes) for a multiclass task.
    ``towers(h)`` gives all tasks the same input, ``towers({task: h_task})`` each its own.
    ``towers.of(name)`` is one task's tower; an unknown task raises ``SchemaError``.
    """

    def __init__(
        self, schema: Schema, inputs: int, sizes: Sequence[int] = (), *, dropout: float = 0.0
    ) -> None:
        super().__init__(
            MLP(inputs, sizes, outputs=task.outputs, dropout=dropout) for task in schema.tasks
        )
        self.schema = schema

    def __getitem__(self, index: int | slice) -> Any:
        """One tower by its task's number; a slice is a plain list of modules."""
        towers = nn.ModuleList.__iter__(self)
        return list(towers)[index] if isinstance(index, slice) else super().__getitem__(index)

    def of(self, name: str) -> nn.Module:
        """The tower of one task."""
        return self[self.schema.task_index(name)]

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more (``MultiTaskModel.extend``): towers belong to tasks alone."""
        self.schema = self.schema.extend(scenario=scenario)

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = {}
        for task, tower in zip(self.schema.tasks, self, strict=True):
            own = x if isinstance(x, Tensor) else x[task.name]
            logits[task.name] = head_logits(task, tower(own))
        return logits
