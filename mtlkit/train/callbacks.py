"""What a caller may do at the end of an epoch: log, stop the run, set the learning rate."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from mtlkit.train.checkpoint import CheckpointError
from mtlkit.train.randomness import random_states, set_random_states

PLAIN = (bool, int, float, str, bytes, type(None), Tensor)


class Stop(NamedTuple):
    """Returned by a callback: the run ends here. ``reason`` is noted in ``History.stopped``."""

    reason: str = ""


class Rate(NamedTuple):
    """Returned by a callback: the learning rate from the next step on, above 0.

    It takes the place of ``fit``'s ``learning_rate``: a schedule multiplies it as it did that.
    """

    learning_rate: float


class Callback(Protocol):
    """An object of yours with ``on_epoch_end(row)``, which ``fit(callbacks=[...])`` calls.

    ``row`` is a copy of the history's row of the epoch (see ``History``), of an epoch that
    ``max_steps`` cut short as well. Return None, ``Stop(reason)`` or ``Rate(learning_rate)``::

        from mtlkit.train import Rate

        class HalveWhenStuck:
            def __init__(self):
                self.best = float("-inf")

            def on_epoch_end(self, row):
                stuck, self.best = row["score"] <= self.best, max(self.best, row["score"])
                return Rate(row["learning_rate"] / 2) if stuck else None

            def state_dict(self):
                return {"best": self.best}

            def load_state_dict(self, state):
                self.best = state["best"]

    The last two make it resumable: ``state_dict`` gives plain values and tensors, ``{}`` where
    nothing changes from epoch to epoch. An object with attributes but without them is refused with
    ``resume=True``. This is all that a callback can do to a run: it never meets the model, and
    random numbers of torch that it draws are not missing in the run.
    """

    def on_epoch_end(self, row: dict[str, Any]) -> Stop | Rate | None:
        """What to do after the epoch of ``row``."""


class Callbacks:
    """The callbacks of a run, called in their order.

    ``resume`` says that the run may have to be resumed. Raises ``ValueError`` for something that is
    no callback, and ``CheckpointError`` for one that keeps state, may be resumed and cannot be.
    """

    def __init__(self, callbacks: Iterable[Callback], resume: bool = False) -> None:
        if hasattr(callbacks, "on_epoch_end"):
            raise ValueError(f"callbacks is a list: callbacks=[{type(callbacks).__name__}(...)].")
        self.all = list(callbacks)
        for place, callback in enumerate(self.all):
            if isinstance(callback, type) or not callable(getattr(callback, "on_epoch_end", None)):
                raise ValueError(
                    f"callbacks[{place}] is {callback!r}, which is no callback: give an object "
                    "with a method on_epoch_end(row)."
                )
            if resume and not _is_resumable(callback):
                raise CheckpointError(
                    f"The callback {_name(callback)} keeps state ({_kept(callback)}) and cannot be "
                    "resumed: give it state_dict() and load_state_dict(state); {} as its state "
                    "says that nothing has to be kept."
                )

    @property
    def names(self) -> list[str]:
        """The classes of the callbacks, for the description of a run."""
        return [_name(callback) for callback in self.all]

    def on_epoch_end(self, row: Mapping[str, Any]) -> tuple[float | None, Stop | None]:
        """(the rate to go on with, why to stop), None each where no callback says so.

        Of several rates the last counts, of several reasons the first. Every callback is called.
        """
        rate, stop = None, None
        before = random_states() if self.all else None
        for callback in self.all:
            answer = callback.on_epoch_end(copy.deepcopy(dict(row)))
            if isinstance(answer, Stop):
                stop = stop or answer
            elif isinstance(answer, Rate):
                rate = _checked(answer.learning_rate, callback)
            elif answer is not None:
                raise ValueError(
                    f"{_name(callback)}.on_epoch_end returned {answer!r}; it returns None, "
                    "Stop(reason) or Rate(learning_rate), of mtlkit.train."
                )
        if before is not None:
            set_random_states(before)
        return rate, stop

    def state_dict(self) -> list[Any]:
        """The state of each, None of one without. Raises ``CheckpointError`` for other values than
        plain ones, which could not be read again."""
        states = []
        for callback in self.all:
            state = callback.state_dict() if hasattr(callback, "state_dict") else None
            odd = _not_plain(state)
            if odd is not None:
                raise CheckpointError(
                    f"The state of the callback {_name(callback)} holds a {type(odd).__name__}; a "
                    "checkpoint holds numbers, texts, tensors, and lists and dictionaries of these."
                )
            states.append(copy.deepcopy(state))
        return states

    def load_state_dict(self, states: list[Any]) -> None:
        """Give every callback the state that it had; the names were compared before."""
        for callback, state in zip(self.all, states, strict=True):
            if hasattr(callback, "load_state_dict"):
                callback.load_state_dict(copy.deepcopy(state))


def _name(callback: Any) -> str:
    return type(callback).__qualname__


def _kept(callback: Any) -> str:
    """Names of what an object holds of its own."""
    slots = [
        name
        for kind in type(callback).__mro__
        for name in _as_names(vars(kind).get("__slots__", ()))
        if name not in ("__dict__", "__weakref__") and hasattr(callback, name)
    ]
    return ", ".join([*getattr(callback, "__dict__", {}), *slots])


def _as_names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _is_resumable(callback: Any) -> bool:
    both = ("state_dict", "load_state_dict")
    return all(callable(getattr(callback, name, None)) for name in both) or not _kept(callback)


def _checked(rate: Any, callback: Any) -> float:
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not (number and math.isfinite(rate) and rate > 0):
        raise ValueError(
            f"{_name(callback)} sets the learning rate to {rate!r}; it must be a number above 0."
        )
    return float(rate)


def _not_plain(value: Any) -> Any:
    """The first value inside that a checkpoint cannot hold, None where there is none."""
    if isinstance(value, dict):
        parts = [*value, *value.values()]
    elif type(value) in (list, tuple):
        parts = list(value)
    else:
        return None if type(value) in PLAIN or isinstance(value, Tensor) else value
    return next((odd for odd in map(_not_plain, parts) if odd is not None), None)
