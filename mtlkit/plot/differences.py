"""Paired differences of scores that a lesson has measured itself, one number a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mtlkit.comparison.interval import paired_interval
from mtlkit.plot.charts import rates_by
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import Picture, listed

MARK = "  ◀ your guess"


@redrawn
def differences(
    scores: Mapping[str, Sequence[float]],
    reference: str,
    *,
    title: str,
    label: str,
    category_label: str = "candidate",
    marked: str | None = None,
    ordered: bool = True,
) -> Picture:
    """Mean of every candidate's score minus that of ``reference``, with 95 % t-intervals.

    ``scores`` {candidate: scores, one a seed, the seeds in the same order for all}; ``label`` names
    the score. The dotted line is the reference. ``marked`` (a candidate, the learner's guess) gets
    an arrow, also where it is the reference; None or a name that does not take part marks nobody.
    The largest difference stands on top, or the given order with ``ordered=False``.

    Raises ``ValueError`` where the reference is missing, it has no rival, or the numbers of seeds
    differ.
    """
    given = {name: np.asarray(values, dtype=float) for name, values in scores.items()}
    if reference not in given:
        raise ValueError(f"reference {reference!r} is not one of {listed(given)}.")
    for name, values in given.items():
        if values.ndim != 1 or values.shape != given[reference].shape or len(values) < 2:
            raise ValueError(
                f"scores[{name!r}] must have one number a seed, as many as the reference and at "
                f"least two, not {values.shape}."
            )
    rivals = [name for name in given if name != reference]
    if not rivals:
        raise ValueError("There is only the reference: nothing to compare it with.")
    gaps = [paired_interval(given[name] - given[reference]) for name in rivals]
    return rates_by(
        [name + MARK * (name == marked) for name in rivals],
        [gap.mean for gap in gaps],
        [(gap.low, gap.high) for gap in gaps],
        title=title,
        label=f"{label} minus that of {reference}",
        category_label=category_label,
        overall=0.0,
        overall_label=reference + MARK * (reference == marked),
        ordered=ordered,
    )
