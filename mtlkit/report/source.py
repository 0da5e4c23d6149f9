"""Where reports read numbers: a comparison, stored evidence or plain numbers, all asked alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mtlkit.comparison.interval import Interval, paired_interval
from mtlkit.comparison.pairs import Paired, paired
from mtlkit.comparison.shops import AcrossShops
from mtlkit.comparison.table import Comparison

Gap = Paired | AcrossShops


class Source(Protocol):
    """Means and differences of candidates; ``where`` picks task, metric and group."""

    @property
    def candidates(self) -> tuple[str, ...]: ...
    def interval(self, candidate: str, **where: Any) -> Interval: ...
    def difference(self, candidate: str, reference: str, **where: Any) -> Gap: ...


class Runs:
    """A ``Comparison``: one shop, several seeds."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.candidates = comparison.candidates

    def scores(
        self, candidate: str, task: str, metric: str | None = None, **where: Any
    ) -> np.ndarray:
        """One number a seed: (seed,)."""
        kind = self.comparison.main_metric(task) if metric is None else metric
        return self.comparison.by_seed(candidate, kind, task, **where)

    def interval(self, candidate: str, **where: Any) -> Interval:
        """Mean over the seeds with its interval."""
        return seeds_interval(self.scores(candidate, **without_sign(where)))

    def difference(self, candidate: str, reference: str, **where: Any) -> Gap:
        """Candidate minus reference, paired by seed."""
        return self.comparison.difference(candidate, reference, **where)


class Scores:
    """Plain numbers: {name: one a seed}, the seeds in the same order."""

    def __init__(self, values: Mapping[str, Sequence[float]]) -> None:
        if not values:
            raise ValueError("A report needs the numbers of at least one candidate.")
        self.values = {name: np.asarray(v, dtype=np.float64) for name, v in values.items()}
        for name, numbers in self.values.items():
            if numbers.ndim != 1 or not len(numbers):
                raise ValueError(f"values[{name!r}] must be one number a seed: {numbers.shape}.")
        self.candidates = tuple(values)

    def scores(self, candidate: str, **where: Any) -> np.ndarray:
        """One number a seed: (seed,)."""
        if where:
            raise ValueError(
                f"Plain numbers have no {', '.join(where)}: hand over those that you mean."
            )
        if candidate not in self.values:
            raise ValueError(f"{candidate!r} is none of: {', '.join(self.candidates)}.")
        return self.values[candidate]

    def interval(self, candidate: str, **where: Any) -> Interval:
        """Mean over the seeds with its interval."""
        return seeds_interval(self.scores(candidate, **without_sign(where)))

    def difference(
        self, candidate: str, reference: str, sign: int | None = None, **where: Any
    ) -> Gap:
        """Candidate minus reference, paired by seed; higher is better unless ``sign`` says else."""
        own, base = self.scores(candidate, **where), self.scores(reference, **where)
        return paired(own, base, sign=1 if sign is None else sign)


def source_of(given: Any) -> Source:
    """Whatever was handed over, asked alike. Raises ``TypeError`` for anything else."""
    if isinstance(given, Comparison):
        return Runs(given)
    if isinstance(given, Mapping):
        return Scores(given)
    if all(hasattr(given, name) for name in ("candidates", "interval", "difference", "against")):
        return given  # stored evidence
    raise TypeError(
        "A report reads a Comparison, the evidence of a notebook, or {name: numbers, one a seed}, "
        f"not {type(given).__name__}."
    )


def seeds_interval(values: Any) -> Interval:
    """Mean of what is not NaN with its interval; NaN where nothing is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return paired_interval(known) if len(known) else Interval(np.nan, np.nan, np.nan)


def without_sign(where: Mapping[str, Any]) -> dict[str, Any]:
    """What picks a number; the direction is a matter of differences alone."""
    return {key: value for key, value in where.items() if key != "sign"}
