"""A short text that differs where a value differs, functions and notebook classes included.

Data go by their content. A function or class of an installed package (mtlkit among them) goes by
its name and the package's version; any other by its bytecode, constants, defaults, closure, and the
globals that it reads, all the way down. What is looked up by a text at run time (``getattr``,
``importlib``), read from a file inside the function, or held in another process, is not seen. The
same code in another Python version has another fingerprint.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range)
INSTALLED = tuple({str(Path(p)) for n, p in sysconfig.get_paths().items() if "lib" in n})
# Of a class: what says nothing of what it does. The defaults of a dataclass stand in its __init__.
HIDDEN = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__annotations__"}
HIDDEN |= {"__annotate__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"}
HIDDEN |= {"__dataclass_fields__", "__dataclass_params__"}


class NoFingerprint(ValueError):
    """A value whose content cannot be read; the message says which."""


class Fingerprints:
    """``of(value)`` for many values; what several of them share is read once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}  # holds the value: its id stays taken
        self._open: list[int] = []  # being read now, outermost first: a cycle comes back here

    def of(self, value: Any) -> str:
        """32 hexadecimal digits. Raises ``NoFingerprint`` naming what cannot be read."""
        return self._digest(value).hex()

    def _digest(self, value: Any) -> bytes:
        if isinstance(value, ATOMS):
            return _hash(type(value).__name__, repr(value))
        key = id(value)
        if key in self._known:
            return self._known[key][1]
        if key in self._open:
            return _hash("again", str(len(self._open) - self._open.index(key)))
        self._open.append(key)
        try:
            digest = _hash(*self._parts(value))
        finally:
            self._open.pop()
        self._known[key] = (value, digest)
        return digest

    def _all(self, values: Iterable[Any]) -> list[bytes]:
        return [self._digest(value) for value in values]

    def _parts(self, value: Any) -> list[Any]:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return ["array", value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes()]
        if isinstance(value, list | tuple):
            return [self._kind(value), *self._all(value)]
        if isinstance(value, dict | types.MappingProxyType):
            parts = [self._kind(value)]
            for name, entry in value.items():
                parts += self._all((name, entry))
            return parts
        if isinstance(value, set | frozenset):
            return [type(value).__name__, *sorted(self._all(value))]
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return ["method", *self._all((value.__func__, value.__self__))]
        if isinstance(value, types.BuiltinFunctionType | np.ufunc):
            owner = getattr(value, "__self__", None)
            owner = None if isinstance(owner, types.ModuleType) else owner
            return ["builtin", str(getattr(value, "__qualname__", value)), self._digest(owner)]
        if isinstance(value, functools.partial):
            return ["partial", *self._all((value.func, value.args, value.keywords))]
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, Path):
            return ["path", str(value), *_state_of_files(value)]
        if isinstance(value, torch.dtype | torch.device | torch.layout):
            return ["torch", str(value)]
        if isinstance(value, torch.Generator):
            return ["generator", self._digest(value.get_state())]
        return self._object(value)

    def _tensor(self, tensor: torch.Tensor) -> list[Any]:
        if tensor.layout is not torch.strided:
            raise NoFingerprint(f"a tensor of layout {tensor.layout}")
        whole = tensor.detach().cpu().contiguous().reshape(-1)
        content = whole.view(torch.uint8).numpy().data if whole.numel() else b""
        return ["tensor", str(tensor.dtype), tuple(tensor.shape), content]

    def _function(self, function: types.FunctionType) -> list[Any]:
        if _is_installed(function.__module__):
            return ["function", *_address(function)]
        cells = [_content(cell) for cell in function.__closure__ or ()]
        read = sorted(_globals_read(function.__code__))
        known = function.__globals__
        seen = {name: known[name] for name in read if name in known}
        parts = self._all((function.__code__, function.__defaults__, function.__kwdefaults__))
        return ["code of a function", *parts, *self._all((cells, seen))]

    def _code(self, code: types.CodeType) -> list[Any]:
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return ["code", shape, names, code.co_code, *self._all(code.co_consts)]

    def _kind(self, value: Any) -> Any:
        kind = type(value)
        return kind.__name__ if kind in (list, tuple, dict) else self._digest(kind)

    def _class(self, kind: type) -> list[Any]:
        if _is_installed(kind.__module__):
            return ["class", *_address(kind)]
        own = {k: v for k, v in vars(kind).items() if k not in HIDDEN and not k.startswith("_abc_")}
        return ["code of a class", kind.__qualname__, *self._all((kind.__bases__, own))]

    def _module(self, module: types.ModuleType) -> list[Any]:
        if _is_installed(module.__name__):
            return ["module", module.__name__, version_of(module.__name__)]
        path = getattr(module, "__file__", None)
        if path is None or not Path(path).is_file():
            raise NoFingerprint(f"the module {module.__name__}")
        return ["source", Path(path).read_bytes()]

    def _object(self, value: Any) -> list[Any]:
        """Anything else, by what pickle would write of it."""
        if isinstance(value, property):
            return ["property", *self._all((value.fget, value.fset, value.fdel))]
        if isinstance(value, staticmethod | classmethod):
            return [type(value).__name__, self._digest(value.__func__)]
        if isinstance(value, functools.cached_property):
            return ["cached property", self._digest(value.func)]
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise NoFingerprint(f"a {type(value).__name__} ({error})") from error
        if isinstance(reduced, str):
            return ["global", reduced]
        make, arguments, *rest = reduced
        rest = [list(part) if hasattr(part, "__next__") else part for part in rest]
        return ["object", self._digest(type(value)), *self._all((make, arguments, *rest))]


def _hash(*parts: Any) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if not isinstance(part, bytes | memoryview):
            part = repr(part).encode()
        found.update(f"{len(part)}:".encode())  # so that neighbours cannot trade bytes
        found.update(part)
    return found.digest()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return "empty cell"


def _globals_read(code: types.CodeType) -> set[str]:
    """Names of globals that the code, or code inside it, reads."""
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    found = {str(i.argval) for i in dis.get_instructions(code) if i.opname in loads}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _globals_read(constant)
    return found


def _address(value: Any) -> tuple[str, str, str]:
    return value.__module__, value.__qualname__, version_of(value.__module__)


def version_of(module: str) -> str:
    """The version that a module's package names, or an empty text."""
    package = sys.modules.get(module.partition(".")[0])
    return str(getattr(package, "__version__", ""))


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether a module is Python's, mtlkit's or an installed package's: its version tells it."""
    package = (module or "__main__").partition(".")[0]
    if package in ("__main__", "mtlkit") or package in sys.stdlib_module_names:
        return package != "__main__"  # a notebook or a script, whatever started it
    path = getattr(sys.modules.get(package), "__file__", None)
    return path is not None and str(Path(path)).startswith(INSTALLED)


def _state_of_files(path: Path) -> list[Any]:
    """Names, sizes and times of the file, or of the files of the folder; empty: it is not there."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [(f.name, f.stat()) for f in files if f.is_file()]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def of_options(options: Mapping[str, Any], fingerprints: Fingerprints) -> dict[str, str]:
    """{option: fingerprint}, whatever the order in which the options were written."""
    return {name: fingerprints.of(options[name]) for name in sorted(options)}
