"""What code reads outside itself, and which code is an installed package's."""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
PACKAGES = {"site-packages", "dist-packages"}
STANDARD = {Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib")}
STANDARD |= {path.resolve() for path in STANDARD} | {Path(__file__).parents[1]}  # and mtlkit
LESSONS = Path(__file__).parents[1] / "lessons"  # these change without a version
BY_TEXT = {"eval", "exec", "globals", "__import__"}  # these read what no bytecode names


class NoFingerprint(ValueError):
    """A value whose content cannot be read; the message says which."""


def globals_read(code: types.CodeType) -> dict[str, set[str] | None]:
    """{global: its attributes read, or None where it is used in another way}, nested code too."""
    found: dict[str, set[str] | None] = {}
    for inner in _with_nested(code):
        steps = _steps(inner)
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            if step.opname not in LOADS:
                continue
            before = found.setdefault(step.argval, set())
            if after is None or after.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                found[step.argval] = None
            elif before is not None:
                before.add(after.argval)
    return dict(sorted(found.items()))


def imports(
    code: types.CodeType, scope: Mapping[str, Any]
) -> Iterator[tuple[types.ModuleType, set[str] | None]]:
    """Modules that the code imports as it runs, and the names it takes; None: the whole module.

    They are imported now, as the code would do it.
    """
    for inner in _with_nested(code):
        steps = _steps(inner)
        for i, step in enumerate(steps):
            if step.opname != "IMPORT_NAME":
                continue
            level, names = steps[i - 2].argval, steps[i - 1].argval
            try:
                module = __import__(step.argval, dict(scope), None, names or (), level)
            except Exception as error:  # whatever the module's own code raises
                raise NoFingerprint(f"an import of {step.argval} that fails ({error})") from error
            yield module, set(names) if names else None


def _with_nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _with_nested(constant)


def _steps(code: types.CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]


def installed_name(value: Any, name: str | None = None) -> tuple[str, str, str] | None:
    """(module, name, version) of what an installed module holds under this name, else None."""
    module, name = getattr(value, "__module__", None), name or getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not is_installed(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    builtin = isinstance(value, type) and not value.__flags__ & 1 << 9  # no heap type: made in C
    return (module, name, version_of(module)) if found is value or builtin else None


def is_installed(module: str | None) -> bool:
    """Whether a module is Python's, mtlkit's or of an installed package, by where its file lies.

    A lesson's code is not: a contest is read down to its last global, like a notebook's cells.
    """
    while module and module not in ("__main__", "__mp_main__"):  # notebooks, scripts
        found = sys.modules.get(module)
        file = getattr(found, "__file__", None)
        if file is not None and Path(file).is_absolute():
            return _lies_among_packages(file)
        if getattr(getattr(found, "__spec__", None), "origin", None) in ("built-in", "frozen"):
            return True
        module = module.rpartition(".")[0]
    return False


@functools.cache
def _lies_among_packages(file: str) -> bool:
    path = Path(file)
    if path.is_relative_to(LESSONS):
        return False
    return bool(PACKAGES & set(path.parts)) or any(path.is_relative_to(p) for p in STANDARD)


def version_of(module: str) -> str:
    """The version that a module's package names, or an empty text."""
    package = sys.modules.get(module.partition(".")[0])
    return str(getattr(package, "__version__", ""))
