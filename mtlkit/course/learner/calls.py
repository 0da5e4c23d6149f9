"""The learner's function as a checker meets it: inputs copied, results in the form of the solution.

Whoever returns an array, a list, float32 or the numbers of a Python loop is judged by values and
shape, and whoever writes into an input spoils nothing.
"""

import dis
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mtlkit.course.learner.checker import Mistake, NotAttempted
from mtlkit.course.learner.guard import OutOfTime
from mtlkit.course.learner.values import as_array, copied, equal, kind, leaf

NOTHING = (
    "Your function returned None: did you forget `return`? What it computes or prints must be "
    "handed back."
)
_EMPTY = {  # what a body without any work consists of
    "RESUME", "NOP", "CACHE", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "COPY_FREE_VARS",
    "MAKE_CELL", "LOAD_SMALL_INT", "PRECALL",
}  # fmt: skip
_COUNTS = {1: "One thing", 2: "Two things", 3: "Three things"}


class LearnerError(Exception):
    """Wraps an exception that came out of the learner's code."""


class Watched:
    """Calls an answer with copies of the inputs; what it was given stays in `calls`.

    `changed` says whether the answer wrote into an input; `asked` holds what it handed, in its
    last call, to a function that it was given: (argument, ...) for each call. Raises LearnerError,
    NotAttempted for an unfinished result and Mistake for one that cannot be meant.
    """

    def __init__(self, answer: Any, solution: Any) -> None:
        self.answer, self.solution = answer, solution
        self.calls: list[tuple[Any, ...]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.changed = False
        functools.update_wrapper(self, answer, updated=())

    def __call__(self, *given: Any) -> Any:
        self.calls.append(tuple(leaf(value) for value in given))
        self.asked = []
        used = tuple(self._spied(v) if callable(v) else copied(v) for v in given)
        result = self.raw(*used)
        self.changed = self.changed or any(
            not callable(value) and not equal(mine, value)
            for mine, value in zip(used, given, strict=True)
        )
        if not callable(self.solution):
            return result
        return like(result, self.solution(*(copied(value) for value in given)))

    def _spied(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def spied(*arguments: Any, **named: Any) -> Any:
            bound = inspect.signature(function).bind(*arguments, **named).arguments
            self.asked.append(tuple(copied(value) for value in bound.values()))
            return function(*arguments, **named)

        return spied

    def raw(self, *given: Any) -> Any:
        """What the answer returns, in its own form."""
        try:
            result = self.answer(*given)
        except (NotAttempted, OutOfTime):
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt, too
            raise LearnerError(error) from error
        if result is None and not is_empty(self.answer):
            raise Mistake(NOTHING)
        parts = result.values() if isinstance(result, Mapping) else result
        several = isinstance(result, tuple | list | Mapping)
        if result is None or result is ... or (several and any(part is ... for part in parts)):
            raise NotAttempted
        return result


def watched(answer: Any, solution: Any) -> Any:
    """The answer to hand to a checker: functions are watched, classes and values are themselves."""
    if callable(answer) and not inspect.isclass(answer):
        return Watched(answer, solution)
    return answer


def is_empty(function: Any) -> bool:
    """Whether a function does nothing at all: `pass`, a docstring, `return None`."""
    code = getattr(function, "__code__", None)
    return code is not None and {step.opname for step in dis.get_instructions(code)} <= _EMPTY


def like(found: Any, wanted: Any) -> Any:
    """A result in the form of the wanted one, its own shape and values kept.

    A tuple asks for as many parts, a dictionary for one, a tensor or array for numbers (true and
    false, if the wanted one holds those); a number for a single one. Numbers become float64, the
    gradient of a tensor is kept. Raises Mistake with a sentence where there is no such form.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            raise Mistake(f"A dictionary is asked for, your answer returns {kind(found)}.")
        sample = next(iter(wanted.values()), 0.0)
        return {_key(name): like(part, sample) for name, part in found.items()}
    if isinstance(wanted, tuple):
        return _tuple(found, wanted)
    if isinstance(wanted, list):
        found = found.tolist() if isinstance(found, np.ndarray) else found
        return list(found) if isinstance(found, list | tuple | set) else found
    if hasattr(wanted, "detach"):
        return _tensor(found, truth=str(wanted.dtype) == "torch.bool")
    if isinstance(wanted, np.ndarray):
        return _numbers(found, truth=wanted.dtype == bool)
    if isinstance(wanted, bool | int | float | np.generic):
        truth = isinstance(wanted, bool | np.bool_)
        array = _numbers(found, truth=truth)
        if array.shape != ():
            one = "Return true or false" if truth else "One number is asked for"
            raise Mistake(f"{one}; your answer has shape {array.shape}.")
        return array.item()
    return found


def _tuple(found: Any, wanted: tuple[Any, ...]) -> tuple[Any, ...]:
    several = isinstance(found, list | tuple) or getattr(found, "ndim", 0) > 0
    if not several or len(found) != len(wanted):
        have = f"{len(found)} in a list or array" if several else kind(found)
        count = _COUNTS.get(len(wanted), f"{len(wanted)} things")
        verb = "is" if len(wanted) == 1 else "are"
        raise Mistake(f"{count} {verb} asked for, your answer returns {have}.")
    return tuple(like(part, other) for part, other in zip(found, wanted, strict=True))


def _key(name: Any) -> Any:
    array = as_array(name)
    return array.item() if array.dtype.kind in "biuf" and array.shape == () else name


def _numbers(found: Any, *, truth: bool) -> np.ndarray:
    array = as_array(found)
    if found is None:
        raise Mistake("Your answer returns None where numbers are needed.")
    if array.dtype.kind not in "biuf":
        what = "true or false" if truth else "a number, a tensor or an array"
        raise Mistake(f"Your answer returns {kind(found)}, {what} is needed.")
    if truth and array.dtype != bool and array.size:
        what = "true and false, not numbers" if array.ndim else "true or false, not a number"
        raise Mistake(f"Return {what}: compare with something.")
    return array if truth else array.astype(float)


def _has_gradient(found: Any) -> bool:
    if isinstance(found, list | tuple):
        return any(map(_has_gradient, found))
    return bool(getattr(found, "requires_grad", False))


def _tensor(found: Any, *, truth: bool) -> Any:
    import torch

    if _has_gradient(found) and not torch.is_tensor(found):
        parts = [_tensor(part, truth=truth) for part in found]
        if len({part.shape for part in parts}) == 1:
            return torch.stack(parts)
    if torch.is_tensor(found) and not truth and not found.is_complex():
        return found.double()
    return torch.from_numpy(_numbers(found, truth=truth).copy())
