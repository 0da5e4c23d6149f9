"""A trained model with all that it needs to read new rows, in one file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from mtlkit.data.agreement import require_inputs, require_tasks
from mtlkit.data.encode import Encoder
from mtlkit.data.frames import as_frame
from mtlkit.data.table import Table
from mtlkit.models import MultiTaskModel, Trees, wrap
from mtlkit.models.wrap import WrappedModule, unwrapped
from mtlkit.own.blueprint import CannotBeNamed, described, rebuilt
from mtlkit.own.envelope import read_envelope, write_envelope
from mtlkit.own.prepared import Prepared
from mtlkit.own.strangers import warn_of_strangers
from mtlkit.schema import Schema, SchemaError
from mtlkit.train.checkpoint import CheckpointError
from mtlkit.train.evaluation import predict
from mtlkit.train.randomness import seeded


class SavedModel:
    """A model and the encoder of its training rows; ``load`` makes it.

    ``model``, ``encoder`` and ``schema`` (the model's) may be read.
    """

    def __init__(self, model: MultiTaskModel, encoder: Encoder) -> None:
        self.model = model
        self.encoder = encoder

    @property
    def schema(self) -> Schema:
        return self.model.schema

    def table(self, frame: Any) -> Table:
        """New rows as a table without labels and keys; ``frame`` is whatever ``as_frame`` reads.

        Labels and other columns that no model reads may be there or not. Unseen values are id 0, an
        unseen scenario is unknown. A column of 20 values or more of which training knew none is
        warned of: it may be written otherwise. Raises ``SchemaError`` that names a missing or unfit
        column.
        """
        frame = as_frame(frame)
        scoring = copy.copy(self.encoder)
        scoring.keys = ()
        labels = {task.name for task in scoring.schema.tasks}
        table = scoring.transform(frame.select(n for n in frame.columns if n not in labels))
        warn_of_strangers(table, frame, self.encoder)
        return table

    def predict(self, frame: Any, batch_size: int = 8192) -> dict[str, np.ndarray]:
        """Predictions in natural units as ``mtlkit.predict``: {task: (row,)}, rows in the frame's
        order; (row, classes) for a multiclass task. Errors as ``table``.

        A task with a parent is predicted given that it happened (``Task.given``): the chance of
        both is the product, ``p["click"] * p["buy"]``.
        """
        return predict(self.model, self.table(frame), batch_size)

    def __repr__(self) -> str:
        return f"SavedModel({type(self.model).__name__}: {', '.join(self.schema.task_names)})"


def save(path: str | Path, model: Any, data: Prepared | Encoder) -> None:
    """Write a trained model and its encoder to one file, whole or not at all.

    ``data`` is what ``prepare`` returned, or the fitted ``Encoder`` of the training rows. The file
    holds the weights, schema, sizes, vocabularies and scales, no rows and no code. A model of the
    registries is made anew from it by name; for any other, ``load`` asks for the module.

    Raises ``SchemaError`` for a module that is no model and for the encoder of another schema, and
    ``ValueError`` for ``Trees``, which are no weights. A path that cannot be written is a
    ``CheckpointError``.
    """
    encoder = data.encoder if isinstance(data, Prepared) else data
    if not isinstance(encoder, Encoder):
        raise SchemaError(
            f"save needs what prepare returned or a fitted Encoder, not a {type(data).__name__}."
        )
    _, model = unwrapped(model)
    if isinstance(model, Trees):
        raise ValueError(
            "Trees are no weights, so that no file can hold them which is safe to load: pickle "
            "them together with the encoder, and unpickle only files that you trust."
        )
    require_inputs(model.schema, encoder.schema, "data")
    require_tasks(model.schema, encoder.schema, "data")
    plan, why = None, ""
    try:
        plan = described(model)
    except CannotBeNamed as error:
        why = str(error)
    inner = model.module if isinstance(model, WrappedModule) else model
    state = inner.state_dict()
    weights = {
        k: v.detach().cpu().clone() if isinstance(v, Tensor) else v for k, v in state.items()
    }
    write_envelope(path, {
        "class": type(inner).__name__, "plan": plan, "why": why,
        "schema": model.schema.to_dict(), "encoder": encoder.state_dict(), "weights": weights,
    })  # fmt: skip


def load(
    path: str | Path,
    *,
    module: nn.Module | Callable[[Schema], nn.Module] | None = None,
    device: str = "cpu",
) -> SavedModel:
    """Read a file of ``save``: ``load(path).predict(frame)`` scores new rows.

    ``module`` is for a model that stands in no registry: a newly made one of the same sizes, or a
    function that makes it of the schema. A plain module is wrapped (``mtlkit.wrap``).

    Tensors and plain values alone are read, never code. Raises ``CheckpointError`` for a file that
    is damaged, of another kind or format, or does not fit ``module``, and for none (also a
    ``FileNotFoundError``).
    """
    found = read_envelope(path)
    try:
        schema = Schema.from_dict(found["schema"])
        encoder = Encoder.from_state_dict(found["encoder"])
        plan, kind, weights = found["plan"], found["class"], dict(found["weights"])
        require_inputs(schema, encoder.schema, "encoder")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no model that can be read: {error}") from error
    if module is not None:
        inner = module if isinstance(module, nn.Module) else module(schema)
        model = _as_model(path, inner, schema)
    elif plan is None:
        raise CheckpointError(
            f"{path} holds the weights of a {kind}, which cannot be made from the file alone "
            f"({found.get('why')}): load(path, module=...) with a new {kind} of the same sizes."
        )
    else:
        try:
            with seeded(0):
                inner = model = rebuilt(plan, schema)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: its {kind} cannot be made anew: {error}.") from error
    _take_weights(path, inner, weights)
    return SavedModel(model.to(device).eval(), encoder)


def _as_model(path: str | Path, module: Any, schema: Schema) -> MultiTaskModel:
    """The caller's module as a model of the stored schema."""
    if not isinstance(module, MultiTaskModel):
        return wrap(module, schema)
    try:
        require_inputs(schema, module.schema, "module")
    except SchemaError as error:
        raise CheckpointError(f"{path} belongs to another model. {error}") from error
    if module.schema.tasks != schema.tasks:
        raise CheckpointError(
            f"{path} has the tasks {schema.tasks}, the module {module.schema.tasks}: make the "
            "module of the stored schema, module=lambda schema: ..."
        )
    return module


def _take_weights(path: str | Path, module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Give a module its stored weights, in the precision that they have."""
    own = module.state_dict(keep_vars=True)
    for name in dict.fromkeys([*weights, *own]):
        there, here = weights.get(name), own.get(name)
        sizes = [tuple(t.shape) if isinstance(t, Tensor) else t is not None for t in (there, here)]
        if sizes[0] != sizes[1]:
            told = ["missing" if size is False else f"of shape {size}" for size in sizes]
            raise CheckpointError(
                f"{path} does not fit {type(module).__name__}: {name!r} is {told[0]} in the file "
                f"and {told[1]} in the module. Make the module with the sizes that it had."
            )
        if isinstance(here, Tensor) and isinstance(there, Tensor):
            here.data = here.data.to(there.dtype)
    module.load_state_dict(weights)
