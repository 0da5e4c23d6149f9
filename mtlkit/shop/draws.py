"""Random numbers that belong to a purpose, and what is often made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np


def make_rng(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """A generator for one purpose, the same on every machine.

    The words (seed, name, numbers) are hashed with SHA-256 and the digest seeds a PCG64, so that
    draws for one purpose never depend on how many were made for another.
    """
    text = "|".join([str(int(seed)), name, *(str(int(number)) for number in numbers)])
    words = np.frombuffer(hashlib.sha256(text.encode("utf-8")).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(w) for w in words])))


def whitened(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Columns of `values` (row, dimension) with weighted mean 0 and identity covariance."""
    share = np.full(len(values), 1 / len(values)) if weights is None else weights / weights.sum()
    centred = values - share @ values
    covariance = centred.T @ (centred * share[:, None])  # (dimension, dimension)
    inverse_root = np.linalg.inv(np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance))))
    return centred @ inverse_root.T


def softmax(values: np.ndarray) -> np.ndarray:
    """exp(x_i) / sum_j exp(x_j) along the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def pick(chances: np.ndarray, u: np.ndarray) -> np.ndarray:
    """One class a row from chances (row, class), with u (row,) uniform in 0..1."""
    steps = np.cumsum(chances, axis=1)
    return np.minimum((u[:, None] >= steps).sum(axis=1), chances.shape[1] - 1)


def rows_of_blocks(
    block: Callable[[int], dict[str, np.ndarray]], size: int, start: int, rows: int
) -> dict[str, np.ndarray]:
    """Columns (row,) of rows start .. start + rows - 1 of a log made in blocks of `size` rows."""
    parts = []
    for number in range(start // size, -(-(start + rows) // size)):
        first, last = max(0, start - number * size), min(size, start + rows - number * size)
        parts.append({name: value[first:last] for name, value in block(number).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
