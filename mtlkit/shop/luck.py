"""Luck: the draws behind outcomes, one after the other (the log) or hashed (the live shop)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtlkit.shop.outcomes import EVENTS, NORMALS, UNIFORMS, Event, Outcomes, uniforms_of

_APART = {name for event in EVENTS if event.stream for name in uniforms_of(event)}


class DrawnLuck:
    """The luck of many rows from one generator; events with a stream draw from their own.

    So visits, clicks and carts are those of the same shop without such an event.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        rng: np.random.Generator,
        rows: int,
        stream: Callable[[Event], np.random.Generator],
    ) -> None:
        names = [*(event.name for event in outcomes.events if not event.stream), "appeal"]
        draws = rng.standard_normal((rows, len(names)), dtype=np.float32)
        self._normal = dict(zip(names, draws.T, strict=True))
        names = [name for name in UNIFORMS if name not in _APART]
        draws = rng.random((len(names), rows), dtype=np.float32)
        self._uniform = dict(zip(names, draws, strict=True))
        self._normal["dwell"] = rng.standard_normal(rows, dtype=np.float32)
        for event in outcomes.events:
            if event.stream:
                own, names = stream(event), list(uniforms_of(event))
                self._normal[event.name] = own.standard_normal(rows, dtype=np.float32)
                draws = own.random((len(names), rows), dtype=np.float32)
                self._uniform |= dict(zip(names, draws, strict=True))

    def normal(self, name: str) -> np.ndarray:
        """Standard normal draws float32 (row,)."""
        return self._normal[name]

    def uniform(self, name: str) -> np.ndarray:
        """Draws uniform in 0..1, float32 (row,)."""
        return self._uniform[name]


class HashedLuck:
    """The luck of (visitor, item) pairs, hashed from (salt, visitor, item, name): no order."""

    def __init__(self, salt: np.ndarray, visitor: np.ndarray, item: np.ndarray) -> None:
        self._visitor = np.broadcast_to(visitor, item.shape)
        self._item = item
        self._salt = salt
        self._normal: dict[str, np.ndarray] = {}

    def normal(self, name: str) -> np.ndarray:
        """Standard normal draws float64, shaped as `item`, by Box and Muller (1958)."""
        if name not in self._normal:
            kind = 100 + 2 * NORMALS.index(name)
            first, second = self.draw(kind), self.draw(kind + 1)
            self._normal[name] = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
        return self._normal[name]

    def uniform(self, name: str) -> np.ndarray:
        """Draws uniform in (0, 1), float64, shaped as `item`."""
        return self.draw(20 + UNIFORMS.index(name))

    def draw(self, kind: int) -> np.ndarray:
        """Draws uniform in (0, 1) of one kind; luck takes kinds 20 to 98 and from 100."""
        with np.errstate(over="ignore"):
            word = _mixed(self._salt + self._visitor.astype(np.uint64))
            word = _mixed(word ^ self._item.astype(np.uint64))
            word = _mixed(word ^ np.uint64(kind))
        return ((word >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mixed(word: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
