"""A module of one's own behind the interface of all models, and what PyTorch wraps around one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.levels import ExpertLevel
from mtlkit.models.base import MultiTaskModel, no_experts
from mtlkit.schema import Schema, SchemaError

ROWS_TO_JUDGE = 16  # fewer logits may lie between 0 and 1 by chance


class WrappedModule(MultiTaskModel):
    """``module(batch)`` as the logits of every task of ``schema``; made by ``wrap``."""

    def __init__(
        self,
        module: nn.Module,
        schema: Schema,
        heads: Mapping[str, nn.Module | Iterable[nn.Module]],
    ) -> None:
        super().__init__(schema)
        self.module = module
        self.heads = {
            name: [own] if isinstance(own, nn.Module) else list(own) for name, own in heads.items()
        }  # a plain dictionary: they are part of the module already
        self.judged = False

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        found = as_logits(self.schema, self.module(batch), batch, type(self.module).__name__)
        if not self.judged and not torch.compiler.is_compiling():
            self.judged = True
            _warn_of_chances(self.schema, found)
        return found

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more; the module inside must have ``add_scenario(scenario)`` itself."""
        if not hasattr(self.module, "add_scenario"):
            raise SchemaError(
                f"{type(self.module).__name__} cannot tell how to know scenario {scenario!r}: it "
                "must define add_scenario(scenario), which does nothing where the module does not "
                "read batch.scenario itself."
            )
        super().add_scenario(scenario)

    def task_modules(self, name: str) -> list[nn.Module]:
        """The modules that ``wrap`` was told to be one task's heads."""
        self.schema.task_index(name)
        return self.heads.get(name, [])

    def expert_levels(self) -> Sequence[ExpertLevel]:
        """Those of the module inside, where it says so."""
        own: Any = getattr(self.module, "expert_levels", None)
        return no_experts(self.module, "expert_levels()") if own is None else own()

    def expert_outputs(self, batch: Batch) -> Sequence[Tensor]:
        own: Any = getattr(self.module, "expert_outputs", None)
        return no_experts(self.module, "expert_outputs(batch)") if own is None else own(batch)


def wrap(
    module: nn.Module,
    schema: Schema,
    *,
    heads: Mapping[str, nn.Module | Iterable[nn.Module]] | None = None,
) -> WrappedModule:
    """A plain module as a model for ``fit``, ``evaluate``, ``compare`` and every balancer.

    ``module(batch)`` gets a ``Batch`` and returns logits: {task: (batch,) or (batch, 1), for a
    multiclass task (batch, classes)}, or one tensor (batch, outputs) with the tasks' outputs side
    by side in the schema's order. ``heads`` {task: module or modules}: the parts of ``module`` that
    serve one task alone; all else counts as shared, and without ``heads`` everything does.

    Raises ``SchemaError`` for something that is no module, and for heads of an unknown task or with
    parameters that are not the module's own or serve two tasks. Outputs of another shape are
    refused at the first batch, by a sentence that names the task; logits that all lie between 0 and
    1 are warned of, since they look like chances.
    """
    if isinstance(module, MultiTaskModel):
        raise SchemaError(f"{type(module).__name__} is a model already: train it as it is.")
    if not isinstance(module, nn.Module):
        raise SchemaError(f"wrap needs a torch.nn.Module, not a {type(module).__name__}.")
    wrapped = WrappedModule(module, schema, heads or {})
    inside = {id(p) for p in module.parameters()}
    seen: dict[int, str] = {}
    for name, modules in wrapped.heads.items():
        schema.task_index(name)
        for parameter in (p for own in modules for p in own.parameters()):
            if id(parameter) not in inside:
                raise SchemaError(f"The head of task {name!r} is not part of the module.")
            if seen.setdefault(id(parameter), name) != name:
                raise SchemaError(
                    f"Tasks {seen[id(parameter)]!r} and {name!r} have a parameter in common in "
                    "their heads: what two tasks use is shared, leave it out of heads."
                )
    return wrapped


def as_logits(schema: Schema, found: Any, batch: Batch, who: str) -> dict[str, Tensor]:
    """What a module returned as {task: logits}. Raises ``SchemaError`` for other shapes."""
    rows = batch.rows
    if isinstance(found, Tensor):
        width = sum(task.outputs for task in schema.tasks)
        if found.dim() != 2 or found.shape[1] != width:
            raise SchemaError(
                f"{who} returned one tensor of shape {tuple(found.shape)}; for the tasks "
                f"{', '.join(schema.task_names)} it must be ({rows}, {width}), a column an output."
            )
        parts = found.split([task.outputs for task in schema.tasks], dim=1)
        found = dict(zip(schema.task_names, parts, strict=True))
    if not isinstance(found, Mapping):
        raise SchemaError(
            f"{who} returned a {type(found).__name__}; it must return {{task: logits}} or one "
            f"tensor (batch, outputs), for the tasks {', '.join(schema.task_names)}."
        )
    return {task.name: _one(found, task, rows, who) for task in schema.tasks}


def _one(found: Mapping[str, Any], task: Any, rows: int, who: str) -> Tensor:
    if task.name not in found:
        raise SchemaError(
            f"{who} returned no logits for task {task.name!r}; it returned "
            f"{', '.join(map(str, found)) or 'nothing'}."
        )
    z = found[task.name]
    wanted = (rows, task.outputs) if task.outputs > 1 else (rows,)
    if not isinstance(z, Tensor):
        raise SchemaError(
            f"{who} returned a {type(z).__name__} for task {task.name!r}; it must be a tensor "
            f"{wanted}."
        )
    if task.outputs == 1 and tuple(z.shape) == (rows, 1):
        z = z.squeeze(1)
    if tuple(z.shape) != wanted:
        raise SchemaError(
            f"{who} returned logits of shape {tuple(z.shape)} for task {task.name!r}; they must "
            f"have the shape {wanted}."
        )
    return z


def _warn_of_chances(schema: Schema, found: Mapping[str, Tensor]) -> None:
    for task in schema.tasks:
        z = found[task.name].detach()
        if task.is_binary and len(z) >= ROWS_TO_JUDGE and bool(((z >= 0) & (z <= 1)).all()):
            warnings.warn(
                f"All {len(z)} outputs of task {task.name!r} lie between 0 and 1: they look like "
                "chances. A model returns logits; leave the last sigmoid out.",
                stacklevel=2,
            )


def unwrapped(model: Any) -> tuple[Callable[[Batch], dict[str, Tensor]], MultiTaskModel]:
    """(what computes logits, the model): both the model itself, or what ``torch.compile`` made of
    it and the model inside.

    A ``DataParallel`` is taken apart with a warning: it would split batches over the devices of one
    process, which ``fit`` does not support. Raises ``SchemaError`` for a module that is no model.
    """
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
        warnings.warn(
            f"fit trains the model inside of {type(inner).__name__}, on one device: for several "
            "devices run one process for each (torchrun) and a comparison over them.",
            stacklevel=3,
        )
        inner = inner.module
    if not isinstance(inner, MultiTaskModel):
        raise SchemaError(
            f"{type(inner).__name__} is no model of tasks: fit(mtlkit.wrap(module, table.schema), "
            "...) trains a plain module."
        )
    return (model if hasattr(model, "_orig_mod") else inner), inner
