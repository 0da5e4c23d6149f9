"""The kit with which checkers are written, and the register of all that are loaded.

How to write a checker stands in `notebooks/README.md`; `check` runs them.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Mistake(Exception):
    """Raised by a checker: its text is the sentence that the learner reads."""


class NotAttempted(Exception):
    """Raised by a stub, or for the answers `...` and None: the exercise was not tried yet."""


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
