"""Small exact solvers on the Gramian K = G G^T of the task gradients, (task, task).

Every function takes K as a float64 array or CPU tensor and returns NumPy arrays: at sixteen tasks
or fewer, what an operation costs is its call. Gradients must not be zero. Inside, K becomes the
matrix of cosines C_ij = K_ij / (n_i n_j), n_i = sqrt(K_ii), so that gradients of norm 1e-6 and 1
may stand side by side and nothing depends on the unit of a loss more than the method itself does.

Duplicated, parallel or opposite gradients make K singular. Then the coefficients of the answer are
not unique; the direction sum_i a_i g_i is (for ``fair`` see there). A ridge of 1e-14 on C picks
coefficients that are not wild. What iterates checks its own optimality condition before it answers,
and raises ``ArithmeticError`` where nothing meets it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mtlkit.balance.nonnegative import RIDGE, Array, complementary

LARGEST = 1e4  # of a fair weight, in units of what orthogonal gradients would get


def cosines(K: ArrayLike) -> tuple[Array, Array]:
    """The cosines C (task, task) between gradients and their norms n (task,).

    Where rounding, say of a float32 K, has given C a negative eigenvalue, it is set to zero.
    Raises ``ValueError`` where a gradient is zero or not finite.
    """
    K = np.asarray(K, dtype=np.float64)
    squares = K.diagonal()
    if not (np.isfinite(squares).all() and (squares > 0).all()):
        raise ValueError(
            f"The diagonal of the Gramian must be positive and finite, not {squares.tolist()}: "
            "leave out tasks without a gradient."
        )
    norms = np.sqrt(squares)
    C = K / norms[:, None] / norms
    try:
        np.linalg.cholesky(C + RIDGE * np.eye(len(norms)))
    except np.linalg.LinAlgError:
        eigenvalues, V = np.linalg.eigh(C)
        C = (V * eigenvalues.clip(0.0)) @ V.T
    return C, norms


def project_simplex(v: ArrayLike) -> Array:
    """The point of the simplex {a >= 0, sum a = 1} nearest to v, (task,) -> (task,).

    a_i = max(v_i - s, 0) with the one s that makes the sum 1, found by sorting.
    """
    v = np.asarray(v, dtype=np.float64)
    falling = np.sort(v)[::-1]
    levels = (np.cumsum(falling) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - levels[falling > levels][-1], 0)


def min_norm(K: ArrayLike) -> Array:
    """The weights of the shortest vector in the convex hull of the gradients: (task,), sum 1.

    Problem: min a^T K a over the simplex; optimal exactly if (K a)_i >= a^T K a for all i.
    Method: for two tasks a_1 = clip((K_22 - K_12) / (K_11 + K_22 - 2 K_12), 0, 1), 1/2 for equal
    gradients. For more, min x^T K x + s^2 (sum x - 1)^2 over x >= 0 has the same minimiser up to
    its sum; it is solved by pivoting, see ``complementary``, with s^2 = min_i K_ii.
    Source: Désidéri 2012; Sener and Koltun 2018, algorithm 1 (two tasks).
    """
    cosine, norms = cosines(K)
    if len(norms) == 1:
        return np.ones(1)
    if len(norms) == 2:
        # In the units of the shorter gradient, so that nothing is lost beside a huge one.
        (n1, n2), rho = norms / norms.min(), cosine[0, 1]
        spread = (n1 - n2) ** 2 + 2 * n1 * n2 * (1 - rho)  # |g1 - g2|^2
        if spread <= 1e-15:
            return np.full(2, 0.5)
        both = np.array([(n2 - rho * n1) * n2, (n1 - rho * n2) * n1]) / spread
        return both.clip(0.0, 1.0)
    inverse = norms.min() / norms  # in (0, 1]
    x = complementary(cosine + np.outer(inverse, inverse), inverse[None])[0] * inverse
    return x / x.sum()


def cone_weights(K: ArrayLike) -> Array:
    """Row i: the coefficients of g_i projected onto the directions that raise no task's loss.

    Problem: the nearest d to g_i with G d >= 0; d = sum_j v_j g_j with min v^T K v, v >= e_i.
    Optimal exactly if v >= e_i, K v >= 0 and (v - e_i)^T K v = 0. Method: all rows at once by
    pivoting, see ``complementary``. (task, task). Source: Quinton and Rey 2024, proposition 1.
    """
    cosine, norms = cosines(K)
    v = np.eye(len(norms))
    rows = np.flatnonzero((cosine < 0).any(1))  # the others conflict with nobody: v = e_i
    if len(rows):
        v[rows] += complementary(cosine, -cosine[rows])
    return v * norms[:, None] / norms


def nash(K: ArrayLike) -> Array:
    """The Nash bargaining weights: a > 0 with K a = 1 / a, so that a^T K a = the number of tasks.

    a_i becomes a_i / k when g_i becomes k g_i. See ``fair`` for the method.
    Source: Navon et al. 2022 (arXiv 2202.01017), claim 3.1.
    """
    return fair(K, 1.0)


def fair(K: ArrayLike, alpha: float) -> Array:
    """The alpha-fair weights: w > 0 with (K w)_i = w_i^(-1 / alpha), (task,).

    Problem: min w^T K w / 2 - sum_i psi(w_i), psi'(x) = x^(-1 / alpha): strictly convex. Method:
    Newton with backtracking on z = w n, from the best multiple of the answer for orthogonal
    gradients, w_i = K_ii^(-alpha / (1 + alpha)); ends when (K w)_i w_i^(1 / alpha)
    is 1 within 1e-12 or rounding is reached, after 5 to 10 steps (20 where K is singular, never
    more than 200). First with a ridge of 1e-8 on C, then without it.

    Where the gradients can be balanced to zero (Pareto stationary) no finite w exists; then the
    answer with the ridge is kept: for Nash-MTL weights about 1e4 times the usual, whose combination
    is nearly zero. Beside it the ridge goes as long as it makes less than half of a (K w)_i: with
    Nash-MTL and two tasks up to an angle of pi - 1.5e-4, where a_i (K a)_i is still 1 within 1e-7.
    It stays from there on: a_i (K a)_i is 1/3 at pi - 1e-4, 0.005 at pi - 1e-5.

    Raises ``ArithmeticError`` where Newton's method misses its equation by more than 1e-6 and what
    rounding of K w explains: for alpha far from 1 and norms many powers of ten apart.
    Source: Ban and Ji 2024 (arXiv 2402.15638), equation 4; alpha = 1 is Nash-MTL.
    """
    cosine, norms = cosines(K)
    power = 1 / alpha
    root = norms ** ((1 - alpha) / (1 + alpha))
    ridged = cosine + LARGEST**-2 * np.eye(len(norms))
    y = _newton(ridged, root, power, (root @ root / (root @ ridged @ root)) ** (1 / (1 + power)))
    missed = _unfair(ridged, root, power, y, rounded=True)
    tame = y.max() ** (0.5 + 0.5 * power) < 0.1 * LARGEST
    if tame or _unfair(cosine, root, power, y, rounded=False) < 0.5:
        exact = _newton(cosine, root, power, y)
        missed_exact = _unfair(cosine, root, power, exact, rounded=True)
        if missed_exact <= max(missed, 1e-6):
            y, missed = exact, missed_exact
    if not missed <= 1e-6:
        raise ArithmeticError(
            f"The fair weights (alpha {alpha:g}) of {len(norms)} tasks are found to {missed:.1e} "
            f"only: the gradients' norms lie between {norms.min():.1e} and {norms.max():.1e}. "
            "Weigh the losses into similar units, or take an alpha nearer to 1."
        )
    return y * norms ** (-2 * alpha / (1 + alpha))


def _unfair(C: Array, root: Array, power: float, y: Array, rounded: bool) -> float:
    """The largest relative error of (C z)_i = root_i y_i^-power; beyond rounding, if asked."""
    slope, pull = root * y**-power, C @ (root * y)
    error = np.abs(pull - slope)
    if rounded:
        error = error - 4 * len(y) * np.finfo(float).eps * (np.abs(C) @ (root * y))
    return float((error / slope).max())


def _newton(C: Array, root: Array, power: float, start: Array | float) -> Array:
    """y > 0 with (C z)_i = root_i y_i^-power, z = root y: (task,)."""
    size = len(root)
    scale = root @ root

    def height(z: Array) -> float:
        y = z / root
        gain = np.log(y) if power == 1 else y ** (1 - power) / (1 - power)
        return float(0.5 * z @ C @ z - root**2 @ gain)

    z = start * root
    best, full = height(z), 0
    for _ in range(100):
        slope = root * (z / root) ** -power
        pull = C @ z
        if np.abs(pull / slope - 1).max() < 1e-12:
            break
        hessian = C.copy()
        hessian.flat[:: size + 1] += power * slope / z
        step = np.linalg.solve(hessian, slope - pull)
        decrement = (slope - pull) @ step
        shrink = (-step / z).max()
        length = 1.0 if shrink < 0.95 else 0.95 / shrink  # stay positive
        trial, now = z + length * step, best
        if decrement < 1e-13 * scale:  # rounding: full steps converge by themselves
            full += 1
            if full == 5:
                break
        else:
            rounding = max(1e-14 * abs(best), np.finfo(float).eps * float(z @ np.abs(C) @ z))
            while True:
                now = height(trial)
                if now <= best + rounding - 1e-4 * length * decrement or length < 1e-6:
                    break
                length *= 0.5
                trial = z + length * step
        z, best = trial, now
    return z / root
