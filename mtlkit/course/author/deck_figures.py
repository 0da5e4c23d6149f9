"""The figures of a deck, out of the executed notebook.

A figure is named by words of its title: ``![The gain](figures/02-the-gain.png)`` asks for the one
figure of notebook 02's solution copy whose description holds these words. So a deck shows what the
notebook computed, and is refused when the notebook no longer has such a figure. When the notebook
is executed, each is drawn once more with larger type; without such a run the page's is taken.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mtlkit.course.author.deck import Deck, SlideError
from mtlkit.course.author.folders import Folders
from mtlkit.files import write_if_new
from mtlkit.plot.sheet import SLIDE, SLIDE_DPI, fingerprint, shown_points

_SIZE = re.compile(r"\b(w|width|h|height):(\d+)(?:px)?\b")


@dataclass(frozen=True)
class Figure:
    """A figure of an executed notebook: its description in words, and its file."""

    alt: str
    png: bytes


def figures(notebook: Path) -> list[Figure]:
    """The figures of an executed notebook, in order."""
    return figures_in(json.loads(notebook.read_text(encoding="utf-8"))["cells"])


def figures_in(cells: Iterable[Mapping[str, Any]]) -> list[Figure]:
    """The figures that cells show, in order."""
    found = []
    for cell in cells:
        for output in cell.get("outputs", ()):
            coded = output.get("data", {}).get("image/png")
            if coded:
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                found.append(Figure(alt, base64.b64decode("".join(coded))))
    return found


def file_name(number: str, words: str) -> str:
    """Where a deck's figure lies: ("02", "What the helper adds") -> a path below slides."""
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return f"figures/{number}-{slug}.png"


def find_figure(available: Sequence[Figure], words: str) -> Figure:
    """The one figure whose description holds the words; ``SlideError`` for none or several."""
    fitting = [figure for figure in available if words and words in figure.alt]
    if len(fitting) != 1:
        titles = "; ".join(figure.alt[:60] for figure in available)
        raise SlideError(
            f"{len(fitting)} figures of the notebook are described by {words!r}; take words that "
            f"only one has. Descriptions begin: {titles or 'none, the notebook was not executed'}"
        )
    return fitting[0]


def marks(png: bytes) -> dict[str, str]:
    """What a figure's file says of itself; {} for one that is no PNG."""
    try:
        return dict(getattr(Image.open(io.BytesIO(png)), "text", {}))
    except OSError:
        return {}


def is_of(png: bytes, figure: Figure) -> bool:
    """Whether a file is a figure of a notebook, or the same drawn with the type of a slide."""
    return png == figure.png or marks(png).get("Of") == fingerprint(figure.png)


def keep_large(
    deck: Deck, cells: Iterable[Mapping[str, Any]], made: Path, folders: Folders
) -> list[Path]:
    """Write the figures of a deck with the type of a slide, as a run of its notebook left them.

    `made` holds them, each named by its figure. A figure that is not there stays as it is.
    """
    available, written = figures_in(cells), []
    for slide in deck.slides:
        for words, target in slide.images:
            with suppress(SlideError):  # `mtlkit slides` says it
                large = made / f"{fingerprint(find_figure(available, words).png)}.png"
                if large.exists():
                    write_if_new(folders.slides / target, large.read_bytes())
                    written.append(folders.slides / target)
    return written


def shown_type(png: bytes, alt: str) -> float:
    """The smallest type of a figure on the slide in points, 0 where it is drawn for a page.

    `alt` may hold Marp's sizes in pixels ("w:900").
    """
    said = marks(png)
    if "Type" not in said:
        return 0.0
    width, height = Image.open(io.BytesIO(png)).size
    asked = {name[0]: float(number) for name, number in _SIZE.findall(alt)}
    box = (min(asked.get("w", SLIDE[0]), SLIDE[0]), min(asked.get("h", SLIDE[1]), SLIDE[1]))
    return shown_points(float(said["Type"]), (width / SLIDE_DPI, height / SLIDE_DPI), box)


def solution(deck: Deck, folders: Folders) -> Path:
    """The executed notebook that a deck belongs to."""
    path = folders.notebooks / "solutions" / f"{deck.path.stem}.ipynb"
    if not path.exists():
        raise SlideError(f"{deck.path}: no notebook {path}; name a deck after its notebook")
    return path


def deck_figures(deck: Deck, folders: Folders) -> dict[str, Figure]:
    """{path below slides: figure} of a deck; ``SlideError`` names a figure that is not there."""
    available = figures(solution(deck, folders))
    found = {}
    for slide in deck.slides:
        for words, target in slide.images:
            try:
                found[target] = find_figure(available, words)
            except SlideError as problem:
                raise SlideError(f"{deck.path}:{slide.line}: {problem}") from None
    return found
