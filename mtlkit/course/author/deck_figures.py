"""The figures of a deck, out of the executed notebook.

A figure is named by words of its title: ``![The gain](figures/02-the-gain.png)`` asks for the one
figure of notebook 02's solution copy whose description holds these words. So a deck shows what the
notebook computed, and is refused when the notebook no longer has such a figure.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlkit.course.author.deck import Deck, SlideError
from mtlkit.course.author.folders import Folders


@dataclass(frozen=True)
class Figure:
    """A figure of an executed notebook: its description in words, and its file."""

    alt: str
    png: bytes


def figures(notebook: Path) -> list[Figure]:
    """The figures of an executed notebook, in order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
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
