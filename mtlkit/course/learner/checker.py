"""The kit with which checkers are written, and the register of all that are loaded.

How to write a checker stands in `notebooks/README.md`; `check` runs them.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mtlkit.course.learner.values import as_array, kind, short


class Mistake(Exception):
    """Raised by a checker: its text is the sentence that the learner reads."""


class NotAttempted(Exception):
    """Raised by a stub, or for the answers `...` and None: the exercise was not tried yet."""


@dataclass(frozen=True)
class Wrong:
    """A stored wrong answer, the whole sentence it gets, and the mistake's name.

    The sentence is said of each answer that gives what this one gives, see `diagnose`. It is not
    if `matched` is False: then the checker says it by itself, from something that it saw.
    """

    answer: Any
    message: str
    name: str = ""
    matched: bool = True


@dataclass(frozen=True)
class Checker:
    """One registered checker with the answers it is itself tested on."""

    id: str
    run: Callable[..., None]
    solution: Any
    stub: Any
    wrong: list[Wrong] = field(default_factory=list)
    praise: str = ""

    @property
    def told(self) -> set[str]:
        """The sentences that the checker says by itself, from what it saw."""
        return {wrong.message for wrong in self.wrong if not wrong.matched}

    def ask(self, answer: Any, seed: int = 0) -> None:
        """Run the checker; one that draws its inputs takes a seed as its second argument."""
        if len(inspect.signature(self.run).parameters) > 1:
            self.run(answer, seed)
        else:
            self.run(answer)


REGISTRY: dict[str, Checker] = {}


def checker(
    exercise: str, *, solution: Any, stub: Any, wrong: Sequence[tuple | Wrong], praise: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the decorated function as the checker of an exercise.

    The function gets the learner's answer (and a seed, if it takes one) and raises `Mistake` at
    the first thing that is wrong. It names no mistake: `wrong` holds (answer, sentence) or (answer,
    sentence, name of the mistake), and the sentence is said where the learner's answer is found to
    be that one. Without a name the first line of the answer's docstring is taken. `praise` follows
    "right". Raises ValueError for an id that is taken or malformed.
    """
    if not re.fullmatch(r"\d+\.\d+", exercise):
        raise ValueError(f"an exercise id looks like 2.1, found {exercise!r}")
    entries = [entry if isinstance(entry, Wrong) else Wrong(*entry) for entry in wrong]
    stored = [replace(entry, name=entry.name or _named(entry.answer)) for entry in entries]

    def register(run: Callable[..., None]) -> Callable[..., None]:
        known = REGISTRY.get(exercise)
        if known is not None and known.run.__module__ != run.__module__:
            raise ValueError(f"exercise {exercise} already has a checker in {known.run.__module__}")
        REGISTRY[exercise] = Checker(exercise, run, solution, stub, stored, praise)
        return run

    return register


def observed(answer: Any, message: str) -> Wrong:
    """A stored wrong answer whose sentence the checker says by itself, from what it saw."""
    return Wrong(answer, message, _named(answer), matched=False)


def _named(answer: Any) -> str:
    return (inspect.getdoc(answer) or "").split("\n")[0] if callable(answer) else ""


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
    left, right = as_array(found), as_array(wanted)
    if left.dtype.kind not in "biufc":
        raise Mistake(f"Your answer returns {kind(found)}, a number or a tensor is needed.")
    if left.shape != right.shape:
        raise Mistake(f"Your answer has shape {left.shape}, it should have shape {right.shape}.")
    left, right = left.astype(float), right.astype(float)
    if not np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise Mistake(_fill(sentence, {"found": found, "wanted": wanted}))


def require_shape(found: Any, shape: Sequence[int], sentence: str | None = None) -> None:
    """Raise Mistake unless `found` has the shape."""
    have, wanted = str(tuple(as_array(found).shape)), str(tuple(shape))
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


def _fill(sentence: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        sentence = sentence.replace("{" + name + "}", short(value))
    return sentence
