"""Building every generated notebook file from its source: `mtlkit build`.

A source `notebooks/src/NN_topic.py` gives the learner's copy, the solution copy, the instructor
page and the card file. Outputs of unchanged cells are kept, so a rebuild changes nothing that did
not change.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from mtlkit.course.author import copies, instructor
from mtlkit.course.author.markers import Source, SourceError, parse, read_cells, read_title
from mtlkit.course.learner import cards
from mtlkit.course.learner.check import load as load_checkers
from mtlkit.course.learner.store import write_atomically
from mtlkit.course.runner import execute


@dataclass(frozen=True)
class Folders:
    """Where sources are read and generated files are written."""

    notebooks: Path
    lessons: Path
    slides: Path

    @property
    def sources(self) -> Path:
        return self.notebooks / "src"


REPOSITORY = execute.REPOSITORY
HERE = Folders(REPOSITORY / "notebooks", cards.FOLDER, REPOSITORY / "slides")


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


def place_of(path: Path, folders: Folders = HERE) -> cards.Place:
    """The neighbours of a notebook, and whether it has slides."""
    notebooks = {}
    for neighbour in source_paths(folders):
        title = ""
        for cell in read_cells(neighbour.read_text(encoding="utf-8")):
            if "title" in cell.tags:
                try:
                    title = read_title(cell.source).title
                except ValueError:
                    title = ""
                break
        notebooks[neighbour.stem[:2]] = (neighbour.stem, title or neighbour.stem[3:])
    return cards.Place(notebooks, (folders.slides / f"{path.stem}.md").exists())


@dataclass
class Built:
    """All generated texts of one source; the notebooks already hold the outputs that were kept."""

    source: Source
    learner: Any
    solution: Any
    files: dict[Path, str]


def build_one(path: Path, folders: Folders = HERE) -> Built:
    """Generate everything for one source without running or writing it; raises SourceError."""
    source = parse(path)
    place = place_of(path, folders)
    notebooks = {}
    for audience in copies.AUDIENCES:
        notebooks[audience] = copies.make_copy(source, audience, place)
        old = read_notebook(copy_path(source, audience, folders))
        if old is not None:
            copies.keep_outputs(notebooks[audience], old)
        copies.cover_answers(notebooks[audience])
    refuse_leaks(source, notebooks["learner"])
    files = {
        folders.notebooks / "instructor" / f"{source.name}.md": instructor.make_page(
            source, place, load_checkers(source.number)
        ),
        folders.lessons / f"nb{source.number}" / "cards.json": cards.as_json(source),
    }
    return Built(source, notebooks["learner"], notebooks["solution"], files)


def refuse_leaks(source: Source, learner: Any) -> None:
    """Raise SourceError if a learner copy shows a solution, in a cell or in an output."""
    found = copies.leaks(source, learner)
    if found:
        raise SourceError([f"{source.path.name}: learner copy, {entry}" for entry in found])


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


def write_notebook(path: Path, notebook: Any) -> None:
    """Write a notebook as utf-8 with LF, only if it differs from what is there."""
    nbformat.validate(notebook)
    write_text(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, only if it differs from what is there."""
    if not path.exists() or path.read_bytes() != text.encode("utf-8"):
        write_atomically(path, text)


def write_all(built: Built, folders: Folders = HERE) -> None:
    """Write the copies, the instructor page and the card file of one source."""
    for audience in copies.AUDIENCES:
        write_notebook(copy_path(built.source, audience, folders), getattr(built, audience))
    for path, text in built.files.items():
        write_text(path, text)


def execute_all(built: Built, folders: Folders = HERE, mode: str = "full") -> list[str]:
    """Run both copies of a source, store their outputs; return a sentence a large picture."""
    notes = []
    for audience in copies.AUDIENCES:
        notebook = getattr(built, audience)
        path = copy_path(built.source, audience, folders)
        path.parent.mkdir(parents=True, exist_ok=True)
        execute.run(notebook, path.parent, mode=mode, strict=audience == "solution")
        copies.cover_answers(notebook)
        for position, size, _ in execute.pictures(notebook):
            if size > execute.LARGEST_PICTURE:
                notes.append(
                    f"{path.name} ({audience}), cell {position}: picture of {size // 1024} KB, "
                    f"more than {execute.LARGEST_PICTURE // 1024}"
                )
    refuse_leaks(built.source, built.learner)
    return notes


def differences(built: Built, folders: Folders = HERE) -> list[str]:
    """Sentences about committed files that a rebuild would change (outputs are not compared)."""
    found = []
    for audience in copies.AUDIENCES:
        path = copy_path(built.source, audience, folders)
        old, new = read_notebook(path), getattr(built, audience)
        shown = _shown(path, folders)
        if old is None:
            found.append(f"{shown}: missing or not a notebook")
            continue
        for position, (a, b) in enumerate(zip(old.cells, new.cells, strict=False), start=1):
            if _identity(a) != _identity(b):
                first = b.source.split("\n")[0]
                found.append(f"{shown}: cell {position} differs from its source (now {first!r})")
                break
        else:
            if len(old.cells) != len(new.cells):
                found.append(f"{shown}: has {len(old.cells)} cells, its source {len(new.cells)}")
            elif (old.metadata, old.nbformat_minor) != (new.metadata, new.nbformat_minor):
                found.append(f"{shown}: its metadata differ (kernelspec, format or extra entries)")
            elif b"\r" in path.read_bytes():
                found.append(f"{shown}: has CR LF line ends")
    for path, text in built.files.items():
        shown = _shown(path, folders)
        if not path.exists():
            found.append(f"{shown}: missing")
            continue
        old_lines = path.read_text(encoding="utf-8").split("\n")
        new_lines = text.split("\n")
        if old_lines != new_lines:
            line = next(
                (
                    n
                    for n, (a, b) in enumerate(zip(old_lines, new_lines, strict=False), 1)
                    if a != b
                ),
                min(len(old_lines), len(new_lines)),
            )
            found.append(f"{shown}: line {line} differs from what its source gives")
    return found


def _identity(cell: Any) -> tuple:
    return cell.cell_type, cell.get("id"), cell.source, dict(cell.metadata)


def orphans(folders: Folders = HERE) -> list[str]:
    """Generated files whose source is gone."""
    names = {path.stem for path in source_paths(folders)}
    generated = [
        *folders.notebooks.glob("[0-9][0-9]_*.ipynb"),
        *(folders.notebooks / "solutions").glob("[0-9][0-9]_*.ipynb"),
        *(folders.notebooks / "instructor").glob("[0-9][0-9]_*.md"),
    ]
    found = [path for path in sorted(generated) if path.stem not in names]
    numbers = {name[:2] for name in names}
    cards_of = folders.lessons.glob("nb*/cards.json")
    found += [p for p in sorted(cards_of) if p.parent.name[2:] not in numbers]
    return [f"{_shown(path, folders)}: its source is gone; delete it" for path in found]


def _shown(path: Path, folders: Folders) -> str:
    try:
        return path.relative_to(folders.notebooks.parent).as_posix()
    except ValueError:
        return str(path)


def main(argv: list[str] | None = None, folders: Folders = HERE) -> int:
    """The command `mtlkit build`; returns the exit status: 0, or 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="mtlkit build", description="Build the notebooks.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail on a difference")
    parser.add_argument(
        "--only", action="append", metavar="NN", help="one notebook; may be repeated"
    )
    parser.add_argument("--execute", action="store_true", help="run both copies, store outputs")
    parser.add_argument("--smoke", action="store_true", help="with --execute: the small sizes")
    parser.add_argument(
        "--full", action="store_true", help="with --execute: the full sizes (default)"
    )
    parser.add_argument("--lint", action="store_true", help="report what breaks the course's rules")
    options = parser.parse_args(argv)
    if options.smoke and options.full:
        parser.error("--smoke and --full exclude each other")
    if options.check and options.execute:
        parser.error("--check changes nothing, so it cannot --execute")
    paths = source_paths(folders, options.only)
    if not paths:
        print(f"There are no sources in {folders.sources}.")
    trouble: list[str] = []
    for path in paths:
        trouble += _one(path, folders, options)
    if options.check and not options.only:
        trouble += orphans(folders)
    for sentence in trouble:
        print(sentence, file=sys.stderr)
    if options.check and trouble:
        print("Run `python -m mtlkit build` and commit what it writes.", file=sys.stderr)
    return 1 if trouble else 0


def _one(path: Path, folders: Folders, options: argparse.Namespace) -> list[str]:
    from nbclient.exceptions import CellExecutionError

    trouble: list[str] = []
    try:
        built = build_one(path, folders)
        if options.check:
            trouble += differences(built, folders)
        else:
            write_all(built, folders)
        if options.execute:
            mode = "smoke" if options.smoke else "full"
            trouble += execute_all(built, folders, mode)
            write_all(built, folders)
    except SourceError as error:
        return error.problems
    except CellExecutionError as error:
        return [f"{path.name}: a cell failed while running:{os.linesep}{error}"]
    if options.lint:
        from mtlkit.course.author import lint

        for finding in lint.lint(built, folders):
            if finding.error:
                trouble.append(str(finding))
            else:
                print(finding)
    if not trouble:
        print(f"{path.name}: {'up to date' if options.check else 'built'}")
    return trouble


if __name__ == "__main__":
    sys.exit(main())
