"""Chances from logits, and chances of several things at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), in the precision of `values`."""
    return 1 / (1 + np.exp(-np.maximum(values, -80)))  # exp(89) overflows float32


def rounded(probability: np.ndarray) -> np.ndarray:
    """Probabilities as whole multiples of 2**-20, never 0 or 1: the same on every platform."""
    step = np.float32(2.0**-20)
    return np.clip(np.round(probability / step) * step, step, 1 - step).astype(np.float32)


def at_least_one(chances: Iterable[np.ndarray | float]) -> np.ndarray | float:
    """P(at least one of independent things happens) = 1 - prod_i (1 - p_i), elementwise."""
    total: np.ndarray | float = 0.0
    for chance in chances:
        total = total + chance * (1 - total)
    return total


def binomial4(u: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Number of successes in four trials, by inversion of u: the mean is exactly 4 p."""
    q = 1 - p
    steps = np.cumsum([q**4, 4 * p * q**3, 6 * p**2 * q**2, 4 * p**3 * q], axis=0)
    return (u >= steps).sum(axis=0).astype(np.float32)


def shift_to_rate(logits: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """The shift b with weighted mean of sigmoid(logits + b) equal to rate, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        if (weights * sigmoid(logits + middle)).sum() < rate * weights.sum():
            low = middle
        else:
            high = middle
    return middle
