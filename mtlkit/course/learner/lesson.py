"""Where a notebook's content lies: `mtlkit/lessons/nbNN/`, found by the notebook's number alone."""

import importlib
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "lessons"


def path(number: str, name: str) -> Path:
    """Where one file of a lesson lies (or would lie)."""
    return FOLDER / f"nb{number}" / name


def numbers(name: str) -> list[str]:
    """The numbers of all lessons that have a file of this name, in order."""
    return sorted(found.parent.name[2:] for found in FOLDER.glob(f"nb*/{name}"))


def module(number: str, name: str) -> ModuleType | None:
    """A lesson's Python file `name`.py as a module; None if it has none."""
    full = f"mtlkit.lessons.nb{number}.{name}"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name not in (full, full.rpartition(".")[0]):
            raise
        return None
