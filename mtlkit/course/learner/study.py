"""What a lesson's study found: an experiment without shops, its tables stored with the lesson."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mtlkit.course.learner import lesson
from mtlkit.course.learner.stored_tables import KEY, read_tables


def study(notebook: str, name: str) -> "Study":
    """The stored tables of one study of a notebook: `study("07", "census")`.

    `mtlkit evidence 07 --study census` made them and stored them in
    `mtlkit/lessons/nb07/studies/tables/census/`. Nothing is trained here. Raises ValueError for a
    study without stored tables, or with damaged ones.
    """
    known = names(notebook)
    if name not in known:
        raise ValueError(
            f"no study {name!r} of notebook {notebook!r} is stored: `python -m mtlkit evidence "
            f"{notebook} --study {name}` makes it where the lesson has the file studies/{name}.py "
            f"(there are: {', '.join(known) or 'none'})."
        )
    return Study(notebook, name, read_tables(folder(notebook, name)))


def folder(notebook: str, name: str) -> Path:
    """Where the tables of one study lie (or would lie)."""
    return lesson.path(notebook, "studies") / "tables" / name


def every() -> list[tuple[str, str]]:
    """(notebook, name) of all studies with stored tables, in order."""
    keys = lesson.FOLDER.glob(f"nb*/studies/tables/*/{KEY}")
    return sorted((path.parents[3].name[2:], path.parent.name) for path in keys)


def names(notebook: str) -> list[str]:
    """The names of a notebook's studies with stored tables, in order."""
    return [name for number, name in every() if number == notebook]


@dataclass(frozen=True, repr=False)
class Study:
    """The stored tables of one study, `tables` by name."""

    notebook: str
    name: str
    tables: Mapping[str, pl.DataFrame]

    def table(self, name: str) -> pl.DataFrame:
        """One stored table. Raises ValueError for another name."""
        if name not in self.tables:
            raise ValueError(
                f"study {self.name!r} of notebook {self.notebook}: no table {name!r}; there are: "
                f"{', '.join(self.tables)}."
            )
        return self.tables[name]

    def __repr__(self) -> str:
        told = (
            f"{name} ({', '.join(frame.columns)}; rows: {frame.height})"
            for name, frame in self.tables.items()
        )
        return f"Study {self.name!r} of notebook {self.notebook}; tables: {', '.join(told)}"
