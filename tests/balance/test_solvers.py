"""The solvers against optimality conditions, brute force and scipy, for every kind of gradients."""

import copy

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings

from mtlkit.balance import solvers
from mtlkit.balance.conflict_averse import conflict_averse
from tests.balance.gradients import KINDS, SINGULAR, SIZES, gradients, gramian, matrices

EVERY = [(kind, tasks) for kind in KINDS for tasks in SIZES]
# Where K is nearly singular, its own rounding moves the answer.
LOOSE = {"nearly_opposite": 1e-5, "nearly_parallel": 1e-9}
SEEDS = range(3)
# Where the gradients cannot be balanced to zero, so that the fair weights are finite.
BARGAIN = [k for k in KINDS if k not in SINGULAR and k != "nearly_opposite"]


def norms_of(G):
    return np.linalg.norm(G, axis=1)


def simplex_grid(tasks, steps):
    if tasks == 2:
        first = np.linspace(0, 1, steps + 1)
        return np.stack([first, 1 - first], 1)
    i, j = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1))
    kept = (i + j) <= steps
    i, j = i[kept] / steps, j[kept] / steps
    return np.stack([i, j, 1 - i - j], 1)


# --- shortest vector in the hull -------------------------------------------------------------


def min_norm_excess(G, a):
    """How far (K a)_i >= a^T K a fails, in units of the shortest gradient's square."""
    d = a @ G
    return (d @ d - (G @ d).min()) / norms_of(G).min() ** 2


@pytest.mark.parametrize(("kind", "tasks"), EVERY)
def test_min_norm_meets_its_optimality_condition(kind, tasks):
    for seed in SEEDS:
        G = gradients(kind, tasks, seed)
        a = solvers.min_norm(G @ G.T)
        assert (a >= 0).all() and a.sum() == pytest.approx(1, abs=1e-12)
        assert min_norm_excess(G, a) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tasks", "steps"), [(2, 20_000), (3, 400)])
def test_min_norm_is_no_longer_than_the_best_of_a_dense_grid(kind, tasks, steps):
    K = gramian(kind, tasks)
    a = solvers.min_norm(K)
    grid = simplex_grid(tasks, steps)
    lengths = np.einsum("ni,ij,nj->n", grid, K, grid)
    assert a @ K @ a <= lengths.min() + 1e-12 * np.trace(K)
    assert lengths.min() - a @ K @ a <= 2 * np.trace(K) / steps


def test_min_norm_of_two_tasks_follows_the_closed_form():
    for seed in range(50):
        K = gramian("random", 2, seed)
        first = np.clip((K[1, 1] - K[0, 1]) / (K[0, 0] + K[1, 1] - 2 * K[0, 1]), 0, 1)
        assert solvers.min_norm(K) == pytest.approx([first, 1 - first], abs=1e-12)


def test_two_task_formula_and_pivoting_agree():
    for seed in range(20):
        G = gradients("conflict" if seed % 2 else "random", 2, seed)
        far = np.zeros(G.shape[1] + 1)
        far[-1] = 1e4  # a third gradient, so long that it is never used
        three = np.vstack([np.pad(G, ((0, 0), (0, 1))), far])
        a = solvers.min_norm(three @ three.T)
        assert a[:2] == pytest.approx(solvers.min_norm(G @ G.T), abs=1e-6)


def test_min_norm_agrees_with_many_steps_of_projected_gradient():
    K = gramian("conflict", 5, 3)
    a = np.full(5, 0.2)
    for _ in range(20_000):
        a = solvers.project_simplex(a - K @ a / np.linalg.norm(K, 2))
    assert solvers.min_norm(K) == pytest.approx(a, abs=1e-6)


def test_equal_gradients_share_equally_and_a_single_task_takes_all():
    assert solvers.min_norm(np.ones((2, 2))).tolist() == [0.5, 0.5]
    assert solvers.min_norm([[4.0]]).tolist() == [1.0]


# --- the simplex -----------------------------------------------------------------------------


def test_projection_onto_the_simplex_is_the_nearest_point():
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 16):
        v = rng.normal(size=size) * 2
        p = solvers.project_simplex(v)
        assert (p >= 0).all() and p.sum() == pytest.approx(1)
        corners = np.eye(size)  # the angle at p to every corner is blunt
        assert ((corners - p) @ (v - p) <= 1e-12).all()


def test_projection_leaves_a_point_of_the_simplex_where_it_is():
    assert solvers.project_simplex([0.2, 0.5, 0.3]) == pytest.approx([0.2, 0.5, 0.3])


# --- projections on the dual cone ------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tasks"), [e for e in EVERY if e[0] != "nearly_opposite"])
def test_projections_on_the_cone_meet_their_optimality_conditions(kind, tasks):
    for seed in SEEDS:
        G = gradients(kind, tasks, seed)
        n = norms_of(G)
        v = solvers.cone_weights(G @ G.T)
        extra = v - np.eye(tasks)
        gains = (v @ G / n[:, None]) @ (G / n[:, None]).T  # <P(g_i), g_j>, norms taken out
        assert (extra >= 0).all()
        assert gains.min() > -1e-10
        assert np.abs((extra * n / n[:, None] * gains).sum(1)).max() < 1e-9


def test_nearly_opposite_gradients_are_projected_without_conflict_up_to_rounding():
    for tasks in SIZES:
        G = gradients("nearly_opposite", tasks)
        n = norms_of(G)
        d = solvers.cone_weights(G @ G.T) @ G
        assert np.isfinite(d).all()
        assert (d @ G.T / n / n[:, None]).min() > -1e-6


def test_orthogonal_gradients_are_their_own_projections():
    for tasks in SIZES:
        assert solvers.cone_weights(gramian("orthogonal", tasks)) == pytest.approx(np.eye(tasks))


# Not the orthogonal ones: scipy's nnls trips over their inner products near 1e-17.
@pytest.mark.parametrize("kind", [k for k in KINDS if k[:6] not in ("nearly", "orthog")])
def test_projections_on_the_cone_agree_with_scipys_nnls(kind):
    for tasks in (2, 4, 8):
        G = gradients(kind, tasks)
        directions = solvers.cone_weights(G @ G.T) @ G
        n = norms_of(G)
        for i in range(tasks):
            unit = (G / n[:, None]).T
            extra, _ = scipy.optimize.nnls(unit, -G[i] / n[i])
            assert directions[i] / n[i] == pytest.approx(G[i] / n[i] + unit @ extra, abs=1e-7)


# --- bargaining ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tasks"), [e for e in EVERY if e[0] in BARGAIN])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 5.0])
def test_fair_weights_solve_their_equation(kind, tasks, alpha):
    for seed in SEEDS:
        K = gramian(kind, tasks, seed)
        w = solvers.fair(K, alpha)
        assert (w > 0).all()
        if kind == "mixed" and alpha < 1:  # the gains of tiny gradients drown in rounding
            n = np.sqrt(K.diagonal())
            assert (K @ w / n > -1e-7 * (w * n).max()).all()
            continue
        assert (K @ w) * w ** (1 / alpha) == pytest.approx(np.ones(tasks), abs=1e-8)


@pytest.mark.parametrize("kind", ["random", "conflict", "mixed"])
def test_nash_weights_agree_with_a_general_minimiser(kind):
    for tasks in (2, 3, 8):
        cosine, n = solvers.cosines(gramian(kind, tasks))

        def value(z, C=cosine):
            return 0.5 * np.exp(z) @ C @ np.exp(z) - z.sum()

        found = scipy.optimize.minimize(value, np.zeros(tasks), method="BFGS", tol=1e-12)
        assert solvers.nash(gramian(kind, tasks)) * n == pytest.approx(np.exp(found.x), rel=1e-3)
        assert value(np.log(solvers.nash(gramian(kind, tasks)) * n)) <= found.fun + 1e-12


def test_nash_weights_of_two_tasks_follow_the_closed_form():
    for seed in range(20):
        K = gramian("random", 2, seed)
        n = np.sqrt(np.diag(K))
        closed = 1 / (n * np.sqrt(1 + K[0, 1] / n[0] / n[1]))
        assert solvers.nash(K) == pytest.approx(closed, rel=1e-10)


def test_fair_weights_of_orthogonal_gradients_follow_the_closed_form():
    squares = np.array([1e-12, 1e-4, 1.0, 1e6])
    for alpha in (0.3, 1.0, 4.0):
        expected = squares ** (-alpha / (1 + alpha))
        assert solvers.fair(np.diag(squares), alpha) == pytest.approx(expected, rel=1e-9)


def test_fairness_one_is_nash():
    K = gramian("conflict", 6)
    assert np.array_equal(solvers.fair(K, 1.0), solvers.nash(K))
    assert solvers.fair(K, 1.0 + 1e-9) == pytest.approx(solvers.nash(K), rel=1e-6)


@pytest.mark.parametrize("kind", ["opposite", "stationary"])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
def test_where_gradients_balance_to_zero_fair_weights_are_finite_and_balance_them(kind, alpha):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        w = solvers.fair(G @ G.T, alpha)
        assert np.isfinite(w).all() and (w > 0).all()
        step, unit = w @ G / (w * norms_of(G)).max(), G[0] / np.linalg.norm(G[0])
        assert abs(unit @ step) < 1e-3  # neither of the opposed tasks moves
        if kind == "stationary":
            assert np.linalg.norm(step) < 1e-3


def test_parallel_gradients_get_the_fair_weights_of_one_line():
    K = np.array([[1.0, 2.0], [2.0, 4.0]])
    assert solvers.nash(K) == pytest.approx(np.array([1, 0.5]) / np.sqrt(2), rel=1e-8)


# --- CAGrad ----------------------------------------------------------------------------------


def cagrad_gap(G, c):
    """Dual value minus the worst gain of d: 0 proves both optimal. And how far d is outside."""
    w, u = conflict_averse(G @ G.T, c)
    assert (w >= 0).all() and w.sum() == pytest.approx(1, abs=1e-9)
    mean, d = G.mean(0), u @ G
    size = np.linalg.norm(mean)
    if size < 1e-10 * norms_of(G).max():
        assert np.linalg.norm(d) < 1e-9 * norms_of(G).max()
        return 0.0, 0.0
    dual = w @ G @ mean + c * size * np.linalg.norm(w @ G)
    outside = np.linalg.norm(d - mean) / size - c
    return (dual - (G @ d).min()) / size / norms_of(G).max(), outside


@pytest.mark.parametrize(("kind", "tasks"), EVERY)
@pytest.mark.parametrize("c", [0.1, 0.4, 0.95])
def test_cagrad_closes_the_gap_between_primal_and_dual(kind, tasks, c):
    for seed in SEEDS:
        gap, outside = cagrad_gap(gradients(kind, tasks, seed), c)
        assert -LOOSE.get(kind, 1e-9) < gap < LOOSE.get(kind, 1e-9)
        assert outside < LOOSE.get(kind, 1e-9)


def test_cagrad_closes_the_gap_where_its_path_crosses_zero():
    rows = [[-3, -1, -3], [-3, -1, 2], [2, 1, -3], [-1, 2, 1], [3, 1, -1], [2, 0, 2], [0, 2, 1]]
    for c in (0.5, 0.95, 1.0, 3.0):
        gap, outside = cagrad_gap(np.array(rows, dtype=float), c)
        assert abs(gap) < 1e-8 and outside < 1e-8


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "stationary"])
def test_cagrads_dual_is_no_higher_than_the_best_of_a_dense_grid(kind):
    for tasks, steps in ((2, 5_000), (3, 300)):
        K = gramian(kind, tasks)
        grid = simplex_grid(tasks, steps)

        def dual(w, K=K):
            spread = np.einsum("...i,ij,...j->...", w, K, w).clip(0)
            return w @ K.mean(1) + 0.4 * np.sqrt(K.mean().clip(0) * spread)

        w, _ = conflict_averse(K, 0.4)
        assert dual(w) <= dual(grid).min() + 1e-9 * np.trace(K)
        assert dual(grid).min() - dual(w) < 20 * np.trace(K) / steps


def test_cagrad_agrees_with_scipys_constrained_minimiser():
    for seed in range(5):
        K = gramian("conflict", 4, seed)
        K = K / np.trace(K)

        def dual(w, K=K):
            return w @ K.mean(1) + 0.4 * np.sqrt(K.mean() * (w @ K @ w))

        found = scipy.optimize.minimize(
            dual,
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        w, _ = conflict_averse(K, 0.4)
        assert dual(w) == pytest.approx(found.fun, abs=1e-7)


def test_cagrad_with_balanced_gradients_keeps_the_mean_that_hurts_nobody():
    G = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    w, u = conflict_averse(G @ G.T, 0.4)
    assert w @ G == pytest.approx([0, 0], abs=1e-6)
    assert u @ G == pytest.approx([0, 1 / 3], abs=1e-9)


# --- all together ----------------------------------------------------------------------------


def everything(K):
    _, u = conflict_averse(K, 0.4)
    return {
        "min_norm": solvers.min_norm(K),
        "cone": solvers.cone_weights(K).sum(0),
        "nash": solvers.nash(K),
        "fair": solvers.fair(K, 2.0),
        "cagrad": u,
    }


@settings(max_examples=150, deadline=None)
@given(matrices())
def test_small_whole_numbers_with_all_their_ties_are_solved(G):
    K, n = G @ G.T, norms_of(G)
    assert min_norm_excess(G, solvers.min_norm(K)) < 1e-8
    v = solvers.cone_weights(K)
    assert (v @ K / n / n[:, None]).min() > -1e-8
    gap, outside = cagrad_gap(G, 0.4)
    assert abs(gap) < 1e-7 and outside < 1e-7
    w = solvers.nash(K)
    assert np.isfinite(w).all() and (w > 0).all()
    if (w * n).max() < 100:  # else the gradients balance to zero
        assert w * (K @ w) == pytest.approx(np.ones(len(G)), abs=1e-7)


@pytest.mark.parametrize("kind", ["random", "conflict", "mixed", "tiny"])
def test_the_order_of_tasks_does_not_matter(kind):
    K = gramian(kind, 6)
    order = np.array([3, 0, 5, 1, 4, 2])
    straight, turned = everything(K), everything(K[np.ix_(order, order)])
    for name in straight:
        assert turned[name] == pytest.approx(straight[name][order], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("kind", ["random", "conflict"])
def test_all_gradients_times_a_factor_change_what_the_papers_say(kind):
    K, factor = gramian(kind, 5), 1e-5
    before, after = everything(K), everything(K * factor**2)
    for name in ("min_norm", "cone", "cagrad"):
        assert after[name] == pytest.approx(before[name], rel=1e-6, abs=1e-12), name
    assert after["nash"] == pytest.approx(before["nash"] / factor, rel=1e-9)
    assert after["fair"] == pytest.approx(before["fair"] * factor ** (-4 / 3), rel=1e-9)


def test_one_gradient_times_a_factor_divides_its_nash_weight_alone():
    K = gramian("conflict", 5)
    unit = np.array([1.0, 1e-6, 1.0, 1e4, 1.0])
    assert solvers.nash(K * unit[:, None] * unit) == pytest.approx(solvers.nash(K) / unit, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gramian_rounded_to_float32_does_no_harm(kind):
    for tasks in SIZES:
        G = gradients(kind, tasks).astype(np.float32)
        for name, weights in everything(G @ G.T).items():
            assert np.isfinite(weights).all(), name
        d = solvers.min_norm(G @ G.T) @ G.astype(np.float64)
        gains = G.astype(np.float64) @ d
        assert ((d @ d - gains) / norms_of(G)).max() < 1e-6 * norms_of(G).max()


def test_a_gradient_that_is_zero_or_not_finite_is_refused():
    for wrong in (0.0, np.nan, np.inf):
        K = np.eye(3)
        K[1, 1] = wrong
        for solve in (solvers.min_norm, solvers.cone_weights, solvers.nash):
            with pytest.raises(ValueError, match="leave out tasks"):
                solve(K)


def test_solvers_leave_their_input_alone():
    K = gramian("conflict", 4)
    before = copy.deepcopy(K)
    everything(K)
    assert np.array_equal(K, before)
