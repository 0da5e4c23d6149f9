"""Task gradients G (task, parameter) of every awkward kind, for the tests of the balancers."""

import numpy as np
import torch
from hypothesis import strategies as st

SIZES = (2, 3, 4, 8, 16)
KINDS = (
    "random",
    "conflict",
    "crowded",
    "parallel",
    "duplicated",
    "opposite",
    "nearly_parallel",
    "nearly_opposite",
    "stationary",
    "orthogonal",
    "tiny",
    "huge",
    "mixed",
)
SINGULAR = ("crowded", "parallel", "duplicated", "opposite", "stationary")


def gradients(kind: str, tasks: int, seed: int = 0) -> np.ndarray:
    """G (task, 2 * task + 3), or (task, max(2, task // 2)) for "crowded"; float64, no zero row.

    random: independent normal. conflict: the same, turned against their mean, so that most pairs
    conflict. crowded: more tasks than parameters, K singular. parallel: all multiples of one
    gradient. duplicated, opposite: the last is the first, or -1/2 of it. nearly_...: the same up
    to 1e-5, which K squares to 1e-10. stationary: they add up to zero. orthogonal: equal norms.
    tiny: norm 1e-6. huge: 1e8. mixed: norms from 1e-6 to 1.
    """
    rng = np.random.default_rng([seed, tasks, KINDS.index(kind)])
    width = max(2, tasks // 2) if kind == "crowded" else 2 * tasks + 3
    G = rng.normal(size=(tasks, width))
    if kind == "conflict":
        G -= 0.98 * G.mean(0)
    elif kind == "parallel":
        G = np.outer(rng.uniform(0.2, 3, tasks), G[0])
    elif kind == "duplicated":
        G[-1] = G[0]
    elif kind == "opposite":
        G[-1] = -0.5 * G[0]
    elif kind == "nearly_parallel":
        G[-1] = 2 * G[0] + 1e-5 * G[-1]
    elif kind == "nearly_opposite":
        G[-1] = -0.5 * G[0] + 1e-5 * G[-1]
    elif kind == "stationary":
        G[-1] = -G[:-1].sum(0)
    elif kind == "orthogonal":
        G = 0.7 * np.linalg.qr(G.T)[0].T
    elif kind == "tiny":
        G *= 1e-6 / np.linalg.norm(G, axis=1, keepdims=True)
    elif kind == "huge":
        G *= 1e8
    elif kind == "mixed":
        G *= np.logspace(-6, 0, tasks)[:, None] / np.linalg.norm(G, axis=1, keepdims=True)
    return G


def gramian(kind: str, tasks: int, seed: int = 0) -> np.ndarray:
    """K = G G^T (task, task)."""
    G = gradients(kind, tasks, seed)
    return G @ G.T


def balance(balancer, G, losses=None) -> np.ndarray:
    """The weights (task,) that a balancer gives to gradients G, with losses 1 unless given."""
    losses = torch.ones(len(G), dtype=torch.float64) if losses is None else torch.as_tensor(losses)
    return balancer.weights(losses, torch.as_tensor(G @ G.T)).numpy()


@st.composite
def matrices(draw, min_tasks: int = 2, max_tasks: int = 5):
    """Small G of whole numbers, where ties, duplicates and opposites are common; no zero row."""
    tasks = draw(st.integers(min_tasks, max_tasks))
    width = draw(st.integers(1, 4))
    row = st.lists(st.integers(-3, 3), min_size=width, max_size=width).filter(any)
    return np.array(draw(st.lists(row, min_size=tasks, max_size=tasks)), dtype=np.float64)
