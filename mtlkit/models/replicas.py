"""Several networks of one shape computed at once, each with weights of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch, take_ragged
from mtlkit.layers.stacked import stack, unstack
from mtlkit.losses.tasks import masked_mass, masked_mean
from mtlkit.models.base import MultiTaskModel


class Replicas(nn.Module):
    """Networks that differ in their weights alone, computed together.

    The weights are stacked, so that a layer of all replicas is one product. A batch holds the rows
    of all replicas one below the other, (replica * batch) rows, each replica as many:
    ``stack_batches`` makes it of one batch a replica. Logits come in the same order.
    A gradient step on ``losses(...).sum()`` is the step of each replica alone, for no weight serves
    two of them; ``update`` writes what was learned into ``models``.

    It pays for small layers and batches, where a step costs calls more than arithmetic:
    ``mtlkit bench replicas``. The first batch is also given to the models themselves, and what
    differs is refused.

    Parameters
    ----------
    models
        Networks of one class, made with the same arguments.

    Raises ``ValueError`` for no models, models of several shapes, or dropout; ``TypeError`` for a
    layer that cannot be stacked or that stands in two places, naming it.
    """

    def __init__(self, models: Sequence[MultiTaskModel]) -> None:
        super().__init__()
        shapes = [
            [(n, p.shape, p.dtype, p.requires_grad) for n, p in m.named_parameters()]
            for m in models
        ]
        if not shapes:
            raise ValueError("models is empty: give one network a replica.")
        for number, (model, shape) in enumerate(zip(models, shapes, strict=True)):
            if type(model) is not type(models[0]) or shape != shapes[0]:
                raise ValueError(
                    f"models[{number}] ({type(model).__name__}) has not the layers of models[0] "
                    f"({type(models[0]).__name__}): replicas differ in their weights alone."
                )
        if models and models[0].has_page_losses:
            raise ValueError(
                f"Replicas of a {type(models[0]).__name__} would mix pages of one number: train "
                "these networks one by one, compare(jobs=)."
            )
        places = [*models[0].named_parameters(remove_duplicate=False)]
        if len(places) > len(shapes[0]):
            twice = ({name for name, _ in places} - {name for name, *_ in shapes[0]}).pop()
            raise TypeError(
                f"{type(models[0]).__name__} uses {twice!r} under another name as well, and "
                "replicas would learn it twice: train these networks one by one, compare(jobs=)."
            )
        self.__dict__["models"] = list(models)  # no part of this module
        self.schema = models[0].schema
        self.whole, self.pairs = stack(models)
        self.seen = False

    @property
    def count(self) -> int:
        """The number of replicas."""
        return len(self.models)

    models: list[MultiTaskModel]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """{task: logits}, (replica * batch,) each, or (replica * batch, classes)."""
        if batch.rows % self.count:
            raise ValueError(
                f"The batch has {batch.rows} rows, which are not {self.count} times as many: every "
                "replica has the same number, one replica below the other."
            )
        if not self.seen:
            self._compare(batch)
        return self._run(batch)

    def _run(self, batch: Batch) -> dict[str, Tensor]:
        x = self.whole.embed(batch).unflatten(0, (self.count, -1))  # (replica, batch, width)
        logits = self.whole.outputs(x, batch)
        return {task: value.flatten(0, 1) for task, value in logits.items()}

    def losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Loss of every task of every replica, (replica, task): each as its model's ``losses``."""
        rows = self._apart(self.whole.row_losses(logits, batch))  # (replica, batch, task)
        counted = self._apart(self.whole.loss_rows(batch))
        if batch.weight is None:
            return masked_mean(rows.movedim(1, 0), counted.movedim(1, 0))
        weight = self._apart(batch.weight)
        each = zip(rows, counted, weight, strict=True)
        return torch.stack([masked_mean(*parts) for parts in each])

    def loss_mass(self, batch: Batch) -> Tensor:
        """How many rows each loss is the mean over, or what they weigh: (replica, task)."""
        counted = self._apart(self.whole.loss_rows(batch))  # (replica, batch, task)
        if batch.weight is None:
            return counted.sum(1)
        each = zip(counted, self._apart(batch.weight), strict=True)
        return torch.stack([masked_mass(*parts) for parts in each])

    def update(self) -> list[MultiTaskModel]:
        """Write the weights into the models that the replicas were made of, and return those."""
        unstack(self.pairs)
        return self.models

    def _apart(self, value: Tensor) -> Tensor:
        return value.unflatten(0, (self.count, -1))

    @torch.no_grad()
    def _compare(self, batch: Batch) -> None:
        """Refuse a network that reads dimensions by number, and so computes something else."""
        self.seen = True
        together = self._run(batch)
        self.update()
        for number in {0, self.count - 1}:
            model: Any = self.models[number]
            place, training = next(self.parameters()).device, model.training
            model.to(place).train(self.training)
            alone = model(rows_of(batch, number, self.count))
            model.train(training)
            for task, value in together.items():
                mine = self._apart(value)[number]
                if mine.shape != alone[task].shape or not torch.allclose(
                    mine, alone[task], rtol=1e-3, atol=1e-4, equal_nan=True
                ):
                    raise TypeError(
                        f"{type(model).__name__} gives replica {number} other logits of "
                        f"{task!r} than alone: its code reads dimensions by their number, so count "
                        "them from the end, or train these networks one by one."
                    )


def rows_of(batch: Batch, number: int, count: int) -> Batch:
    """The rows of one of ``count`` replicas."""
    size = batch.rows // count
    index = torch.arange(number * size, (number + 1) * size, device=batch.scenario.device)
    columns = {
        name: value[index] for name, value in vars(batch).items() if isinstance(value, Tensor)
    }
    sequences = {name: take_ragged(*value, index) for name, value in batch.sequences.items()}
    return Batch(**{**vars(batch), **columns, "sequences": sequences})
