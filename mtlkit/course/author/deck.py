"""Reading a slide deck: `slides/NN_topic.md` in plain Marp Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

KINDS = ("question", "picture", "idea", "equation", "live", "vote", "exercise", "recap")
MORE_KINDS = ("trap",)  # kinds that a deck may have; each of KINDS it must have
STRICT = "strict"  # the comment <!-- strict --> marks the slide with the strict result
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_DIRECTIVE = re.compile(r"_?(class|paginate|header|footer|color|background\w+|size|theme|math):")
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


class SlideError(ValueError):
    """A deck that cannot be read or built; the message names the file, the line and the remedy."""


@dataclass(frozen=True)
class Slide:
    """One slide: where it starts, its kind, what is shown and what is said."""

    line: int
    kind: str
    heading: str
    shown: str  # without comments
    notes: str
    strict: bool = False
    images: list[tuple[str, str]] = field(default_factory=list)  # words, path
    code: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Deck:
    """A deck as read: ``front`` is its front matter."""

    path: Path
    text: str
    front: dict[str, str]
    slides: list[Slide]

    @property
    def number(self) -> str:
        return self.path.stem[:2]


def read_deck(path: Path) -> Deck:
    """Read a deck; raises ``SlideError`` where front matter or a code block does not end."""
    text = path.read_text(encoding="utf-8")
    rows = text.split("\n")
    if rows[0] != "---" or "---" not in rows[1:]:
        raise SlideError(f"{path}:1: a deck starts with front matter between two lines of ---")
    end = rows.index("---", 1)
    front = {}
    for row in rows[1:end]:
        name, _, value = row.partition(":")
        front[name.strip()] = value.strip().strip('"')
    starts, inside = [end + 1], False
    for number in range(end + 1, len(rows)):
        if rows[number].startswith("```"):
            inside = not inside
        elif rows[number] == "---" and not inside:
            starts.append(number + 1)
    if inside:
        raise SlideError(f"{path}: a code block is not closed with ```")
    stops = [*(start - 1 for start in starts[1:]), len(rows)]
    slides = [_read_slide("\n".join(rows[a:b]), a + 1) for a, b in zip(starts, stops, strict=True)]
    return Deck(path, text, front, slides)


def _read_slide(text: str, line: int) -> Slide:
    comments = [part.strip() for part in _COMMENT.findall(text)]
    kinds = [part.partition(":")[2].strip() for part in comments if part.startswith("_class:")]
    notes = [part for part in comments if not _DIRECTIVE.match(part) and part != STRICT]
    shown = _COMMENT.sub("", text).strip()
    headings = re.findall(r"^#{1,2} (.+)$", _FENCE.sub("", shown), re.MULTILINE)
    images = [(_words(alt), target) for alt, target in _IMAGE.findall(_FENCE.sub("", shown))]
    code = [body.rstrip("\n") for language, body in _FENCE.findall(shown) if language == "python"]
    return Slide(
        line, " ".join(kinds), headings[0] if headings else "", shown, "\n\n".join(notes),
        STRICT in comments, images, code,
    )  # fmt: skip


def _words(alt: str) -> str:
    """The words of a picture's label, without Marp's sizes ("w:900")."""
    return " ".join(
        part for part in alt.split() if not re.match(r"^(w|h|bg|width|height)\b:?", part)
    )


def decks(folder: Path, only: Sequence[str] = ()) -> list[Deck]:
    """The decks of a folder, in order."""
    paths = sorted(folder.glob("[0-9][0-9]_*.md"))
    missing = set(only) - {path.stem[:2] for path in paths}
    if missing:
        raise SlideError(f"{folder} has no deck of notebook {', '.join(sorted(missing))}")
    return [read_deck(path) for path in paths if not only or path.stem[:2] in only]
