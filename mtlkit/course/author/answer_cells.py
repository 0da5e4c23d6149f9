"""Which cells of a source show the answer to a guess, and to which."""

import re

from mtlkit.course.author.source import SECTIONS, Source
from mtlkit.course.learner.answers import GUESS
from mtlkit.course.learner.cards import fingerprint

ASKED = re.compile(r"""\bpredict\(\s*["']([^"']+)["']""")


def answers(source: Source) -> dict[str, list[str]]:
    """{fingerprint of a cell: guesses that it waits for}, for folded cells that name no guess.

    Such a cell shows the answer to what was asked above it and is named further down, or, where no
    cell names it, up to the next questions. Where nothing is left to answer, it adds to the answers
    given before it in its own section.
    """
    told = {name: n for n, cell in enumerate(source.cells) for name in GUESS.findall(cell.source)}
    found: dict[str, list[str]] = {}
    asked: list[str] = []
    here: list[str] = []  # answered in this section
    for position, cell in enumerate(source.cells):
        if set(SECTIONS) & set(cell.tags):
            here = []
        if "predict" in cell.tags:
            asked = [name for name in asked if name in told] + ASKED.findall(cell.source)
        named = GUESS.findall(cell.source) if cell.kind == "code" else []
        here += named
        if "hide-output" in cell.tags and not named:
            waits = [name for name in asked if told.get(name, position) >= position] or here
            if waits:
                found[fingerprint(cell.source)] = list(dict.fromkeys(waits))
    return found
