"""How a model is made, in plain values: a name of the registries, and its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mtlkit.layers import FieldEmbedding, field_inputs
from mtlkit.models import ADAPTING, LINKS, SHARING, MultiTaskModel
from mtlkit.models.arguments import Arguments, Unnamed
from mtlkit.schema import Schema


def names() -> dict[str, Any]:
    """Whatever a file may name: the architectures of the registries, and what makes inputs."""
    own = {"FieldEmbedding": FieldEmbedding, "field_inputs": field_inputs}
    return {**SHARING, **LINKS, **ADAPTING, **own}


class CannotBeNamed(ValueError):
    """A model is made with something that no file can name; the message says with what."""


def described(model: MultiTaskModel) -> dict[str, Any]:
    """Name and arguments of a model as plain values; a schema among them is the model's own.

    Raises ``CannotBeNamed`` for a class of no registry and for an argument of the caller's own.
    """
    kind = _name(type(model))
    if kind is None or kind not in {**SHARING, **LINKS, **ADAPTING}:
        raise CannotBeNamed(f"{type(model).__name__} stands in no registry of mtlkit")
    return _call(kind, model.made_with, type(model).__name__)


def rebuilt(plan: Mapping[str, Any], schema: Schema) -> MultiTaskModel:
    """The model that ``described`` wrote down, with new weights, for ``schema``.

    Raises ``ValueError`` for a name that this mtlkit does not have, and whatever a class raises for
    arguments that it does not take.
    """
    model = _made(plan, schema)()
    if not isinstance(model, MultiTaskModel):
        raise ValueError(f"{plan['call']!r} is no architecture")
    return model


def _name(value: Any) -> str | None:
    return next((name for name, known in names().items() if known is value), None)


def _call(name: str, arguments: Arguments, owner: str) -> dict[str, Any]:
    args, options = arguments
    return {
        "call": name,
        "args": [_plain(value, f"argument {i + 1} of {owner}") for i, value in enumerate(args)],
        "options": {k: _plain(value, f"{k}= of {owner}") for k, value in options.items()},
    }


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Unnamed):
        raise CannotBeNamed(f"{where} is of your own: {value.kind}")
    if isinstance(value, Schema):
        return {"the model's": "schema"}
    if isinstance(value, list):
        return [_plain(entry, where) for entry in value]
    if isinstance(value, dict):
        return {"dict": {name: _plain(entry, where) for name, entry in value.items()}}
    called = value.func if isinstance(value, partial) else value
    name = _name(called)
    if name is None:
        raise CannotBeNamed(f"{where} is {getattr(called, '__name__', called)}")
    if isinstance(value, partial):
        return _call(name, (list(value.args), value.keywords), f"{where}, {called.__name__}")
    return {"named": name}


def _made(value: Any, schema: Schema) -> Any:
    if isinstance(value, list):
        return [_made(entry, schema) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if "dict" in value:
        return {name: _made(entry, schema) for name, entry in value["dict"].items()}
    if "the model's" in value:
        return schema
    name = value["named"] if "named" in value else value["call"]
    if name not in names():
        raise ValueError(f"it needs {name!r}, which this version of mtlkit does not have")
    if "named" in value:
        return names()[name]
    args = [_made(entry, schema) for entry in value["args"]]
    options = {key: _made(entry, schema) for key, entry in value["options"].items()}
    return partial(names()[name], *args, **options)
