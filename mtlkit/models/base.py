"""What every architecture is: inputs embedded, one set of logits a task, losses and predictions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from mtlkit.data.agreement import require_schema
from mtlkit.data.batch import Batch
from mtlkit.layers.levels import ExpertLevel
from mtlkit.layers.table import EmbeddingTable
from mtlkit.layers.towers import Towers
from mtlkit.losses.tasks import masked_mass, masked_mean, row_losses, task_losses
from mtlkit.models.arguments import Arguments, OwnSignature, remember
from mtlkit.schema import Schema, SchemaError, Task

Model = TypeVar("Model", bound="MultiTaskModel")
Inputs = Callable[[Schema, int], Any]  # (schema, embedding_dim) -> a module with ``width``


class MultiTaskModel(nn.Module):
    """Base of all models: ``forward(batch)`` returns {task: logits}, in two steps.

    ``embed(batch)`` gives the row's input vector, (batch, width); ``outputs(x, batch)`` gives
    {task: logits}, each (batch,), or (batch, classes) for a multiclass task. A subclass sets
    ``self.embedding`` (or overrides ``embed``) and ``self.towers``, and writes ``represent``, where
    tasks share layers. One with more between the two writes ``decode`` as well, and names in
    ``task_modules`` all modules that belong to one task alone and in ``scenario_modules`` those of
    one scenario; all else counts as shared. A subclass may also write ``outputs`` whole.
    ``step`` is the number of optimiser steps that ``fit`` has done, for what changes as training
    goes on; after a run it is that of the weights that the model ends with.
    """

    separate: bool = False  # True: networks apart, and ``fit`` keeps each one's own best epoch
    batch_statistics: bool = False  # True: in training a row's outputs depend on its whole batch
    has_page_losses: bool = False  # True: what a row pays depends on its page, ``Batch.group``
    step: int = 0  # optimiser steps of its last run; ``fit`` alone counts them

    embedding: Any  # a module with ``width``
    towers: Towers
    made_with: Arguments  # what the class was called with, as far as it can be named
    __signature__ = OwnSignature()

    def __new__(cls, *args: Any, **options: Any) -> Any:
        model = super().__new__(cls)
        model.__dict__["made_with"] = remember(args, options)
        return model

    def __init__(self, schema: Schema) -> None:
        require_schema(schema, type(self).__name__)
        super().__init__()
        self.schema = schema

    def embed(self, batch: Batch) -> Tensor:
        """Input vector of every row, (batch, width)."""
        return self.embedding(batch)

    def outputs(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits of every task from the input vector (batch, width)."""
        return self.decode(self.represent(x, batch), batch)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The representation that all tasks read, one or more tensors; here x as it is."""
        return (x,)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        """Logits of every task from what ``represent`` returns; here the towers on its first."""
        if hasattr(self, "towers"):
            return self.towers(shared[0])
        if type(self).outputs is MultiTaskModel.outputs:
            raise NotImplementedError(
                f"{type(self).__name__} must set self.towers or define decode(shared, batch)."
            )
        return self.outputs(shared[0], batch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.outputs(self.embed(batch), batch)

    @property
    def writes_forward(self) -> bool:
        """Whether it has a ``forward`` of its own, and so no two steps that are known."""
        return type(self).forward is not MultiTaskModel.forward

    def losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Loss of every task, (task,): the mean of ``row_losses`` over ``loss_rows``.

        Where the batch has weights, their weighted mean. A task without such a row (that weighs
        anything) gives 0 and no gradient, never NaN.
        """
        if type(self).row_losses is MultiTaskModel.row_losses and not self.has_extra(logits):
            return task_losses(self.schema, logits, batch)  # the same, tasks of a kind together
        return masked_mean(self.row_losses(logits, batch), self.loss_rows(batch), batch.weight)

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Every row's loss of every task, (batch, task); see ``mtlkit.losses.row_losses``.

        Through ``torch.func`` they give the gradient of each row: a row's loss depends on no other
        row, as long as the model has no statistics of the batch and no losses of pages. A subclass
        with losses of its own ends with ``with_extra``, or what a network inside pays is lost.
        """
        return self.with_extra(row_losses(self.schema, logits, batch), logits, batch)

    def with_extra(self, rows: Tensor, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Row losses, (batch, task), and what ``forward`` gives for them beside the logits.

        A network whose rows pay something more, such as a penalty, gives it as the output
        ``extra_name(task)``, (batch,), for some tasks or for all. It counts in ``loss_rows``, so
        it is a mean over the same rows as the task's loss, wherever the network stands inside
        another model.
        """
        if not self.has_extra(logits):
            return rows
        nothing = rows.new_zeros(rows.shape[0])
        extra = [logits.get(extra_name(name), nothing) for name in self.schema.task_names]
        return rows + torch.where(self.loss_rows(batch), torch.stack(extra, dim=1), 0.0)

    def has_extra(self, logits: Mapping[str, Tensor]) -> bool:
        """Whether outputs hold an extra loss of a task."""
        return any(extra_name(name) in logits for name in self.schema.task_names)

    def loss_rows(self, batch: Batch) -> Tensor:
        """The rows that each task's loss is the mean over, bool (batch, task)."""
        return batch.observed

    def loss_mass(self, batch: Batch) -> Tensor:
        """How many rows each task's loss is the mean over, or what they weigh, (task,)."""
        return masked_mass(self.loss_rows(batch), batch.weight)

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Predictions in natural units, in float32 at least.

        Binary: probability, given the parent's label is 1 where the task has ``given``; multiclass:
        probabilities (batch, classes); regression: the label's unit; counts: the rate.
        """
        logits = self(batch)
        return {task.name: natural_units(task, logits[task.name]) for task in self.schema.tasks}

    def task_modules(self, name: str) -> list[nn.Module]:
        """Modules that serve task ``name`` alone; an unknown task raises ``SchemaError``.

        Here the task's tower, or none where the model has no ``towers``: then all is shared.
        """
        self.schema.task_index(name)
        return [self.towers.of(name)] if hasattr(self, "towers") else []

    def scenario_modules(self, name: str) -> list[nn.Module]:
        """Modules that serve scenario ``name`` alone; an unknown one raises ``SchemaError``."""
        self.schema.scenario_index(name)
        return []

    def expert_levels(self) -> Sequence[ExpertLevel]:
        """Whose its experts are and which gates weigh them, level by level, for ``gate_map``.

        Here ``ValueError``: a network of experts defines it.
        """
        no_experts(self, "expert_levels()")

    def expert_outputs(self, batch: Batch) -> Sequence[Tensor]:
        """Outputs of the experts of each level, (expert, batch, width), for ``expert_activity``.

        Here ``ValueError``: a network of experts defines it.
        """
        no_experts(self, "expert_outputs(batch)")

    def extend(self: Model, *, scenario: str) -> Model:
        """Return a copy that knows one scenario more; this model stays as it is.

        Nothing that was learned moves: predictions for the known scenarios and the unknown one are
        the same, and rows of the new one get those of the unknown one until they are trained. The
        copy takes the tables of ``encoder.extend(scenario=...)``. In a join the scenario is
        "table/scenario". Raises ``SchemaError`` for a scenario that is known, and for a model that
        cannot grow.
        """
        grown = copy.deepcopy(self)
        for module in list(grown.modules()):
            add: Any = getattr(module, "add_scenario", None)
            if add is not None:
                add(scenario)
        return grown

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more, in place; ``extend`` calls it, and that of every module inside.

        A model with modules of single scenarios, or with inputs of another kind, writes its own and
        calls this one as well. Raises ``SchemaError`` where it does not.
        """
        inputs = getattr(self, "embedding", self)
        own = any(self.scenario_modules(name) for name in self.schema.scenario_names)
        written = type(self).add_scenario is not MultiTaskModel.add_scenario
        for part, lacks in ((inputs, not hasattr(inputs, "add_scenario")), (self, own)):
            if lacks and not written:
                raise SchemaError(
                    f"{type(part).__name__} cannot tell how to know scenario {scenario!r}: it must "
                    "define add_scenario(scenario)."
                )
        self.schema = self.schema.extend(scenario=scenario)

    def task_parameters(self, name: str) -> list[nn.Parameter]:
        """Parameters that serve task ``name`` alone."""
        return [p for module in self.task_modules(name) for p in module.parameters()]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that serve more than one task: all that belong to no task alone."""
        owned = {id(p) for name in self.schema.task_names for p in self.task_parameters(name)}
        return [p for p in self.parameters() if id(p) not in owned]

    def embeddings(self) -> Iterator[EmbeddingTable]:
        """The embedding tables inside the model."""
        return (m for m in self.modules() if isinstance(m, EmbeddingTable))

    def parameter_count(self) -> dict[str, int]:
        """Numbers of parameters: embedding tables, shared layers, layers of single scenarios (of
        one task or of several), layers of single tasks, total."""
        tables = {id(p) for e in self.embeddings() for p in e.parameters(recurse=False)}
        of_scenarios = {
            id(p)
            for name in self.schema.scenario_names
            for module in self.scenario_modules(name)
            for p in module.parameters()
        }
        for module in self.modules():  # parameters that hold all scenarios' values in one
            of_scenarios |= {id(getattr(module, name)) for name in getattr(module, "stacked", ())}
        shared = {id(p) for p in self.shared_parameters()}
        count = {"embedding": 0, "shared": 0, "scenarios": 0, "tasks": 0, "total": 0}
        for p in self.parameters():
            if id(p) in tables:
                part = "embedding"
            elif id(p) in of_scenarios:
                part = "scenarios"
            else:
                part = "shared" if id(p) in shared else "tasks"
            count[part] += p.numel()
            count["total"] += p.numel()
        return count


def extra_name(task: str) -> str:
    """The output under which ``forward`` gives what rows pay in addition to a task's loss."""
    return f"{task} extra loss"


def no_experts(module: nn.Module, method: str) -> NoReturn:
    """Refuse a network that does not say what its experts are."""
    told = {
        "expert_levels()": "one mtlkit.layers.ExpertLevel a level",
        "expert_outputs(batch)": "one tensor (expert, batch, width) a level",
    }
    raise ValueError(
        f"{type(module).__name__} has no experts that mtlkit knows of. A network of experts "
        f"defines {method}, which returns {told[method]}."
    )


def natural_units(task: Task, z: Tensor) -> Tensor:
    """Turn raw outputs z into probabilities, labels' units or rates, by the task's kind."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    if task.kind == "binary":
        return z.sigmoid()
    if task.kind == "multiclass":
        return z.softmax(-1)  # (batch, classes)
    if task.is_count:
        return z.exp()
    value = task.location + task.scale * z
    return value.expm1() if task.log1p else value
