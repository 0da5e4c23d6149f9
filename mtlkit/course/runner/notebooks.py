"""The notebooks of a course run: which there are, and what came of each."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NO_NOTEBOOK = "NoNotebook"  # the error of a file that cannot be read as one


@dataclass(frozen=True)
class Failure:
    """Where and why a notebook stopped; cells count from 1, and 0 means that none ran."""

    cell: int
    code: str
    error: str
    message: str
    traceback: str = ""

    def sentence(self) -> str:
        """One plain sentence: the cell, the kind of error and its message."""
        if self.error == NO_NOTEBOOK:
            return f"the file is no notebook: {self.message}"
        if self.cell == 0:
            return f"the kernel did not start: {self.error}: {self.message}"
        return f"cell {self.cell} stopped with {self.error}: {self.message}"


@dataclass
class NotebookRun:
    """One executed notebook: its file, copy ("learner" or "solution"), result and records."""

    path: Path
    copy: str
    title: str
    status: str = "not run"  # "ok", "failed" or "not run"
    seconds: float = 0.0
    failure: Failure | None = None
    executed: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.stem


def find_notebooks(
    folder: Path, only: Sequence[str] = (), solutions: bool = False
) -> list[NotebookRun]:
    """The notebooks to run, in order: learner copies, then (if asked) solution copies.

    ``only`` holds numbers ("02" or "2") or names ("02_share_the_bottom"). Raises ValueError naming
    what is asked for and not there.
    """
    places = [("learner", folder)] + ([("solution", folder / "solutions")] if solutions else [])
    runs, found = [], set()
    for kind, place in places:
        for path in sorted(place.glob("[0-9][0-9]_*.ipynb")):
            matches = {w for w in only if path.stem == w or path.stem[:2] == w.zfill(2)}
            found |= matches
            if matches or not only:
                runs.append(NotebookRun(path, kind, read_title(path)))
    missing = [wanted for wanted in only if wanted not in found]
    if missing:
        raise ValueError(
            f"no notebook {', '.join(missing)} in {folder}; see there what the numbers are"
        )
    return runs


def read_title(path: Path) -> str:
    """The first heading of a notebook, without marks; the file's name if there is none."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            heading = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
            if cell["cell_type"] == "markdown" and heading:
                return re.sub(r"[*`]", "", heading[1]).strip()
    except Exception:  # a file may hold anything; what is wrong is said when it is its turn
        pass
    return path.stem


def read_notebook(path: Path) -> Any:
    """A notebook in the form of nbformat 4. Raises ValueError that says why a file is none."""
    import warnings

    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cells without ids, which are given some
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook, relax_add_props=True)
    except Exception as error:
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(told) from error
    return notebook


def count_cells(path: Path) -> int:
    """The number of cells of a notebook; 1 for a file that cannot be read."""
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["cells"])
    except Exception:  # a file may hold anything
        return 1
