"""Quadratic problems over weights of 0 or more: what MGDA, UPGrad and CAGrad solve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-14
MET, ACCEPTED = 1e-13, 1e-8  # how far from optimal an answer is good, and the most that passes
Array = NDArray[np.float64]


def complementary(H: Array, f: Array) -> Array:
    """min u^T H u / 2 - f^T u over u >= 0 for every row f of (row, task); f in the range of H.

    H has a unit-like scale. Optimal exactly if u >= 0, H u >= f and u^T (H u - f) = 0. Method:
    block principal pivoting: guess which u_i are positive, solve for them, exchange all that come
    out wrong; where three exchanges in a row bring no progress, only the last wrong one (Júdice and
    Pires 1994), which ends for every positive definite H. A ridge of 1e-14 makes H so, and a few
    steps of refinement take its error out again. About five solves of a (row, task, task) stack.

    Where H is singular rounding may still prevent an end, so every row is checked on exit; one that
    misses its condition by more than 1e-13 is solved again, by ``nearest_in_cone``. Raises
    ``ArithmeticError`` where that misses it too, by more than 1e-8.
    """
    try:
        u = _pivot(H, f)
    except np.linalg.LinAlgError:
        u = np.full_like(f, np.inf)
    for row in np.flatnonzero(~(_missed(H, f, u) <= MET)):
        again = nearest_in_cone(H, f[row])
        missed = float(_missed(H, f[row : row + 1], again[None])[0])
        if not missed <= _missed(H, f[row : row + 1], u[row : row + 1])[0]:
            continue
        if missed > ACCEPTED:
            raise ArithmeticError(
                f"The quadratic problem of {len(H)} tasks is solved to {missed:.1e} only: the "
                "Gramian is no product G G^T, or its entries have lost their digits."
            )
        u[row] = again
    return u


def _missed(H: Array, f: Array, u: Array) -> Array:
    """How far each row is from optimal, (row,): the largest |min(u, H u - f)|, u at most 1."""
    with np.errstate(invalid="ignore"):
        short = np.abs(np.minimum(u, u @ H - f)).max(1)
    return short / np.maximum(1.0, u.max(1))


def nearest_in_cone(H: Array, f: Array) -> Array:
    """The answer of ``complementary`` for one f, (task,), by Lawson and Hanson's algorithm (nnls).

    With H = A^T A from its eigenvalues and A^T b = f: min |A u - b|^2 over u >= 0. Slower than
    pivoting for many rows, and exact where H is singular.
    """
    from scipy.optimize import nnls  # slow to import, and seldom needed

    eigenvalues, V = np.linalg.eigh(H)
    kept = eigenvalues > RIDGE * len(f) * eigenvalues[-1]
    root, V = np.sqrt(eigenvalues[kept]), V[:, kept]
    try:
        return nnls(root[:, None] * V.T, (f @ V) / root, maxiter=50 * len(f))[0]
    except RuntimeError as error:  # it counts its steps
        raise ArithmeticError(f"The quadratic problem of {len(f)} tasks has no end.") from error


def _pivot(H: Array, f: Array) -> Array:
    """Block principal pivoting; rows that have not ended are what they are."""
    rows, size = f.shape
    identity = np.eye(size)
    ridged = H + RIDGE * identity
    free = f > 0  # (row, task): may be positive
    fewest, patience = np.full(rows, size + 1), np.full(rows, 3)
    for _ in range(10 + 5 * size):
        system = np.where(free[:, :, None] & free[:, None, :], ridged, identity)
        u = np.linalg.solve(system, np.where(free, f, 0.0)[:, :, None])[:, :, 0]
        wrong = np.where(free, u < 0, u @ ridged - f < -1e-13)
        count = wrong.sum(1)
        if not count.any():
            break
        better = count < fewest
        fewest = np.where(better, count, fewest)
        patience = np.where(better, 3, patience - 1)
        if (patience < 0).any():
            last = size - 1 - wrong[:, ::-1].argmax(1)  # (row,)
            single = wrong & (np.arange(size) == last[:, None])
            wrong = np.where((patience < 0)[:, None], single, wrong)
        free ^= wrong
    return np.maximum(_refine(system, free, H, f, u), 0)


def _refine(system: Array, free: NDArray[np.bool_], H: Array, f: Array, u: Array) -> Array:
    """u with what the ridge left put right, row by row, as long as it stays positive."""
    for _ in range(4):
        rest = np.where(free, f - u @ H, 0.0)
        if np.abs(rest).max() <= 1e-15:
            break
        closer = u + np.linalg.solve(system, rest[:, :, None])[:, :, 0]
        u = np.where((closer >= 0).all(1, keepdims=True), closer, u)
    return u
