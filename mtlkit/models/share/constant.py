"""The model that reads nothing: one number a task, the floor of every comparison."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import SchemaError, Task


class Constant(MultiTaskModel):
    """Predicts for every row what was usual in training, whatever the row says.

    Binary: the share of positives; multiclass: each class's share; regression: the mean, of
    log(1 + label) for a log1p task; counts: the mean count, a censored count taken as it stands. So
    each value is the one that makes the task's training loss least (but for censored counts). Only
    observed labels of ``train`` count, each as much as its row weighs. There is nothing to train:
    the values are in closed form. A model that does not beat it has learned nothing. Raises
    ``SchemaError`` for a task without labels.
    """

    def __init__(self, train: Table) -> None:
        super().__init__(train.schema)
        self.logits = nn.ParameterList()
        for task in train.schema.tasks:
            seen = train.mask(task.name)
            labels = train.label(task.name)[seen].double()
            weight = None if train.weight is None else train.weight[seen].double()
            if not len(labels) or (weight is not None and not bool(weight.any())):
                raise SchemaError(
                    f"Task {task.name!r} has no observed label in the training rows, so nothing is "
                    "known that could be predicted; drop the task or add rows."
                )
            self.logits.append(nn.Parameter(_usual(task, labels, weight), requires_grad=False))

    def embed(self, batch: Batch) -> Tensor:
        """Nothing of the row: (batch, 0)."""
        return batch.dense.new_empty(batch.rows, 0)

    def outputs(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {
            task.name: value.expand(x.shape[0], -1)
            if task.outputs > 1
            else value.expand(x.shape[0])
            for task, value in zip(self.schema.tasks, self.logits, strict=True)
        }

    def task_modules(self, name: str) -> list[nn.Module]:
        self.schema.task_index(name)
        return []

    def task_parameters(self, name: str) -> list[nn.Parameter]:
        """The one value of the task."""
        return [self.logits[self.schema.task_index(name)]]


def _mean(values: Tensor, weight: Tensor | None) -> float:
    if weight is None:
        return float(values.mean())
    return float((weight * values).sum() / weight.sum())


def _usual(task: Task, labels: Tensor, weight: Tensor | None) -> Tensor:
    """The raw output, (1,) or (classes,), whose natural value is the usual one."""
    tiny = 1e-6  # keeps the logarithms finite where a class or a positive never occurs
    if task.kind == "multiclass":
        shares = torch.bincount(labels.long(), weight, minlength=task.outputs)
        shares = shares / (len(labels) if weight is None else weight.sum())
        return shares.clamp(min=tiny).log().float()
    if task.log1p:  # the loss and the measure of selection are those of log(1 + label)
        return torch.tensor([(_mean(labels.log1p(), weight) - task.location) / task.scale])
    mean = _mean(labels, weight)
    if task.is_binary:
        mean = min(max(mean, tiny), 1 - tiny)
        return torch.tensor([math.log(mean / (1 - mean))])
    if task.is_count:
        return torch.tensor([math.log(max(mean, tiny))])
    return torch.tensor([(mean - task.location) / task.scale])
