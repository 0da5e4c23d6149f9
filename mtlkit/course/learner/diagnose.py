"""Which stored mistake an answer makes: the one whose own function gives the same.

The checker is run on the solution, which visits all its inputs. On these the answer, the solution
and each stored wrong answer are called. A mistake is named if, in whatever parts of the result it
differs from the solution, the answer gives what the mistake gives on every input, and if it differs
on two inputs at least: one might be chance. NaN is no evidence for anything.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlkit.course.learner.calls import LearnerError, Watched, like, watched
from mtlkit.course.learner.checker import Checker, Mistake, NotAttempted, Wrong
from mtlkit.course.learner.explain import text_of
from mtlkit.course.learner.values import APART, as_array, close, copied, largest, leaf

INPUTS = 40  # on which answers are compared
EVIDENCE = 2  # inputs on which a mistake must show


@dataclass(frozen=True)
class Outcome:
    """What a call gave: named parts of the result and its gradients, or the text of an error."""

    parts: Mapping[str, Any]
    error: str = ""


def diagnose(entry: Checker, answer: Any, seed: int = 0) -> Wrong | None:
    """The stored mistake that the answer makes, the first of them; None if it makes none."""
    if not callable(answer):
        return next((w for w in entry.wrong if w.matched and _same_value(answer, w.answer)), None)
    inputs = inputs_of(entry, seed)
    if not isinstance(watched(answer, None), Watched) or len(inputs) < EVIDENCE:
        return None
    right = [outcome(entry.solution, entry.solution, given) for given in inputs]
    found = [outcome(answer, entry.solution, given) for given in inputs]
    for wrong in entry.wrong:
        if wrong.matched and callable(wrong.answer):
            theirs = [outcome(wrong.answer, entry.solution, given) for given in inputs]
            if explains(theirs, found, right):
                return wrong
    return None


def inputs_of(entry: Checker, seed: int = 0) -> list[tuple[Any, ...]]:
    """The inputs that the checker uses, as its solution meets them."""
    if not callable(entry.solution):
        return []
    seen = Watched(entry.solution, entry.solution)
    with contextlib.suppress(Exception):  # whatever it is, the verdict does not rest on it
        entry.ask(seen, seed)
    return seen.calls[:INPUTS]


def explains(theirs: Sequence[Outcome], found: Sequence[Outcome], right: Sequence[Outcome]) -> bool:
    """Whether a mistake's outcomes are those of the answer, wherever they are not the right ones.

    Each sequence has one outcome for each input.
    """
    apart = [_differing(mistake, wanted) for mistake, wanted in zip(theirs, right, strict=True)]
    touched = set().union(*apart)
    evidence = 0
    for mistake, mine, differing in zip(theirs, found, apart, strict=True):
        if mistake.error and mistake.error != mine.error:
            continue  # the answer avoids this crash or words it otherwise: no evidence
        if not _agree(mistake, mine, touched) or _new_nan(mistake, mine):
            return False
        evidence += any(not _has_nan(mine.parts.get(part)) for part in differing)
    return evidence >= EVIDENCE


def outcome(function: Any, solution: Any, given: Sequence[Any]) -> Outcome:
    """Call a function on a copy of the inputs; what it raises does not come out."""
    used = tuple(leaf(value) for value in given)
    try:
        result = Watched(function, None).raw(*(copied(value) for value in used))
    except LearnerError as wrapped:
        error = wrapped.args[0]
        text = "" if isinstance(error, ArithmeticError) else f": {text_of(error)}"
        return Outcome({}, f"{type(error).__name__}{text}")
    except (Mistake, NotAttempted):
        return Outcome({}, "nothing")
    with contextlib.suppress(Mistake):  # of another form than asked for: compared as it is
        result = like(result, solution(*(leaf(value) for value in given)))
    parts = dict(_parts(result))
    with contextlib.suppress(Exception):
        parts |= _gradients(result, used)
    return Outcome(parts)


def _parts(result: Any, name: str = "result") -> list[tuple[str, Any]]:
    if isinstance(result, Mapping):
        rows = [_parts(result[key], f"{name}[{key!r}]") for key in result]
        return [(f"{name} keys", sorted(map(str, result))), *(part for row in rows for part in row)]
    if isinstance(result, tuple):
        rows = [_parts(part, f"{name}[{place}]") for place, part in enumerate(result)]
        return [part for row in rows for part in row]
    if isinstance(result, list | set) and all(isinstance(part, str) for part in result):
        return [(name, sorted(result))]
    array = as_array(result)
    return [(name, array if array.dtype.kind in "biuf" else str(type(result)))]


def _gradients(result: Any, used: Sequence[Any]) -> dict[str, Any]:
    import torch

    places = [n for n, value in enumerate(used) if getattr(value, "requires_grad", False)]
    if not places:
        return {}
    found: Sequence[Any] = [None] * len(places)
    if torch.is_tensor(result) and result.requires_grad:
        inputs = [used[n] for n in places]
        found = torch.autograd.grad(result.sum(), inputs, allow_unused=True)
    return {
        f"gradient {n}": as_array(torch.zeros_like(used[n]) if slope is None else slope)
        for n, slope in zip(places, found, strict=True)
    }


def _differing(one: Outcome, other: Outcome) -> set[str]:
    """The parts in which two outcomes are clearly apart; "error" if one raised."""
    if one.error or other.error:
        return {"error"} if one.error != other.error else set()
    names = {*one.parts, *other.parts}
    return {name for name in names if not _close(one, other, name, APART)}


def _agree(mistake: Outcome, mine: Outcome, touched: set[str]) -> bool:
    if mistake.error or mine.error:
        return mistake.error == mine.error
    return all(_close(mistake, mine, name) for name in touched - {"error"})


def _close(one: Outcome, other: Outcome, name: str, tolerance: float | None = None) -> bool:
    mine, theirs = one.parts.get(name), other.parts.get(name)
    extra = {} if tolerance is None else {"tolerance": tolerance}
    return close(mine, theirs, largest(mine, theirs), **extra)


def _new_nan(mistake: Outcome, mine: Outcome) -> bool:
    """Whether the answer has a NaN in a part where the mistake has none."""
    names = [name for name in mine.parts if _has_nan(mine.parts[name])]
    return not all(_has_nan(mistake.parts.get(name)) for name in names)


def _has_nan(part: Any) -> bool:
    return isinstance(part, np.ndarray) and bool(np.isnan(part.astype(float)).any())


def _same_value(answer: Any, stored: Any) -> bool:
    one, other = as_array(answer), as_array(stored)
    if one.dtype.kind in "biuf" and other.dtype.kind in "biuf":
        return close(one, other, largest(one, other)) and not _has_nan(one)
    return type(answer) is type(stored) and bool(answer == stored)
