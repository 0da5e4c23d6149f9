"""CAGrad: near the mean gradient, the direction that helps the worst-served task most."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.nonnegative import Array, complementary
from mtlkit.balance.solvers import cosines, min_norm

ACCEPTED = 1e-3  # the largest relative gap; rounding leaves 7e-5 of gradients opposite to 1e-9


class CAGrad(Balancer):
    """d = argmax min_i <g_i, d> over |d - g0| <= c |g0|, g0 the mean gradient; weights T u.

    d = sum_i u_i g_i with u_i = 1/T + c |g0| / |g_w| w_i, w on the simplex from the dual problem
    (``conflict_averse``). c = 0 is equal weighting; as c grows, d turns to MGDA's
    direction. Below 1 the method still minimises the mean loss. ``rescale=True`` divides by 1 + c^2
    as the released code does by default; the paper does not.

    Not invariant to the scale of a single loss: g0 belongs to the tasks with large gradients.
    Gradients scaled all by k leave the weights as they are. Where the gradients can be balanced to
    zero and g_w = 0, d is g0 projected onto the directions that raise no loss.
    Source: Liu, B. et al. 2021 (arXiv 2110.14048), algorithm 1.
    """

    needs_gramian = True
    weighs_heads = False

    def __init__(self, c: float = 0.4, rescale: bool = False) -> None:
        if not (math.isfinite(c) and c >= 0):
            raise ValueError(f"c must be finite and 0 or more (usually below 1), not {c!r}.")
        self.c, self.rescale = c, rescale

    def task_weights(self, losses: Tensor, gramian: Tensor | None) -> Tensor:
        """Weights (k,), each 1 or more (before ``rescale``)."""
        assert gramian is not None
        _, u = conflict_averse(gramian.numpy(), self.c)
        weights = len(losses) * torch.from_numpy(u)
        return weights / (1 + self.c**2) if self.rescale else weights


def conflict_averse(K: ArrayLike, c: float) -> tuple[Array, Array]:
    """CAGrad: the direction of the best worst-case gain near the mean gradient g0.

    Returns (w, u), each (task,): w on the simplex, and the direction d = sum_i u_i g_i.
    Problem: max_d min_i <g_i, d> over |d - g0| <= c |g0|. Its dual is
    min_w <g_w, g0> + c |g0| |g_w| over the simplex, g_w = sum w_i g_i, and
    d = g0 + c |g0| g_w / |g_w|. The two values are equal at the answer only; d's gap to it is
    dual(w) - min_i <g_i, d>. Method: an active set, on each of which the minimiser is the root of
    a quadratic equation: lambda = (B + sqrt(B^2 - A (Q - c^2 |g0|^2))) / A with A = 1^T M 1,
    B = 1^T M b, Q = b^T M b, M the inverse of K on the set and b_i = <g_i, g0>.
    Ends at a relative gap of 1e-10; where the path runs through g_w = 0, whose slope is undefined,
    it starts again from the answer for gradients that share one small extra coordinate. Where
    g_w = 0 is the answer, d is not unique: then it is the projection of g0 onto {d: G d >= 0}, the
    solution nearest to g0. Where all that leaves a gap, ``_by_level`` finds d another way. Raises
    ``ArithmeticError`` where the relative gap stays above 1e-3; gradients opposite to within 1e-9
    leave up to 7e-5, by rounding of K. Source: Liu, B. et al. 2021 (arXiv 2110.14048), algorithm 1.
    """
    cosine, norms = cosines(K)
    size = len(norms)
    norms = norms / np.sqrt(norms @ norms)  # K is divided by its trace
    mean = cosine @ norms / size  # <g_i / n_i, g0>
    square = norms @ mean / size  # |g0|^2
    radius = c * math.sqrt(max(float(square), 0.0))
    even = np.full(size, 1 / size)
    if radius <= 1e-14:
        return even, even
    start = np.zeros(size)
    first = int(np.argmin(norms * (mean + radius)))
    start[first] = norms[first]
    best = np.inf, even, even
    scale = (1 + c) * norms.max() * math.sqrt(square)
    for ridge, smoothing in (
        (1e-14, 0.0),
        (1e-12, 0.0),
        (1e-14, 1e-5),
        (1e-14, 1e-4),
        (1e-14, 1e-3),
    ):
        y = start
        if smoothing:  # as if all gradients shared one more coordinate: |g_w| is never 0
            lift = (smoothing * norms.min()) ** 2 * np.outer(1 / norms, 1 / norms)
            y = _active_set(cosine + lift, norms, mean, radius, y, ridge)
        y = _active_set(cosine, norms, mean, radius, y, ridge)
        pull = cosine @ y
        w, share = y / norms, radius / _length(y, pull)
        gains = norms * (mean + share * pull)  # <g_i, d>
        doubt = 1e-15 * share * np.abs(y).max() * norms.max()  # rounding in g_w / |g_w|
        gap = float(w @ gains - gains.min() + doubt)
        best = min(best, (gap, w, even + share * w), key=_gap)
        if gap <= 1e-10 * scale:
            return best[1:]
    extra = complementary(cosine, -mean[None])[0]
    gains = norms * (mean + cosine @ extra)
    w = min_norm(K)
    y = w * norms
    shortest = float(y @ cosine @ y)  # |g_w|^2, zero within rounding where this candidate is meant
    dual = mean @ y + radius * (math.sqrt(shortest) if shortest > 1e-13 * (y @ y) else 0.0)
    inside = extra @ cosine @ extra <= radius**2 * (1 + 1e-9)
    if inside and dual - gains.min() <= best[0]:
        return w, even + extra / norms
    y = _by_level(cosine, norms, mean, radius)
    if y.any():
        w = y / norms / (y / norms).sum()
        v = w * norms
        gains = norms * (mean + cosine @ y)
        dual = mean @ v + radius * math.sqrt(max(float(v @ cosine @ v), 0.0))
        best = min(best, (float(dual - gains.min()), w, even + y / norms), key=_gap)
    if best[0] > ACCEPTED * scale:
        raise ArithmeticError(
            f"CAGrad's problem of {size} tasks is solved to a relative gap of "
            f"{best[0] / scale:.1e} only: the Gramian is no product G G^T, or its entries have "
            "lost their digits."
        )
    return best[1:]


def _gap(candidate: tuple[float, Array, Array]) -> float:
    return candidate[0]


def _by_level(cosine: Array, norms: Array, mean: Array, radius: float) -> Array:
    """Another way: y >= 0 with d - g0 = sum y_i g_i / n_i, from the level that all gains reach.

    For a level t the d nearest to g0 with <g_i, d> >= t for all i is a least distance problem,
    solved by nnls (Lawson and Hanson 1974, chapter 23); its distance grows with t, and bisection
    finds the largest t at which it is at most c |g0|. All 0 where no t is above that of g0.
    """
    from scipy.optimize import nnls  # slow to import, and seldom needed

    eigenvalues, V = np.linalg.eigh(cosine)
    A = np.sqrt(eigenvalues.clip(0.0))[:, None] * V.T  # unit gradients as columns
    goal = np.zeros(len(norms) + 1)
    goal[-1] = 1.0
    best = np.zeros(len(norms))
    low = float((norms * mean).min())
    high = float((norms * (mean + radius)).min())  # no gain can grow by more than radius n_i
    for _ in range(60):
        level = (low + high) / 2
        h = level / norms - mean
        x = nnls(np.vstack([A, h]), goal, maxiter=50 * len(h))[0]
        rest = 1 - float(h @ x)
        y = x / rest if rest > 1e-15 else None
        if y is None or y @ cosine @ y > radius**2:
            high = level
        else:
            low, best = level, y
        if high - low <= 1e-16 * abs(high):
            break
    return best


def _length(y: Array, pull: Array) -> float:
    """|g_w| = sqrt(y^T C y), pull = C y; not below what rounding leaves of it."""
    return max(math.sqrt(max(float(y @ pull), 0.0)), 1e-9 * float(np.abs(y).max()))


def _active_set(
    cosine: Array, norms: Array, mean: Array, radius: float, start: Array, ridge: float
) -> Array:
    """The minimiser y = w n of mean^T y + radius sqrt(y^T C y), y >= 0, sum of y / n = 1."""
    y = start.copy()
    support = np.flatnonzero(y).tolist()
    ridged = cosine + ridge * np.eye(len(norms))
    for _ in range(5 * len(norms)):
        while True:
            block = cosine[support][:, support]
            inverse = np.linalg.inv(ridged[support][:, support])
            ones, part = 1 / norms[support], mean[support]
            p, q = inverse @ ones, inverse @ part
            p, q = p + inverse @ (ones - block @ p), q + inverse @ (part - block @ q)
            A, B, Q = ones @ p, ones @ q, part @ q
            root = B * B - A * (Q - radius * radius)
            if root > 0:
                longest, move = 1.0, p / A + (p * B / A - q) / math.sqrt(root) - y[support]
            else:  # no minimum on the plane of these gradients: down to the next edge
                longest, move = np.inf, p * B / A - q
            falling = move < 0
            reach = np.full(len(support), np.inf)
            reach[falling] = -y[support][falling] / move[falling]
            blocked = int(np.argmin(reach))
            length = min(longest, float(reach[blocked]))
            if not math.isfinite(length):
                break
            y[support] += length * move
            if length == longest or len(support) == 1:
                break
            y[support.pop(blocked)] = 0.0
        pull = cosine @ y
        slope = mean + radius * pull / _length(y, pull)
        excess = slope - (slope @ y) / norms
        excess[support] = 0
        enter = int(np.argmin(excess))
        if excess[enter] >= -1e-13:
            break
        support.append(enter)
    y = np.maximum(y, 0)
    return y / (y / norms).sum()
