"""The Pareto front: what nothing else beats in every aim."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """True (point,) where no other is at least as good in every aim and better in one.

    ``points`` (point, aim), higher is better; equal points stay or go together, and one with a NaN
    neither beats nor is beaten. Raises ``ValueError`` for another shape or no points.
    """
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"points: expected numbers (point, aim), got shape {values.shape}.")
    as_good = np.all(values[None] >= values[:, None], axis=2)  # (point, rival)
    better = np.any(values[None] > values[:, None], axis=2)
    return ~np.any(as_good & better, axis=1)
