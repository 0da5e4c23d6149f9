"""Checking a learner's answer.

`check("2.1", answer)` looks for the checker of exercise 2.1 in `mtlkit/lessons/nb02/checks.py`,
runs it and prints one sentence.
"""

import functools
import inspect
import linecache
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlkit.course.learner import lesson
from mtlkit.course.learner.checker import REGISTRY, Checker, Mistake, NotAttempted
from mtlkit.course.learner.progress import record_check

_PACKAGE = str(Path(__file__).resolve().parents[2])


class CheckFailed(AssertionError):
    """A check was not passed while MTLKIT_STRICT=1 (solution copies are run that way)."""


class _LearnerError(Exception):
    """Wraps an exception that came out of the learner's code."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: `status` ("right", "wrong", "not attempted") and one sentence."""

    status: str
    message: str


def judge(exercise: str, answer: Any) -> Verdict:
    """Run the checker of an exercise on an answer and return its verdict; nothing is printed or
    stored.

    Raises KeyError if the exercise has no checker.
    """
    entry = find(exercise)
    if answer is None or answer is Ellipsis:
        return Verdict("not attempted", "not attempted yet.")
    try:
        entry.run(_watched(answer))
    except NotAttempted:
        return Verdict("not attempted", "not attempted yet.")
    except Mistake as mistake:
        return Verdict("wrong", str(mistake))
    except _LearnerError as wrapped:
        return _explain(wrapped.args[0], answer)
    except Exception as error:  # from a class of the learner's, or from comparing their result
        return _explain(error, answer)
    return Verdict("right", entry.praise or "well done.")


def check(exercise: str, answer: Any) -> None:
    """Check an answer, print one sentence and remember the outcome for `progress()`.

    Never raises into the notebook, except when MTLKIT_STRICT=1 and the answer is not right
    (CheckFailed).
    """
    strict = os.environ.get("MTLKIT_STRICT") == "1"
    try:
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


def _watched(answer: Any) -> Any:
    """The learner's function, with an unfinished result and its own exceptions told apart."""
    if not inspect.isroutine(answer):
        return answer

    @functools.wraps(answer)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            result = answer(*arguments, **options)
        except NotAttempted:
            raise
        except Exception as error:
            raise _LearnerError(error) from error
        if result is None or result is Ellipsis:
            raise NotAttempted
        parts = result.values() if isinstance(result, dict) else result
        if isinstance(result, tuple | list | dict) and any(part is Ellipsis for part in parts):
            raise NotAttempted
        return result

    return call


def _explain(error: BaseException, answer: Any) -> Verdict:
    """Put an exception from the learner's code into one sentence with its type and line."""
    text = str(error).split("\n")[0].rstrip(". ")  # the sentence brings its own full stop
    if "ellipsis" in text.lower() or isinstance(error, NotAttempted):
        return Verdict("not attempted", "not finished yet: there is still a `...` to replace.")
    own = None
    code = getattr(answer, "__code__", None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        elsewhere = name.startswith(_PACKAGE) or "site-packages" in name
        if name == code.co_filename if code is not None else not elsewhere:
            own = (frame, line)
    detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if own is None:
        return Verdict("wrong", f"Calling your answer stopped with {detail}.")
    frame, line = own
    shown = linecache.getline(frame.f_code.co_filename, line).strip()
    quoted = f" (`{shown}`)" if shown else ""
    return Verdict("wrong", f"Line {line} of your code{quoted} stopped with {detail}.")
