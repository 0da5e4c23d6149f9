"""What to leave out of a notebook when time is short, in order, with the minutes that it saves."""

import math
import re
from dataclasses import dataclass

from mtlkit.course.author.plan import make_plan
from mtlkit.course.author.source import Exercise, Source

_EXERCISE = re.compile(r"\bExercise (\d+\.\d+)\b", re.IGNORECASE)
_MINUTES = re.compile(r"\s*\((\d+) minutes?\)")


@dataclass(frozen=True)
class Cut:
    """One thing to leave out: what it is, the minutes saved (0 where unknown), what to do instead.

    `exercise` is its card where it is an exercise.
    """

    what: str
    minutes: int
    instead: str = ""
    exercise: Exercise | None = None
    typed: int = 0  # minutes that the entry of `cut` tells


def cuts(source: Source) -> list[Cut]:
    """What to leave out first, in order: extra exercises, then what `cut` lists, then useful ones.

    An entry of `cut` that names an exercise is the author's word on that exercise, and stands at
    the exercise's place; its minutes are the card's. One that begins with a heading saves the
    minutes that it tells, at most those of the plan. A challenge is extra unless its card says
    otherwise.
    """
    listed = [_entry(text, source) for text in source.title.cut]
    own = {cut.exercise.id: cut for cut in listed if cut.exercise is not None}

    def of(importance: str) -> list[Cut]:
        return [
            own.get(e.id, Cut(f"Exercise {e.id}", e.minutes, exercise=e))
            for e in source.exercises.values()
            if weight(e) == importance
        ]

    placed = [*of("extra"), *of("useful")]
    rest = [cut for cut in listed if cut not in placed]
    return [*of("extra"), *rest, *of("useful")]


def weight(exercise: Exercise) -> str:
    """The importance of an exercise: what its card says, else "extra" for a challenge, else ""."""
    return exercise.importance or ("extra" if exercise.level == "challenge" else "")


def cut_rows(source: Source) -> list[str]:
    """The instructor page's list: each cut with its minutes and what is saved up to it."""
    rows, saved = [], 0
    for number, cut in enumerate(cuts(source), start=1):
        saved += cut.minutes
        named = f", {weight(cut.exercise)}" if cut.exercise and weight(cut.exercise) else ""
        cost = f" ({cut.minutes} minutes, {saved} saved so far)" if cut.minutes else ""
        rows.append(f"{number}. {cut.what}{named}{cost}{cut.instead or '.'}")
    return ["Cut first, in this order:", "", *rows] if rows else ["Nothing is marked as optional."]


def _entry(text: str, source: Source) -> Cut:
    """An entry of `cut`, such as "Exercise 2.1 (6 minutes); count on the board."."""
    named = _EXERCISE.search(text)
    exercise = source.exercises.get(named[1]) if named else None
    typed = _MINUTES.search(text)
    what, instead = (text[: typed.start()], text[typed.end() :]) if typed else (text, "")
    if not typed and ";" in text:
        what, _, instead = text.partition(";")
        instead = f";{instead}"
    what, told = what.rstrip("."), int(typed[1]) if typed else 0
    if exercise:
        return Cut(what, exercise.minutes, instead, exercise, told)
    most = math.ceil(make_plan(source).sections.get(what.strip('"'), told))
    return Cut(what, min(told or most, most), instead, typed=told)
