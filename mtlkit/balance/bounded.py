"""PE-LTR: the shortest vector in the hull of the task gradients, no weight below its bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mtlkit.balance import solvers
from mtlkit.balance.base import Balancer
from mtlkit.balance.nonnegative import Array
from mtlkit.schema import Schema

SUM = 1e-12  # by how much rounding may lift a sum of bounds above 1
OF_LENGTH, OF_TERMS = 1e-8, 1e-7  # the excess that passes: of w^T K w, and of w^T |K| w


class PELTR(Balancer):
    """w = argmin |sum_i w_i g_i|^2 over w_i >= c_i, sum w = 1; weights T w (sum convention).

    MGDA that leaves no task behind: with bounds 0 it is MGDA, with bounds that add up to 1 it is
    fixed weights. The step is a common descent direction only where no bound holds a weight up.

    ``bounds`` is one c for every task, or {task: c}; tasks that are not named have bound 0. A task
    without labels in the batch is left out, and its bound with it. Solved exactly, where the
    published recipe is not (``pe_ltr_two_step``). As with every rule of the Gramian the heads keep
    the plain gradients of their own losses; the paper weighs the whole loss. The default .05 is
    ours.

    Raises ``ValueError`` for a bound that is no finite number of 0 or more, and for bounds that add
    up to more than 1.
    Source: Lin X. et al. 2019 (RecSys, "A Pareto-efficient algorithm for multiple objective
    optimization in e-commerce recommendation"), problem and bounds; the solver is ours.
    """

    needs_gramian = True
    weighs_heads = False
    named = ("bounds",)

    def __init__(self, bounds: float | Mapping[str, float] = 0.05) -> None:
        each = {} if isinstance(bounds, Mapping) else {"every task": bounds}
        self.bounds = dict(bounds) if isinstance(bounds, Mapping) else {}
        for name, bound in {**self.bounds, **each}.items():
            number = isinstance(bound, Real) and not isinstance(bound, bool)
            if not (number and math.isfinite(bound) and bound >= 0):
                raise ValueError(
                    f"bounds: that of {name} must be a finite number of 0 or more, not {bound!r}."
                )
        self.bound = float(each.get("every task", 0.0))
        _check_sum(sum(self.bounds.values()) + self.bound)

    def bind(self, schema: Schema) -> PELTR:
        """Learn the tasks' names; ``ValueError`` where their bounds add up to more than 1."""
        super().bind(schema)
        _check_sum(sum(self.bounds.values()) + self.bound * len(schema.task_names))
        return self

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,) of the present tasks, sum k, none below k c_i."""
        assert gramian is not None
        least = self.in_order("bounds", self.tasks, self.bound)[self.present]
        return len(losses) * torch.from_numpy(bounded_min_norm(gramian.numpy(), least.numpy()))


def bounded_min_norm(K: ArrayLike, bounds: ArrayLike) -> Array:
    """The w (task,) of the shortest sum_i w_i g_i with w_i >= c_i and sum w = 1.

    Problem: min w^T K w. With w = c + r a, r = 1 - sum c, the a lie on the simplex, and
    sum_i w_i g_i = sum_i a_i h_i with h_i = sum_j c_j g_j + r g_i: the shortest vector in the hull
    of the gradients h_i, whose Gramian follows from K. So ``solvers.min_norm`` solves it, by
    pivoting over the set of weights above their bounds. Optimal exactly if (K w)_i is the same,
    and the least, wherever w_i > c_i; that is checked before the answer.

    Raises ``ValueError`` for other shapes, negative bounds or bounds that add up to more than 1,
    ``ArithmeticError`` where w^T K w may exceed its minimum by more than 1e-8 of itself and 1e-7 of
    w^T |K| w (the latter counts only where the gradients nearly balance to zero).
    """
    cosine, norms = solvers.cosines(K)
    c = _bounds(bounds, len(norms))
    if not c.any():
        return solvers.min_norm(K)
    inner = cosine * norms[:, None] * norms
    inner = inner / np.trace(inner)
    rest = max(1 - c.sum(), 0.0)
    if rest <= SUM:
        return c / c.sum()
    move = rest * np.eye(len(c)) + c  # row i: the coefficients of h_i in the gradients
    moved = move @ inner @ move.T
    none = moved.diagonal() <= np.finfo(float).eps * (move @ np.abs(inner) @ move.T).diagonal()
    a = none / none.sum() if none.any() else solvers.min_norm(moved)
    w = c + rest * a
    excess = _excess(inner, c, w)
    if not excess <= OF_LENGTH * (w @ inner @ w) + OF_TERMS * (w @ np.abs(inner) @ w):
        raise ArithmeticError(
            f"The bounded weights of {len(c)} tasks may be {excess:.1e} of the Gramian's trace off "
            f"their optimum: the gradients' norms lie between {norms.min():.1e} and "
            f"{norms.max():.1e}. Weigh the losses into similar units."
        )
    return w


def pe_ltr_two_step(K: ArrayLike, bounds: ArrayLike) -> Array:
    """The published recipe for the same problem (task,), for comparison: not its optimum.

    Step 1 forgets w >= c and solves for stationary x = w - c with sum x = r = 1 - sum c; step 2
    takes the nearest x with x >= 0 and the same sum. Nearest is measured in x, not in |x^T G|, so
    that for three tasks or more the two steps may miss the shortest vector. Where K is singular
    step 1 takes the smallest x. Raises as ``bounded_min_norm`` does for bad input.
    Source: Lin X. et al. 2019, algorithm 2.
    """
    inner = np.asarray(K, dtype=np.float64)
    norms = solvers.cosines(inner)[1]
    c = _bounds(bounds, len(norms))
    rest = max(1 - c.sum(), 0.0)
    if rest <= SUM:
        return c / c.sum()
    inner = inner / np.trace(inner)
    one = np.ones((len(c), 1))
    system = np.block([[inner, one], [one.T, np.zeros((1, 1))]])
    x = np.linalg.lstsq(system, np.append(-inner @ c, rest), rcond=None)[0][:-1]
    return c + rest * solvers.project_simplex(x / rest)


def _excess(K: Array, c: Array, w: Array) -> float:
    """The most by which w^T K w exceeds its minimum: 2 sum_i (w_i - c_i) ((K w)_i - least)."""
    slope = K @ w
    return float(2 * (w - c) @ (slope - slope.min()))


def _bounds(bounds: ArrayLike, tasks: int) -> Array:
    c = np.asarray(bounds, dtype=np.float64)
    if c.shape != (tasks,):
        raise ValueError(f"bounds must have one number a task, ({tasks},), not shape {c.shape}.")
    if not (np.isfinite(c).all() and (c >= 0).all()):
        raise ValueError(f"bounds must be finite and 0 or more, not {c.tolist()}.")
    _check_sum(float(c.sum()))
    return c


def _check_sum(total: float) -> None:
    if total > 1 + SUM:
        raise ValueError(
            f"bounds add up to {total:g}, but the weights to 1: lower the bounds until they fit."
        )
