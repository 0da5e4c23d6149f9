"""A short text that differs where a value differs, functions and notebook classes included.

Data go by their content, other objects by what pickle would write of them. A function, class or
module of an installed package (Python's and mtlkit among them) goes by its name and the package's
version. A function or class of yours goes by its bytecode, constants, defaults, attributes,
closure, and the globals that it reads, all the way down. Of a module of yours it is the source
file with the attributes that the code reads, or all of them where it does more than name them. An
import inside a function is done at once and read like the others.

What cannot be read is refused, and so is code that looks things up by a text (``eval``, ``exec``,
``globals``, ``importlib``). Not seen are the content of files that a function opens itself, the
environment, the settings of an installed package, and other processes. The same code in another
Python version has another fingerprint.
"""

from __future__ import annotations

import functools
import hashlib
import math
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtlkit.comparison import reads
from mtlkit.comparison.reads import NoFingerprint, installed_name, is_installed, version_of

ATOMS = {type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range}
MAX_CIRCLES = 100_000  # values read again because they refer to each other in circles
# Of a class: what says nothing of what it does. The defaults of a dataclass stand in its __init__.
HIDDEN = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__annotations__"}
HIDDEN |= {"__annotate__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"}
HIDDEN |= {"__dataclass_fields__", "__dataclass_params__"}
# Of a module: where it came from.
ORIGIN = {"__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__"}
ORIGIN |= {"__package__", "__path__", "__spec__", "__annotations__", "__warningregistry__"}


class Fingerprints:
    """``of(value)`` for many values; what several of them share is read once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}  # holds the value: its id stays taken
        self._open: list[int] = []  # being read now, outermost first: a circle comes back here
        self._reached = math.inf  # the outermost of them that a circle came back to
        self._circles = 0

    def of(self, value: Any) -> str:
        """32 hexadecimal digits. Raises ``NoFingerprint`` naming what cannot be read."""
        self._circles = 0
        return self._digest(value).hex()

    def _digest(self, value: Any) -> bytes:
        if type(value) in ATOMS:
            return _hash(type(value).__name__, repr(value))
        key, place = id(value), len(self._open)
        if key in self._known:
            return self._known[key][1]
        if key in self._open:
            self._reached = min(self._reached, self._open.index(key))
            return _hash("again", str(place - self._open.index(key)))
        before, self._reached = self._reached, math.inf
        self._open.append(key)
        try:
            digest = _hash(*self._parts(value))
        finally:
            self._open.pop()
            reached, self._reached = self._reached, before
        if reached > place:
            self._known[key] = (value, digest)
        else:  # part of a circle: its digest depends on where the circle was entered, so forget it
            self._circles += 1
            self._reached = min(before, reached if reached < place else math.inf)
        if self._circles > MAX_CIRCLES:
            raise NoFingerprint("too many functions or objects that refer to each other")
        return digest

    def _all(self, values: Iterable[Any]) -> list[bytes]:
        return [self._digest(value) for value in values]

    def _parts(self, value: Any) -> list[Any]:
        kind = type(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if kind is np.ndarray and not value.dtype.hasobject:
            return ["array", repr(value.dtype), value.shape, np.ascontiguousarray(value).tobytes()]
        if kind in (list, tuple):
            return [kind.__name__, *self._all(value)]
        if kind in (dict, types.MappingProxyType):
            return ["dict", *self._all(part for entry in value.items() for part in entry)]
        if isinstance(value, set | frozenset):  # pickle would write them in an order of chance
            own = getattr(value, "__dict__", None)
            return ["set", *self._all((kind, own)), *sorted(self._all(value))]
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return ["method", *self._all((value.__func__, value.__self__))]
        if isinstance(value, types.BuiltinFunctionType):
            return ["builtin", value.__qualname__, self._digest(value.__self__)]
        if isinstance(value, np.ufunc):
            return self._ufunc(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value, None)
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
        kind = self._digest(type(tensor))
        shape = tuple(tensor.shape)
        return ["tensor", kind, str(tensor.dtype), shape, tensor.requires_grad, content]

    def _ufunc(self, function: np.ufunc) -> list[Any]:
        for home in ("numpy", "scipy.special"):
            if getattr(sys.modules.get(home), function.__name__, None) is function:
                return ["ufunc", home, function.__name__, version_of(home)]
        raise NoFingerprint(f"the ufunc {function.__name__}")

    def _function(self, function: types.FunctionType) -> list[Any]:
        known = installed_name(function)
        if known is not None:
            return ["function", *known]
        cells = [_content(cell) for cell in function.__closure__ or ()]
        own = (function.__code__, function.__defaults__, function.__kwdefaults__, cells)
        parts = ["code of a function", *self._all((*own, vars(function)))]
        scope = function.__globals__
        home = str(scope.get("__name__"))
        if is_installed(home) and getattr(sys.modules.get(home), "__dict__", None) is scope:
            return [*parts, home, version_of(home)]  # a package's wrapper around code of yours
        for name, attributes in reads.globals_read(function.__code__).items():
            if name not in scope and name in reads.BY_TEXT:
                raise NoFingerprint(f"a call of {name} in {function.__qualname__}")
            if name in scope:
                parts += [name, self._read(scope[name], attributes)]
        for module, attributes in reads.imports(function.__code__, scope):
            parts += ["import", module.__name__, self._read(module, attributes)]
        return parts

    def _read(self, value: Any, attributes: set[str] | None) -> bytes:
        """A global of which code reads these attributes; None: more than attributes."""
        module = isinstance(value, types.ModuleType)
        home = value.__name__ if module else getattr(value, "__module__", None)
        if str(home).partition(".")[0] == "importlib":
            raise NoFingerprint("a use of importlib")
        if attributes is None or not module:
            return self._digest(value)
        return _hash(*self._module(value, attributes))

    def _code(self, code: types.CodeType) -> list[Any]:
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return ["code", shape, names, code.co_code, *self._all(code.co_consts)]

    def _class(self, kind: type) -> list[Any]:
        name = installed_name(kind)
        if name is not None:
            return ["class", *name]
        own = {k: v for k, v in vars(kind).items() if k not in HIDDEN and not k.startswith("_abc_")}
        parts = self._all((type(kind), kind.__bases__, own))
        return ["code of a class", kind.__qualname__, *parts]

    def _module(self, module: types.ModuleType, attributes: set[str] | None) -> list[Any]:
        """An installed module's version; of another one the source, and these or all attributes."""
        if is_installed(module.__name__) and sys.modules.get(module.__name__) is module:
            return ["module", module.__name__, version_of(module.__name__)]
        path = getattr(module, "__file__", None)
        source = Path(path).read_bytes() if path is not None and Path(path).is_file() else b""
        parts: list[Any] = ["module of yours", module.__name__, source]
        for name in sorted(set(vars(module)) - ORIGIN if attributes is None else attributes):
            try:
                parts += [name, self._digest(getattr(module, name))]
            except AttributeError as error:
                raise NoFingerprint(f"{module.__name__}.{name}, which is not there") from error
        return parts

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
            return self._global(value, reduced)
        make, arguments, *rest = reduced
        rest = [list(part) if hasattr(part, "__next__") else part for part in rest]
        return ["object", self._digest(type(value)), *self._all((make, arguments, *rest))]

    def _global(self, value: Any, name: str) -> list[Any]:
        """What pickle writes by its name alone: a package's own, or a wrapper (``lru_cache``)."""
        known = installed_name(value, name)
        if known is not None:
            return ["global", *known]
        if not hasattr(value, "__wrapped__"):
            raise NoFingerprint(f"{name}, a {type(value).__name__}")
        return ["wrapper", *self._all((type(value), value.__wrapped__))]


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


def _state_of_files(path: Path) -> list[Any]:
    """Names, sizes and times of the file, or of the files of the folder; empty: it is not there."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [(f.name, f.stat()) for f in files if f.is_file()]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
