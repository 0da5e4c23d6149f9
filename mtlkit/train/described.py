"""Models, balancers and options as plain values: what they were told, not what they learned."""

from __future__ import annotations

import functools
import hashlib
import math
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlkit.balance.base import Balancer
from mtlkit.data.content import tensor_hash
from mtlkit.schema import Schema

# Attributes that training sets and clears by itself: they tell nothing of what was asked for.
PASSING = {"training", "step", "sparse_gradient", "reads", "noted", "judged", "made_with"}
OF_A_STEP = {"schema", "present", "last_weights", "tasks"}  # of a balancer
MANY = 100_000  # values described; of what is beyond them the class alone


def described(value: Any) -> Any:
    """``value`` as numbers, texts, lists and dicts that a checkpoint can hold and compare.

    A module or balancer, and any other object, is its class and its attributes, all the way down.
    Left out are parameters and memory (what a run changes), and attributes whose name begins with
    an underscore. Tensors are told by their content, functions by their name, those without one of
    their own (lambdas, and all of a notebook) by their code too.
    """
    return _Reader().of(value)


class _Reader:
    """Reads one value; an object that holds itself is said to be read ``again``."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.count = 0

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        self.count += 1
        if id(value) in self.open or self.count > MANY:
            return f"a {type(value).__name__} again"
        self.open.add(id(value))
        try:
            return self._parts(value)
        finally:
            self.open.remove(id(value))

    def _parts(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return f"{value.dtype} {tuple(value.shape)}, {tensor_hash(value)}"
        if isinstance(value, np.generic | np.ndarray):
            return self.of(value.tolist()) if value.size <= 64 else _hash(repr(value.dtype), value)
        if isinstance(value, Schema):
            return "schema " + _hash(repr(value.to_dict()))
        if isinstance(value, Mapping):
            return {str(key): self.of(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(part) for part in value]
        if isinstance(value, set | frozenset):
            return sorted((self.of(part) for part in value), key=repr)
        if isinstance(value, functools.partial):
            return {"call": self.of(value.func), "of": self.of(value.args), **self._named(value)}
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return {"method": value.__name__, "of": self.of(value.__self__)}
        if isinstance(value, type | types.BuiltinFunctionType):
            return value.__qualname__
        if isinstance(value, torch.Generator):
            return f"generator of seed {value.initial_seed()}"
        if isinstance(value, bytes | Path | torch.dtype | torch.device):
            return str(value)
        return {"class": type(value).__name__, **self._attributes(value)}

    def _named(self, value: functools.partial[Any]) -> dict[str, Any]:
        return {name: self.of(part) for name, part in value.keywords.items()}

    def _attributes(self, value: Any) -> dict[str, Any]:
        """The options of an object, {name: described}; those of a module's parts under theirs."""
        slots = {name: getattr(value, name, None) for name in getattr(value, "__slots__", ())}
        found = slots | (vars(value) if hasattr(value, "__dict__") else {})
        left_out = PASSING | _memory(value)
        options = {
            name: self.of(part)
            for name, part in found.items()
            if not name.startswith("_") and name not in left_out
        }
        if isinstance(value, nn.Module):
            options |= {name: self.of(part) for name, part in _constants(value)}
            options |= {name: self.of(part) for name, part in value.named_children()}
        return options

    def _function(self, function: types.FunctionType) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        if "<" not in name and function.__module__ != "__main__":
            return name
        cells = [_content(cell) for cell in function.__closure__ or ()]
        inside = [cells, function.__defaults__, function.__kwdefaults__]
        return {"function": name, "code": _hash(*_code(function.__code__)), "with": self.of(inside)}


def _memory(value: Any) -> set[str]:
    """Names of the attributes that a run moves and ``state_dict`` keeps.

    What has options of its own, a generator's seed or an optimiser's rate, stays in.
    """
    if isinstance(value, Balancer):
        plain = {name for name in value.memory if not _has_options(getattr(value, name, None))}
        return plain | OF_A_STEP
    if isinstance(value, nn.Module) or not callable(getattr(value, "state_dict", None)):
        return set()
    return set(value.state_dict())


def _has_options(value: Any) -> bool:
    return isinstance(value, torch.Generator) or hasattr(value, "state_dict")


def _constants(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that training never moves: those that are not saved, and data told by the class."""
    for name, buffer in module.named_buffers(recurse=False):
        unsaved = name in module._non_persistent_buffers_set
        if unsaved or name in getattr(module, "constant_buffers", ()):
            yield name, buffer


def _code(code: types.CodeType) -> Iterator[Any]:
    yield from (code.co_code, code.co_names, code.co_varnames)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield constant


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _hash(*parts: Any) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.hexdigest()
