"""A lesson's studies: experiments without shops. Loading one, running it, its key.

What a study must hold is described for authors in `notebooks/README.md`.
"""

import ast
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from mtlkit.course.learner import lesson
from mtlkit.course.learner import study as stored
from mtlkit.course.learner.modes import MODES
from mtlkit.course.learner.stored_tables import read_key, read_tables, write_tables
from mtlkit.course.runner import keys, table_makers
from mtlkit.course.runner.table_makers import NAME, MakerError, rounded_floats

TABLES = "tables"  # the folder beside the studies that holds what they found


@dataclass(frozen=True)
class Study:
    """One study: what it rests on by name, its sizes, and the function that runs it."""

    number: str
    name: str
    uses: tuple[str, ...]
    sizes: Mapping[str, tuple[Any, Any]]
    run: Callable[[SimpleNamespace, Path], Mapping[str, pl.DataFrame]]

    @property
    def where(self) -> str:
        """Its file as messages name it."""
        return _where(self.number, self.name)


def _where(number: str, name: str) -> str:
    return f"mtlkit/lessons/nb{number}/studies/{name}.py"


def every() -> list[tuple[str, str]]:
    """(notebook, name) of all studies that there are, in order."""
    files = lesson.FOLDER.glob("nb*/studies/*.py")
    found = [(path.parents[1].name[2:], path.stem) for path in files]
    return sorted((number, name) for number, name in found if not name.startswith("_"))


def numbers() -> list[str]:
    """The numbers of all notebooks with studies, or with tables of studies, in order."""
    return sorted({number for number, _ in (*every(), *stored.every())})


def load(number: str, name: str) -> Study:
    """A study of a lesson. Raises ``MakerError`` for none, or one that lacks a part."""
    where = _where(number, name)
    known = [other for of, other in every() if of == number]
    if name not in known:
        raise MakerError(
            f"notebook {number!r} has no study {name!r}: write {where} "
            f"(there are: {', '.join(known) or 'none'})."
        )
    if not re.fullmatch(NAME, name) or name == TABLES:
        raise MakerError(
            f"{where}: name a study in small letters, figures and underscores, and not {TABLES!r}."
        )
    module = lesson.module(number, f"studies.{name}")
    assert module is not None  # its file is there
    sizes, run = getattr(module, "SIZES", None), getattr(module, "study", None)
    if not isinstance(sizes, dict) or not all(
        isinstance(size, str) and isinstance(pair, tuple) and len(pair) == len(MODES)
        for size, pair in sizes.items()
    ):
        raise MakerError(
            f'{where}: SIZES must hold pairs such as {{"rows": (2_000, 60_000)}}, (smoke, full); '
            f"found {sizes!r}."
        )
    if not callable(run):
        raise MakerError(f"{where}: define study(size, store).")
    return Study(number, name, table_makers.uses_of(module, where), sizes, run)


def size_of(study: Study, mode: str) -> SimpleNamespace:
    """The study's sizes in a mode, "smoke" or "full"."""
    place = MODES.index(mode)
    return SimpleNamespace(**{name: pair[place] for name, pair in study.sizes.items()})


def key_of(study: Study) -> dict[str, Any]:
    """What the study's numbers rest on now: code, full sizes, torch, frozen numbers by USES."""
    folder = lesson.path(study.number, "studies")
    own = folder / f"{study.name}.py"
    code = {path.name: keys.file_hash(path) for path in folder.glob("_*.py")}
    code[own.name] = keys.text_hash(_without_sizes(own.read_text(encoding="utf-8")))
    full = {name: repr(value) for name, value in vars(size_of(study, "full")).items()}
    return table_makers.key(code, full, study.uses, study.where)


def _without_sizes(text: str) -> str:
    """The code without what it gives to SIZES: sizes count by their full values."""
    lines = text.split("\n")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and "SIZES" in [ast.unparse(t) for t in node.targets]:
            end = node.end_lineno or node.lineno
            lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    return "\n".join(lines)


def tables_of(study: Study, size: SimpleNamespace, store: Path) -> dict[str, pl.DataFrame]:
    """Run a study; its tables, checked and rounded."""
    found = study.run(size, store)
    if not isinstance(found, Mapping) or not found:
        raise MakerError(f"{study.where}: study must return a dictionary of tables.")
    tables = table_makers.plain_tables(found, study.where)
    for name, frame in tables.items():
        if frame.is_empty():
            raise MakerError(f"{study.where}: table {name!r} has no rows.")
    return {name: rounded_floats(frame, frame.columns) for name, frame in tables.items()}


def make(number: str, name: str, *, smoke: bool = False, store: Path | None = None) -> None:
    """Run a study; store its tables (full sizes) or print them (smoke)."""
    study = load(number, name)
    key = key_of(study)
    folder = table_makers.runs_folder(key, store, f"nb{number}", "studies", name)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    tables = tables_of(study, size_of(study, "smoke" if smoke else "full"), folder)
    print(f"Notebook {number}, study {name}: {time.monotonic() - began:.0f} s", flush=True)
    if smoke:
        table_makers.show(tables)
        return
    write_tables(stored.folder(number, name), tables, key)
    print(f"Stored {', '.join(tables)} in {_shown(number, name)}.")


def _shown(number: str, name: str) -> str:
    return f"mtlkit/lessons/nb{number}/studies/{TABLES}/{name}"


def stale(number: str | None = None, name: str | None = None) -> list[str]:
    """One sentence a study whose stored tables are not what it would give now.

    Of one notebook or study alone where they are given. Raises ``NoCheckout`` where the frozen
    numbers are not at hand.
    """
    there = sorted({*every(), *stored.every()})
    chosen = [pair for pair in there if number in (None, pair[0]) and name in (None, pair[1])]
    if name is not None and not chosen:
        load(str(number), name)  # says which there are
    return [sentence for pair in chosen if (sentence := _stale(*pair))]


def _stale(number: str, name: str) -> str:
    told = f"study {name} of notebook {number}"
    remedy = f"run `python -m mtlkit evidence {number} --study {name}`"
    has_tables = (number, name) in stored.every()
    if has_tables and (number, name) not in every():
        return f"There are tables of a {told}, and no such study: delete {_shown(number, name)}."
    try:
        study = load(number, name)
        if not has_tables:
            return f"The {told} has no tables: {remedy}."
        moved = table_makers.moved(key_of(study), read_key(stored.folder(number, name)))
        if not moved:
            read_tables(stored.folder(number, name))
    except MakerError as problem:
        return str(problem)
    except ValueError as problem:
        return f"The tables of the {told} cannot be read: {problem}"
    return f"The {told} is stale: {', '.join(moved)} moved; {remedy}." if moved else ""
