"""The exercise cards of a notebook as data, for `hint` and `progress`; the builder writes them."""

import json
from typing import Any

from mtlkit.course.learner import lesson


def numbers() -> list[str]:
    """The numbers of all notebooks that have cards, in order."""
    return lesson.numbers("cards.json")


def load(number: str) -> dict[str, Any]:
    """A notebook's card file: {"title": ..., "exercises": {id: {level, minutes, goal, hints}}}."""
    path = lesson.path(number, "cards.json")
    if not path.exists():
        return {"title": "", "exercises": {}}
    return json.loads(path.read_text(encoding="utf-8"))
