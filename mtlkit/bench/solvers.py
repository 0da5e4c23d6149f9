"""How long the balancers' own arithmetic takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mtlkit.balance import solvers
from mtlkit.balance.conflict_averse import conflict_averse


def measure_solvers(
    tasks: Sequence[int] = (4, 8, 16), repeats: int = 200, seed: int = 0
) -> dict[str, Any]:
    """Microseconds a solve, median over ``repeats`` different Gramians, for each number of tasks.

    "random": independent normal gradients of 2 T + 3 parameters. "conflict": the same, turned
    against their mean so that most pairs conflict; harder for every solver. Set OMP_NUM_THREADS=1:
    threads cost more than they give at these sizes.
    """
    programs: dict[str, Callable[[np.ndarray], Any]] = {
        "min_norm (MGDA)": solvers.min_norm,
        "cone_weights (UPGrad)": solvers.cone_weights,
        "nash (Nash-MTL)": solvers.nash,
        "fair, alpha 2 (FairGrad)": lambda K: solvers.fair(K, 2.0),
        "conflict_averse, c 0.4 (CAGrad)": lambda K: conflict_averse(K, 0.4),
    }
    result: dict[str, Any] = {}
    for size in tasks:
        for kind in ("random", "conflict"):
            gramians = [_gramian(kind, size, seed + i) for i in range(repeats)]
            result[f"{size} tasks, {kind}, microseconds"] = {
                name: _median_microseconds(solve, gramians) for name, solve in programs.items()
            }
    return result


def _gramian(kind: str, tasks: int, seed: int) -> np.ndarray:
    """K = G G^T (task, task)."""
    G = np.random.default_rng([seed, tasks]).normal(size=(tasks, 2 * tasks + 3))
    if kind == "conflict":
        G -= 0.98 * G.mean(0)
    return G @ G.T


def _median_microseconds(
    solve: Callable[[np.ndarray], Any], gramians: Sequence[np.ndarray]
) -> float:
    solve(gramians[0])  # the first call loads what NumPy loads late
    seconds = []
    for K in gramians:
        start = time.perf_counter()
        solve(K)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e6
