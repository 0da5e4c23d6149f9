"""The plan of a notebook in minutes, made from its source: card, instructor page and deck read it.

Every number of minutes that the course tells comes from here, so that no two of them differ. How
long a piece takes is in `PACE`, which is fitted to timed walks (`walks.yaml`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from mtlkit.course.author.counts import Counts, count
from mtlkit.course.author.source import Cell, Source, kept

CLASS = 90  # minutes of one session of a class
TALK = 20  # minutes of it that votes, questions and a break need


@dataclass(frozen=True)
class Pace:
    """Minutes that one piece takes a learner: a word, a line of code, ..., a question of a quiz."""

    words: float
    code: float
    shown: float
    guesses: float
    questions: float

    def minutes(self, counts: Counts) -> float:
        """Minutes for what was counted."""
        return sum(getattr(self, f.name) * getattr(counts, f.name) for f in fields(self))


PACE = Pace(words=1 / 213, code=1 / 8.7, shown=0.69, guesses=0.8, questions=0.62)

NAMES = {
    "title": "Welcome and question",
    "goals": "What you will be able to do",
    "recall": "Recall questions",
    "setup": "Set-up",
    "story": "Story and picture",
    "worked": "Worked example",
    "observe": "Observe and explain",
    "compare": "Modify and compare",
    "trap": "Trap",
    "practice": "In practice",
    "challenge": "Challenge",
    "exit": "Exit quiz and take-aways",
    "sources": "Sources",
}


@dataclass(frozen=True)
class Row:
    """One line of the plan: whole minutes, and the id of the exercise that it is, if it is one."""

    name: str
    minutes: int
    exercise: str = ""


@dataclass(frozen=True)
class Plan:
    """Whole minutes of a notebook; `sections` has those of each heading, not rounded."""

    rows: tuple[Row, ...]
    run: int
    exercises: int
    sections: dict[str, float]

    @property
    def total(self) -> int:
        return sum(row.minutes for row in self.rows)

    @property
    def read(self) -> int:
        """Minutes to read, to guess and to answer."""
        return self.total - self.run - self.exercises

    def as_data(self) -> dict[str, int]:
        """The four numbers that card, page and deck tell."""
        return {
            "total": self.total,
            "read": self.read,
            "run": self.run,
            "exercises": self.exercises,
        }


def for_a_class(total: int, saved: Sequence[int], room: int = CLASS, talk: int = TALK) -> str:
    """What fits into a session of `room` minutes, of which votes and questions need `talk`.

    `saved` has the minutes that each cut saves, in the order in which to cut.
    """
    if total + talk <= room:
        return f"In a class of {room} minutes {room - total} are left for votes and questions."
    needed = total + talk - room
    for number in range(1, len(saved) + 1):
        if sum(saved[:number]) >= needed:
            which = "the first cut" if number == 1 else f"the first {number} cuts"
            return (
                f"A class of {room} minutes, {talk} of them for votes and questions, has "
                f"{room - talk} for it: make {which}, which saves {sum(saved[:number])} minutes."
            )
    return (
        f"It does not fit into a class of {room} minutes, {talk} of them for votes and questions: "
        "give it two sessions."
    )


def sentence(minutes: dict[str, int]) -> str:
    """The four numbers in words, the same wherever they stand."""
    return (
        f"{minutes['total']} ({minutes['read']} to read, {minutes['run']} to run, "
        f"{minutes['exercises']} for the exercises)"
    )


def make_plan(source: Source, pace: Pace = PACE) -> Plan:
    """The plan of a source: what its learner copy holds at `pace`, its runs, its exercises."""
    parts = [*_parts(source)]
    runs = next((n for n, part in enumerate(parts) if "setup" in part.tags), 0)
    exercises = {e.id: e.minutes for e in source.exercises.values()}
    timed: list[tuple[_Part, float]] = []
    sections: dict[str, float] = {}
    for position, part in enumerate(parts):
        minutes = pace.minutes(count(part.cells, source.number))
        minutes += source.title.run if position == runs else 0
        if part.exercise:
            minutes = exercises[part.exercise]
        else:
            sections[part.name] = sections.get(part.name, 0) + minutes
        timed.append((part, minutes))
    return Plan(
        tuple(_rounded(_joined(timed))), source.title.run, sum(exercises.values()), sections
    )


@dataclass(frozen=True)
class _Part:
    """Neighbouring cells under one heading, or those of one exercise."""

    name: str
    cells: list[Cell]
    tags: frozenset[str] = frozenset()
    exercise: str = ""
    again: bool = False  # goes on after an exercise

    @property
    def shown(self) -> str:
        return f"{self.name}, continued" if self.again else self.name


def _parts(source: Source) -> Iterator[_Part]:
    """The learner's cells under the headings that they stand under, exercises apart."""
    name, part = "Start", _Part("Start", [])
    for cell in kept(source, "learner"):
        opened = [tag for tag in cell.tags if tag in NAMES]
        heading = _heading(cell)
        if opened and cell.kind == "markdown":
            heading = heading or NAMES[opened[0]]
        own = part.exercise and {"exercise-code", "check"} & set(cell.tags)
        if "exercise" in cell.tags:
            yield part
            exercise = source.exercises[cell.exercise]
            named = f"Exercise {exercise.id}: {exercise.level}"
            named += f", {exercise.importance}" if exercise.importance else ""
            part = _Part(named, [cell], exercise=exercise.id)
        elif heading or (part.exercise and not own):
            yield part
            part = _Part(heading or name, [cell], frozenset(opened), again=not heading)
            name = part.name
        else:
            part.cells.append(cell)
    yield part


def _heading(cell: Cell) -> str:
    found = re.search(r"^## +(.+)$", cell.source, re.MULTILINE) if cell.kind == "markdown" else None
    return found[1].strip() if found and not {"title", "exercise"} & set(cell.tags) else ""


def _joined(timed: Sequence[tuple[_Part, float]]) -> list[tuple[str, float, str]]:
    """(name, minutes, exercise): what takes less than a minute goes with what follows, or stands
    before."""
    rows: list[tuple[str, float, str]] = []
    waiting: list[str] = []
    held = 0.0
    for part, minutes in timed:
        if not part.cells:
            continue
        if part.exercise and waiting:
            rows.append(("; ".join(waiting), held, ""))
            waiting, held = [], 0.0
        if part.exercise:
            rows.append((part.name, minutes, part.exercise))
            continue
        waiting, held = [*waiting, part.shown], held + minutes
        if held >= 1:
            rows.append(("; ".join(waiting), held, ""))
            waiting, held = [], 0.0
    if waiting:
        if rows and not rows[-1][2]:
            before, minutes, _ = rows.pop()
            waiting, held = [before, *waiting], held + minutes
        rows.append(("; ".join(waiting), held, ""))
    return rows


def _rounded(rows: Sequence[tuple[str, float, str]]) -> Iterator[Row]:
    """Whole minutes, one at least, whose sums follow the sums of the exact ones."""
    exact, shown = 0.0, 0
    for name, minutes, exercise in rows:
        exact += minutes
        whole = int(minutes) if exercise else max(1, math.floor(exact + 0.5) - shown)
        shown += whole
        yield Row(name, whole, exercise)
