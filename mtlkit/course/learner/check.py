"""Checking a learner's answer, and the small kit with which checkers are written.

`check("2.1", answer)` looks for the checker of exercise 2.1 in `mtlkit/lessons/nb02/checks.py`,
runs it and prints one sentence. How to write a checker stands in `notebooks/README.md`.
"""

import functools
import importlib
import inspect
import linecache
import os
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mtlkit.course.learner.progress import record_check

_PACKAGE = str(Path(__file__).resolve().parents[2])


class Mistake(Exception):
    """Raised by a checker: its text is the sentence that the learner reads."""


class NotAttempted(Exception):
    """Raised by a stub, or for the answers `...` and None: the exercise was not tried yet."""


class CheckFailed(AssertionError):
    """A check was not passed while MTLKIT_STRICT=1 (solution copies are run that way)."""


class _LearnerError(Exception):
    """Wraps an exception that came out of the learner's code."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: `status` ("right", "wrong", "not attempted") and one sentence."""

    status: str
    message: str


@dataclass(frozen=True)
class Wrong:
    """A stored wrong answer, a part of the message it must get, and the mistake's name."""

    answer: Any
    expected: str
    name: str


@dataclass(frozen=True)
class Checker:
    """One registered checker with the answers it is itself tested on."""

    id: str
    run: Callable[[Any], None]
    solution: Any
    stub: Any
    wrong: list[Wrong] = field(default_factory=list)
    praise: str = ""


REGISTRY: dict[str, Checker] = {}


def checker(
    exercise: str, *, solution: Any, stub: Any, wrong: Sequence[tuple], praise: str = ""
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register the decorated function as the checker of an exercise.

    The function gets the learner's answer and raises `Mistake` at the first thing that is wrong.
    `wrong` holds (answer, part of the message) or (answer, part of the message, name of the
    mistake); without a name the first line of the answer's docstring is taken. `praise` follows
    "right". Raises ValueError for an id that is taken or malformed.
    """
    if not re.fullmatch(r"\d+\.\d+", exercise):
        raise ValueError(f"an exercise id looks like 2.1, found {exercise!r}")
    stored = []
    for answer, expected, *name in wrong:
        described = (inspect.getdoc(answer) or "") if callable(answer) else ""
        stored.append(Wrong(answer, expected, name[0] if name else described.split("\n")[0]))

    def register(run: Callable[[Any], None]) -> Callable[[Any], None]:
        known = REGISTRY.get(exercise)
        if known is not None and known.run.__module__ != run.__module__:
            raise ValueError(f"exercise {exercise} already has a checker in {known.run.__module__}")
        REGISTRY[exercise] = Checker(exercise, run, solution, stub, stored, praise)
        return run

    return register


# The kit for checkers


def require(condition: Any, sentence: str, **values: Any) -> None:
    """Raise Mistake(sentence) unless the condition holds; values fill `{name}` in the sentence."""
    if not bool(condition):
        raise Mistake(_fill(sentence, values))


def require_close(
    found: Any, wanted: Any, sentence: str | None = None, tolerance: float = 1e-5
) -> None:
    """Raise Mistake unless two tensors, arrays or numbers agree.

    Agreement means the same shape and |found - wanted| <= tolerance * (1 + |wanted|) everywhere;
    NaN agrees only with NaN. `{found}` and `{wanted}` in the sentence are filled in.
    """
    sentence = sentence or "Your answer gives {found}, it should be {wanted}."
    left, right = _array(found), _array(wanted)
    if left.dtype.kind not in "biufc":
        raise Mistake(f"Your answer returns {_kind(found)}, a number or a tensor is needed.")
    if left.shape != right.shape:
        raise Mistake(f"Your answer has shape {left.shape}, it should have shape {right.shape}.")
    left, right = left.astype(float), right.astype(float)
    if not np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise Mistake(_fill(sentence, {"found": found, "wanted": wanted}))


def require_shape(found: Any, shape: Sequence[int], sentence: str | None = None) -> None:
    """Raise Mistake unless `found` has the shape."""
    have, wanted = str(tuple(_array(found).shape)), str(tuple(shape))
    if have != wanted:
        sentence = sentence or "Your answer has shape {found}, it should have shape {wanted}."
        raise Mistake(_fill(sentence, {"found": have, "wanted": wanted}))


def require_gradient(found: Any, sentence: str | None = None) -> None:
    """Raise Mistake unless `found` is a tensor through which gradients flow back."""
    if getattr(found, "grad_fn", None) is None:
        raise Mistake(
            sentence
            or "No gradient flows through your result: did .item(), .detach() or numpy cut it?"
        )


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().float() if value.dtype.is_floating_point else value.cpu()
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        return np.asarray(None, dtype=object)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _fill(sentence: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        sentence = sentence.replace("{" + name + "}", _short(value))
    return sentence


def _short(value: Any) -> str:
    array = _array(value)
    if array.dtype.kind == "f" and array.size <= 12:
        return str(np.round(array.astype(float), 4).tolist())
    text = str(array.tolist() if array.dtype.kind in "biu" and array.size <= 12 else value)
    return text if len(text) <= 80 else text[:77] + "..."


# Running a checker


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
    record_check(exercise, verdict.status)
    if strict and verdict.status != "right":
        raise CheckFailed(f"{exercise}: {verdict.status}: {verdict.message}")


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
    module = f"mtlkit.lessons.nb{number}.checks"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (module, module.rpartition(".")[0]):
            raise
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
