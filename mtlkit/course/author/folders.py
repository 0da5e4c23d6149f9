"""Where sources are read and generated files are written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from mtlkit.course.author.source import Source
from mtlkit.course.learner import lesson
from mtlkit.course.runner.execute import CHECKOUT


@dataclass(frozen=True)
class Folders:
    """The places of a course's content: notebooks, lessons, slides, the page of all names."""

    notebooks: Path
    lessons: Path
    slides: Path
    reference: Path | None = None  # the page of all public names; None: none is made

    @property
    def sources(self) -> Path:
        return self.notebooks / "src"

    def shown(self, path: Path) -> str:
        """A path as messages name it: below the folder that holds the notebooks' folder."""
        try:
            return path.relative_to(self.notebooks.parent).as_posix()
        except ValueError:
            return str(path)


HERE = Folders(
    CHECKOUT / "notebooks", lesson.FOLDER, CHECKOUT / "slides", CHECKOUT / "docs" / "reference.md"
)


def source_paths(folders: Folders = HERE, only: list[str] | None = None) -> list[Path]:
    """The sources in order; `only` holds numbers ("02") or names, unknown ones raise SystemExit."""
    paths = sorted(folders.sources.glob("[0-9][0-9]_*.py"))
    if not only:
        return paths
    chosen = []
    for wanted in only:
        match = [
            p for p in paths if wanted in (p.stem, p.stem[:2]) or wanted == p.stem[:2].lstrip("0")
        ]
        if not match:
            raise SystemExit(f"There is no source {wanted!r} in {folders.sources}.")
        chosen += match
    return chosen


def copy_path(source: Source, audience: str, folders: Folders = HERE) -> Path:
    """Where a copy lies."""
    folder = folders.notebooks if audience == "learner" else folders.notebooks / "solutions"
    return folder / f"{source.name}.ipynb"


def read_notebook(path: Path) -> Any:
    """A notebook from disk, or None if there is none that can be read."""
    if not path.exists():
        return None
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, nbformat.ValidationError, AttributeError, KeyError):
        return None
