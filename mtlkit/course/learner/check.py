"""Checking a learner's answer.

`check("2.1", answer)` looks for the checker of exercise 2.1 in `mtlkit/lessons/nb02/checks.py`,
runs it and prints one sentence, and below it the input on which the answer failed.
"""

import contextlib
import inspect
import os
from dataclasses import dataclass
from typing import Any

from mtlkit.course.learner import guard, lesson
from mtlkit.course.learner.calls import LearnerError, Watched, watched
from mtlkit.course.learner.checker import REGISTRY, Checker, Mistake, NotAttempted, Wrong
from mtlkit.course.learner.diagnose import diagnose
from mtlkit.course.learner.explain import error_sentence, text_of, time_sentence
from mtlkit.course.learner.progress import record_check
from mtlkit.course.learner.values import cut, described

LONGEST_INPUT = 240  # characters of the line that shows it
CHANGED = "(Your code changes the inputs that it is given. Work on a copy where others need them.)"


class CheckFailed(AssertionError):
    """A check was not passed while MTLKIT_STRICT=1 (solution copies are run that way)."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: `status` ("right", "wrong", "not attempted") and one sentence.

    `input` is what the answer failed on, in one line; empty where that is not known.
    """

    status: str
    message: str
    input: str = ""


def judge(exercise: str, answer: Any, seed: int = 0, seconds: float | None = None) -> Verdict:
    """Run the checker of an exercise on an answer and return its verdict; nothing is printed or
    stored.

    `seed` draws the checker's inputs. The answer has `seconds` (None: guard.SECONDS); what can be
    stopped and what cannot is said in `guard`. Raises KeyError if the exercise has no checker.
    """
    entry = find(exercise)
    if answer is None or answer is Ellipsis:
        return Verdict("not attempted", "not attempted yet.")
    seconds = guard.SECONDS if seconds is None else seconds
    ended = guard.run(lambda: _judge(entry, answer, seed), seconds)
    if isinstance(ended.error, guard.OutOfTime):
        return Verdict("wrong", time_sentence(ended, answer, seconds))
    if ended.error is not None:
        raise ended.error
    return ended.value


def _judge(entry: Checker, answer: Any, seed: int) -> Verdict:
    mine = watched(answer, entry.solution)
    try:
        entry.ask(mine, seed)
    except NotAttempted:
        return Verdict("not attempted", "not attempted yet.")
    except guard.OutOfTime:
        raise
    except BaseException as error:
        return _refused(entry, answer, mine, error, seed)
    note = f" {CHANGED}" if isinstance(mine, Watched) and mine.changed else ""
    return Verdict("right", (entry.praise or "well done.") + note)


def _refused(entry: Checker, answer: Any, mine: Any, error: BaseException, seed: int) -> Verdict:
    """Why an answer is not right: a named mistake, else what the checker or Python says."""
    found = error.args[0] if isinstance(error, LearnerError) else error
    if "ellipsis" in text_of(found)[:1000].lower():
        return Verdict("not attempted", "not finished yet: there is still a `...` to replace.")
    seen = isinstance(found, Mistake) and str(found) in entry.told
    wrong = None if seen else _named(entry, answer, seed)
    if wrong is not None:
        message = wrong.message
    elif isinstance(found, Mistake):
        message = str(found)
    else:
        message = error_sentence(found, answer)
    return Verdict("wrong", message, _input(mine))


def _named(entry: Checker, answer: Any, seed: int) -> Wrong | None:
    """The mistake that the answer makes; whatever goes wrong there, the verdict does not rest on
    it."""
    with guard.muted(), contextlib.suppress(Exception):
        return diagnose(entry, answer, seed)
    return None


def _input(mine: Any) -> str:
    if not isinstance(mine, Watched) or not mine.calls:
        return ""
    function = mine.solution if callable(mine.solution) else mine.answer
    names: list[str] = []
    with contextlib.suppress(ValueError, TypeError):  # some built-in functions have none
        names = list(inspect.signature(function).parameters)
    return cut(described(names, mine.calls[-1]), LONGEST_INPUT)


def check(exercise: str, answer: Any) -> None:
    """Check an answer, print one sentence and remember the outcome for `progress()`.

    Never raises into the notebook, except when MTLKIT_STRICT=1 and the answer is not right
    (CheckFailed).
    """
    strict = os.environ.get("MTLKIT_STRICT") == "1"
    try:
        with guard.limited_prints():
            verdict = judge(exercise, answer)
    except KeyError as missing:
        if strict:
            raise CheckFailed(missing.args[0]) from None
        print(missing.args[0])
        return
    if verdict.status == "right":
        print(f"✓ {exercise}: right. {verdict.message}")
    elif verdict.status == "wrong":
        print(f'✗ {exercise}: not yet. {verdict.message} (hint("{exercise}") helps.)')
        if verdict.input:
            print(f"  Input: {verdict.input}")
    else:
        print(f"· {exercise}: {verdict.message} The notebook goes on without it.")
    _remember(exercise, verdict.status)
    if strict and verdict.status != "right":
        raise CheckFailed(f"{exercise}: {verdict.status}: {verdict.message}")


def _remember(exercise: str, status: str) -> None:
    """Record the outcome; whatever goes wrong there is said, and never ends a notebook."""
    try:
        record_check(exercise, status)
    except Exception as error:
        print(f"This answer could not be recorded ({type(error).__name__}: {error}).")


def find(exercise: str) -> Checker:
    """The checker of an exercise; raises KeyError with a sentence if there is none."""
    number, dot, _ = str(exercise).partition(".")
    if dot and number.isdigit():
        load(f"{int(number):02d}")
    if exercise not in REGISTRY:
        raise KeyError(f"there is no check {exercise!r}; look at the number on the exercise card.")
    return REGISTRY[exercise]


def load(number: str) -> dict[str, Checker]:
    """The checkers of one notebook ("02"), by exercise id; empty if it has no file of checkers."""
    lesson.module(number, "checks")
    start = f"{int(number)}."
    return {name: entry for name, entry in REGISTRY.items() if name.startswith(start)}
