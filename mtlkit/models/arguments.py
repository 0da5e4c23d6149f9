"""What a model was called with, so that it can be made anew: plain values, and what has a name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

from mtlkit.schema import Schema

Arguments = tuple[list[Any], dict[str, Any]]


class Unnamed(NamedTuple):
    """Stands for a value of the caller's own, which is not kept: it may be large, or a secret."""

    kind: str


class OwnSignature:
    """A class is called as its ``__init__`` says, for ``help`` too, whatever ``__new__`` takes."""

    def __get__(self, instance: Any, owner: Any) -> inspect.Signature:
        if instance is not None:  # a model is called as its forward says
            raise AttributeError("__signature__")
        whole = inspect.signature(owner.__init__)
        return whole.replace(parameters=list(whole.parameters.values())[1:])  # without self


def remember(args: tuple[Any, ...], options: Mapping[str, Any]) -> Arguments:
    """Copies of the arguments of a call; of what is neither plain nor mtlkit's, the kind alone."""
    return [_kept(value) for value in args], {name: _kept(v) for name, v in options.items()}


def _kept(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | Schema):
        return value
    if type(value) in (list, tuple):
        return [_kept(entry) for entry in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {name: _kept(entry) for name, entry in value.items()}
    if isinstance(value, partial):
        args, options = remember(value.args, value.keywords)
        return partial(_kept(value.func), *args, **options) if _ours(value.func) else _about(value)
    return value if _ours(value) else _about(value)


def _ours(value: Any) -> bool:
    """Whether a class or function stands in mtlkit under its own name."""
    if not isinstance(value, type | FunctionType):
        return False
    return value.__module__.partition(".")[0] == "mtlkit" and "<" not in value.__qualname__


def _about(value: Any) -> Unnamed:
    return Unnamed(getattr(value, "__qualname__", None) or type(value).__qualname__)
