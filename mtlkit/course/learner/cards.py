"""The exercise cards of a notebook as data, for `hint` and `progress`; the builder writes them."""

import hashlib
import json
from typing import Any

from mtlkit.course.learner import lesson

IMPORTANCE = {  # what a card says beside its level, the least important last
    "core": "core: what follows builds on it",
    "useful": "useful: leave it out only when time is short",
    "extra": "extra: the first to leave out when time is short",
}


def numbers() -> list[str]:
    """The numbers of all notebooks that have cards, in order."""
    return lesson.numbers("cards.json")


def load(number: str) -> dict[str, Any]:
    """A notebook's card file.

    {"title": ..., "question": ..., "minutes": {total, read, run, exercises}, "class": what fits
    into one session, "exercises": {id: {level, importance, minutes, goal, hints}},
    "answers": {fingerprint of a cell: [ids of the guesses whose answer it shows]}}, the last for
    cells that name no guess.
    """
    path = lesson.path(number, "cards.json")
    if not path.exists():
        return {"title": "", "question": "", "exercises": {}, "answers": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def answers() -> dict[str, list[str]]:
    """The entries "answers" of all notebooks: which guesses a cell answers, by its fingerprint."""
    found: dict[str, list[str]] = {}
    for number in numbers():
        found |= load(number).get("answers", {})
    return found


def fingerprint(text: str, length: int = 8) -> str:
    """A short hash of a cell's text, blind to spaces at line ends."""
    plain = "\n".join(line.rstrip() for line in text.strip().split("\n"))
    return hashlib.sha256(plain.encode("utf-8")).hexdigest()[:length]
