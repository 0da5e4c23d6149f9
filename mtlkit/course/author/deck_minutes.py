"""What a deck says of minutes: the plan of its notebook, put into the notes of the first slide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mtlkit.course.author.deck import STRICT, Deck
from mtlkit.course.author.folders import Folders
from mtlkit.course.author.plan import sentence

_TYPED = re.compile(r"^(\d+) minutes?\b", re.MULTILINE)
_EXERCISE = re.compile(r"\*\*(\d+\.\d+)\*\*[^\n]*?\((\d+) minutes?\)")


def card_of(deck: Deck, folders: Folders) -> dict[str, Any]:
    """The card file of the notebook that a deck belongs to."""
    path = folders.lessons / f"nb{deck.number}" / "cards.json"
    return json.loads(path.read_text(encoding="utf-8"))


def with_minutes(deck: Deck, card: dict[str, Any]) -> Deck:
    """The deck as it is made HTML: the plan in its first notes, marks that are no notes left out.

    A card without minutes, of a notebook that was not built since, adds none.
    """
    rows = [row for row in deck.text.split("\n") if row.strip() != f"<!-- {STRICT} -->"]
    if "minutes" in card:
        first = next(n for n, row in enumerate(rows) if row.startswith("<!-- _class:"))
        note = f"Minutes of a learner alone with the notebook: {sentence(card['minutes'])}."
        rows[first + 1 : first + 1] = ["", f"<!-- {note} {card['class']} -->"]
    return replace(deck, text="\n".join(rows))


def typed_minutes(deck: Deck, card: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(line, sentence) for minutes that are typed into a deck and are not those of the plan."""
    typed = [int(number) for slide in deck.slides for number in _TYPED.findall(slide.notes)]
    if typed:
        text = f"notes type minutes, {sum(typed)} in all: a second plan beside the notebook's"
        yield 1, f"{text}; leave them out, `mtlkit slides` tells those of the plan"
    for slide in deck.slides:
        for name, minutes in _EXERCISE.findall(slide.shown):
            planned = card["exercises"].get(name, {}).get("minutes")
            if planned is not None and planned != int(minutes):
                text = f"exercise {name} has {planned} minutes on its card"
                yield slide.line, f"{text}, not {minutes}"
