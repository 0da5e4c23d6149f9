"""Guess first: a cell that shows the answer to a guess waits for the guess, or for a skip.

The cell runs, so that "Run all" reaches the end and later cells find its names; what it shows is
held back, and appears in its place after `predict("2.p1", ...)` or `skip("2.p1")`. IPython says
when a cell starts and ends; plain Python has no cells, and nothing is held there.
"""

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlkit.course.learner import cards, modes, store
from mtlkit.course.learner.questions import prediction

if TYPE_CHECKING:
    from mtlkit.course.learner.holding import Capture, Places

GUESS = re.compile(r"""\bguess\(\s*["']([^"']+)["']""")


@dataclass
class Waiting:
    """A cell that was run before its guess: its code, the names it first saw, what it shows."""

    source: str
    questions: list[str]
    names: dict[str, Any]
    capture: "Capture"
    places: "Places"


_waiting: dict[str, Waiting] = {}  # by the cell's code: a cell run twice waits once
_running: list[Waiting | None] = []  # the cell that runs now, and cells that it runs itself
_count = 0


def watch() -> None:
    """Hold answers from the next cell on; the course's import calls this.

    Does nothing outside of IPython, and where `modes.answers()` is "show".
    """
    held = modes.answers() == "hold"
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    for event, function in (("pre_run_cell", _before), ("post_run_cell", _after)):
        for known in list(shell.events.callbacks[event]):  # of an import before a reload
            if getattr(known, "__module__", "") == __name__:
                shell.events.unregister(event, known)
        if held:
            shell.events.register(event, function)


def asked_by(source: str) -> list[str]:
    """The guesses whose answer a cell shows: those it names, or those its card file names."""
    named = GUESS.findall(source) or cards.answers().get(cards.fingerprint(source), [])
    return [name for name in dict.fromkeys(named) if _exists(name)]


def still_open(names: list[str]) -> list[str]:
    """Those of the questions that have neither a guess nor a skip."""
    if not names:
        return []
    record = store.read()
    return [n for n in names if n not in record["guesses"] and n not in record["skipped"]]


def settle() -> bool:
    """Show each answer that waits for nothing more; whether any was shown."""
    shown = False
    if any(_running):  # what is shown now would be held; the end of the cell settles
        return shown
    for key, waiting in list(_waiting.items()):
        if not still_open(waiting.questions):
            del _waiting[key]
            _show(waiting)
            shown = True
    return shown


def sentence(names: list[str]) -> str:
    """What stands in place of an answer."""
    write = " and ".join(f'predict("{name}", ...)' for name in names)
    leave = " and ".join(f'skip("{name}")' for name in names)
    return (
        f"The answer waits for your guess {' and '.join(names)}: give it above, or write {write}. "
        f"To see the answer without a guess, write {leave}."
    )


def _exists(name: str) -> bool:
    try:
        prediction(name)
    except (KeyError, ValueError):
        return False
    return True


def _before(info: Any) -> None:
    """A cell starts: hold what it shows if its guess is open."""
    if info.store_history:  # a cell of the notebook, not one that a cell runs itself
        _let_go()
    nested = bool(_running)
    _running.append(None)
    try:
        if not nested:
            _running[-1] = _hold(info.raw_cell or "")
    except Exception as error:  # never a reason for a cell not to run
        print(f"The answer is not held back ({type(error).__name__}: {error}).")


def _let_go() -> None:
    """End what a cell that never came to its end has left."""
    while _running:
        left = _running.pop()
        if left is not None:
            left.capture.stop()


def _hold(source: str) -> Waiting | None:
    global _count
    names = still_open(asked_by(source))
    _waiting.pop(source, None)
    if not names:
        return None
    from IPython import get_ipython

    from mtlkit.course.learner.holding import Capture, Places

    shell = get_ipython()
    _count += 1
    places = Places(shell, f"mtlkit-answer-{_count}", sentence(names))
    capture = Capture(shell)
    capture.start()
    first = dict(shell.user_ns) if GUESS.search(source) else {}
    return Waiting(source, names, first, capture, places)


def _after(_: object) -> None:
    """The cell has ended: keep what it would have shown, and show what waits no more."""
    if not _running:  # the cell that imported the course
        return
    waiting = _running.pop()
    if waiting is not None:
        waiting.capture.stop()
        waiting.places.reserve(len(waiting.capture.shown))
        _waiting[waiting.source] = waiting
    if not _running and _waiting:  # the guess may be one of this cell, or of another kernel
        settle()


def _show(waiting: Waiting) -> None:
    """Fill the places. A cell that draws the guess runs again in the names it first saw."""
    from mtlkit.course.learner.holding import run_again

    shown = waiting.capture.shown
    given = store.read()["guesses"]
    drawn = set(GUESS.findall(waiting.source))
    if any(name in given and name in drawn for name in waiting.questions):
        try:
            shown = run_again(waiting.capture.shell, waiting.source, waiting.names)
        except Exception:
            told = "Run this cell again to see your guess in it."
            shown = [*shown, {"data": {"text/plain": told}}]
    waiting.places.fill(shown)
