"""Making everything that is generated from one source: copies, instructor page, cards, records."""

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from mtlkit.course.author import copies, instructor
from mtlkit.course.author.deck import SlideError, read_deck
from mtlkit.course.author.deck_figures import keep_large
from mtlkit.course.author.draw_cards import Place, as_json
from mtlkit.course.author.folders import HERE, Folders, copy_path, read_notebook, source_paths
from mtlkit.course.author.parse import parse, title_of
from mtlkit.course.author.pictures import LARGEST_PICTURE, pictures
from mtlkit.course.author.source import Source, SourceError
from mtlkit.course.learner.check import load as load_checkers
from mtlkit.course.learner.record import read_records
from mtlkit.course.runner import execute, full_runs, keys
from mtlkit.files import write_if_new


def place_of(path: Path, folders: Folders = HERE) -> Place:
    """The neighbours of a notebook, and whether it has slides."""
    notebooks = {}
    for neighbour in source_paths(folders):
        card = title_of(neighbour)
        title = card.title if card is not None else neighbour.stem[3:]
        notebooks[neighbour.stem[:2]] = (neighbour.stem, title)
    deck, page = (folders.slides / f"{path.stem}.{kind}" for kind in ("md", "html"))
    return Place(notebooks, deck.exists(), page.exists())


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
        folders.lessons / f"nb{source.number}" / "cards.json": as_json(source),
    }
    return Built(source, notebooks["learner"], notebooks["solution"], files)


def refuse_leaks(source: Source, learner: Any) -> None:
    """Raise SourceError if a learner copy shows a solution, in a cell or in an output."""
    found = copies.leaks(source, learner)
    if found:
        raise SourceError([f"{source.path.name}: learner copy, {entry}" for entry in found])


def write_notebook(path: Path, notebook: Any) -> None:
    """Write a notebook as utf-8 with LF, only if it differs from what is there."""
    nbformat.validate(notebook)
    write_if_new(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def write_all(built: Built, folders: Folders = HERE) -> None:
    """Write the copies, the instructor page and the card file of one source."""
    for audience in copies.AUDIENCES:
        write_notebook(copy_path(built.source, audience, folders), getattr(built, audience))
    for path, text in built.files.items():
        write_if_new(path, text)


def execute_all(built: Built, folders: Folders = HERE, mode: str = "full") -> list[str]:
    """Run both copies of a source, store their outputs; return a sentence a large picture.

    A run of the learner copy with full sizes also gives the lesson's records.json, which
    ``write_all`` writes with the rest; one of the solution copy the figures of its deck.
    """
    notes = []
    for audience in copies.AUDIENCES:
        notebook = getattr(built, audience)
        path = copy_path(built.source, audience, folders)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            records, large = Path(folder) / "records", Path(folder) / "figures"
            records.mkdir()
            large.mkdir()
            for_deck = audience == "solution" and mode == "full"
            execute.run(
                notebook,
                path.parent,
                mode=mode,
                strict=audience == "solution",
                records=records,
                slide_figures=large if for_deck else None,
            )
            deck = folders.slides / f"{built.source.name}.md"
            if for_deck and deck.exists():
                with suppress(SlideError):  # a deck that cannot be read: `mtlkit slides` says it
                    keep_large(read_deck(deck), notebook.cells, large, folders)
            if audience == "learner" and mode == "full" and keys.GOLDEN.is_file():
                text = full_runs.as_json(built.source.number, notebook, read_records(records))
                built.files[full_runs.place(built.source.number, folders.lessons)] = text
        copies.cover_answers(notebook)
        for position, size, _ in pictures(notebook):
            if size > LARGEST_PICTURE:
                notes.append(
                    f"{path.name} ({audience}), cell {position}: picture of {size // 1024} KB, "
                    f"more than {LARGEST_PICTURE // 1024}"
                )
    refuse_leaks(built.source, built.learner)
    return notes
