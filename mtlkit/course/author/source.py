"""What a notebook source is made of: cells with tags, a title card, exercise cards.

The format is described for authors in `notebooks/README.md`.
"""

from dataclasses import dataclass, field
from pathlib import Path

SECTIONS = (
    "title",
    "goals",
    "recall",
    "setup",
    "story",
    "predict",
    "worked",
    "observe",
    "exercise",
    "compare",
    "exercise",
    "trap",
    "practice",
    "challenge",
    "exit",
    "sources",
)
TAGS = frozenset(SECTIONS) | {
    "exercise-code",
    "check",
    "solution",
    "instructor",
    "quiz",
    "parameters",
    "lang-en",
    "lang-zh",
    "hide-input",
    "hide-output",
}
LEVELS = ("look", "fill in", "modify", "write", "challenge")


class SourceError(ValueError):
    """A notebook source breaks the format; the message lists every problem with file and line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass
class Cell:
    """One cell of a source: its kind ("markdown" or "code"), text, tags and line in the file."""

    kind: str
    source: str
    tags: tuple[str, ...] = ()
    line: int = 0
    translates: str = ""
    exercise: str = ""


@dataclass
class Exercise:
    """An exercise card with the cells that belong to it."""

    id: str
    level: str
    importance: str  # "core", "useful", "extra"; "" where the card does not say it yet
    minutes: int
    goal: str
    hints: list[str]
    body: str
    line: int
    code: list[Cell] = field(default_factory=list)
    explanations: list[Cell] = field(default_factory=list)
    checked: bool = False


@dataclass
class Title:
    """The fields of a title card, and the markdown below them."""

    title: str
    question: str
    run: int
    needs: list[str]
    cut: list[str]
    body: str


@dataclass
class Source:
    """A parsed notebook source: `number` is "02", `name` is "02_share_the_bottom"."""

    path: Path
    cells: list[Cell]
    title: Title
    exercises: dict[str, Exercise]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.name.split("_")[0]


def kept(source: Source, audience: str, language: str = "en") -> list[Cell]:
    """The source's cells that are in a copy, one for one with the copy's cells."""
    hidden = {"instructor", "lang-zh" if language == "en" else "lang-en"}
    if audience == "learner":
        hidden.add("solution")
    return [cell for cell in source.cells if not hidden & set(cell.tags)]
