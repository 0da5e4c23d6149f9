"""Models that train themselves, for ``compare``: counting rules, and models of one task each."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit import fit
from mtlkit.data.batch import Batch
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import Schema

Part = tuple[Callable[[Schema], MultiTaskModel], dict[str, Any]]  # how it is made, options of fit


def newest(batch: Batch, name: str, back: int) -> Tensor:
    """Ids of the entry ``back`` places from the end of each row's sequence, 0 where none is."""
    values, offsets = batch.sequences[name]
    place = offsets[1:] - back
    there = place >= offsets[:-1]
    padded = torch.cat([values, values.new_zeros(1)])
    return torch.where(there, padded[torch.where(there, place, len(values))], 0)


class Counts(MultiTaskModel):
    """P(next category | the last ``memory`` categories), from counts in the training rows.

    Each memory is drawn towards the next shorter one, as if that had been seen ``prior`` times.
    Intent and purchase are their shares in the training rows, the same for everyone.
    """

    separate = True

    def __init__(self, schema: Schema, *, memory: int = 1, prior: float = 5.0) -> None:
        super().__init__(schema)
        self.memory, self.prior = memory, prior
        field = schema.categorical[schema.categorical_names.index("category")]
        self.ids, self.classes = field.size, schema.task("next_category").outputs
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # so that it has a device
        self.shares: dict[str, Tensor] = {}

    def train_on(self, train: Table, validation: Table | None = None, *, seed: int = 0) -> None:
        """Count the training rows."""
        batch = train.batch(torch.arange(len(train)))
        label = batch.labels[:, self.schema.task_index("next_category")].long()
        self.shares = {
            task.name: shares(batch.labels[:, place], task.classes or 2)
            for place, task in enumerate(self.schema.tasks)
        }
        chances = self.shares["next_category"]
        self.levels = [chances]
        for memory in range(1, self.memory + 1):
            counts = torch.zeros(self.ids**memory, self.classes)
            counts.index_put_((self.context(batch, memory), label), torch.ones(()), accumulate=True)
            shorter = torch.arange(self.ids**memory) % self.ids ** (memory - 1)
            before = self.levels[-1].reshape(-1, self.classes)[shorter]
            self.levels.append(self.smoothed(counts, before))

    def smoothed(self, counts: Tensor, before: Tensor) -> Tensor:
        """Shares of counts (context, class), drawn towards ``before`` of the same shape."""
        return (counts + self.prior * before) / (counts.sum(1, keepdim=True) + self.prior)

    def context(self, batch: Batch, memory: int) -> Tensor:
        """A number for the last ``memory`` categories of each row: the last one counts least."""
        found = torch.zeros(batch.rows, dtype=torch.long)
        for back in range(memory, 0, -1):
            found = found * self.ids + newest(batch, "history_category", back)
        return found

    def next_category(self, batch: Batch) -> Tensor:
        """Chances of each category, (row, category)."""
        return self.levels[-1].reshape(-1, self.classes)[self.context(batch, self.memory)]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = {}
        for task in self.schema.tasks:
            chances = self.shares[task.name].expand(batch.rows, -1)
            if task.name == "next_category":
                chances = self.next_category(batch)
            z = chances.clamp(min=1e-6).log()
            logits[task.name] = z if task.outputs > 1 else z[:, 1] - z[:, 0]
        return logits


class SameAgain(Counts):
    """The next category is the last one again: with the chance that it was so in training.

    The rest of the chance is spread by how often each other category comes next.
    """

    def train_on(self, train: Table, validation: Table | None = None, *, seed: int = 0) -> None:
        """Count how often the category stays, and how often each comes next."""
        super().train_on(train, validation, seed=seed)
        batch = train.batch(torch.arange(len(train)))
        label = batch.labels[:, self.schema.task_index("next_category")].long()
        self.stays = float((newest(batch, "history_category", 1) - 1 == label).float().mean())

    def next_category(self, batch: Batch) -> Tensor:
        """Chances of each category, (row, category); id 0, the unknown, has those of all."""
        last = newest(batch, "history_category", 1)
        usual = self.shares["next_category"].expand(batch.rows, -1)
        own = nn.functional.one_hot((last - 1).clamp(min=0), self.classes).float()
        others = usual * (1 - own)
        chances = self.stays * own + (1 - self.stays) * others / others.sum(1, keepdim=True)
        return torch.where((last > 0).unsqueeze(1), chances, usual)


def shares(label: Tensor, classes: int) -> Tensor:
    """The share of each class, (class,)."""
    return torch.bincount(label.long(), minlength=classes).float() / max(len(label), 1)


class Apart(MultiTaskModel):
    """One model a task; each trains on its own task alone, as suits it.

    parts {task: (make, options)}: ``make(schema)`` gives a model of a schema with that task alone,
    options are those of ``fit``.
    """

    separate = True

    def __init__(self, schema: Schema, parts: Mapping[str, Part]) -> None:
        super().__init__(schema)
        self.options = {task: options for task, (_, options) in parts.items()}
        self.models = nn.ModuleDict({
            task: make(replace(schema, tasks=(schema.task(task),)))
            for task, (make, _) in parts.items()
        })  # fmt: skip

    def train_on(self, train: Table, validation: Table | None = None, *, seed: int = 0) -> None:
        """Train each model; it keeps the epoch that is best for its task."""
        for task, options in self.options.items():
            model: Any = self.models[task]
            later = None if validation is None else validation.select_tasks([task])
            fit(model, train.select_tasks([task]), later, seed=seed, progress=False, **options)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {task: model(batch)[task] for task, model in self.models.items()}
