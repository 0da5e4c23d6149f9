"""PE-LTR: the bounded shortest vector, three independent references, and the published recipe."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit.balance import BALANCERS, EVERY_BALANCER, MGDA, PELTR, bounded, solvers
from mtlkit.balance.bounded import bounded_min_norm, pe_ltr_two_step
from mtlkit.schema import Schema, SchemaError, Task
from tests.balance.gradients import KINDS, SIZES, balance, gradients, gramian, matrices
from tests.balance.test_hostile import KINDS as HOSTILE
from tests.balance.test_hostile import hostile

SCHEMA = Schema((Task("click"), Task("cart"), Task("purchase")))


def square(K, w):
    """|sum_i w_i g_i|^2."""
    return float(w @ K @ w)


def by_every_set(K, c):
    """The optimum by trying every set of weights that stand above their bounds."""
    tasks, rest, best = len(c), 1 - c.sum(), None
    for size in range(1, tasks + 1):
        for free in map(list, itertools.combinations(range(tasks), size)):
            one = np.ones((size, 1))
            system = np.block([[K[np.ix_(free, free)], one], [one.T, np.zeros((1, 1))]])
            x = np.zeros(tasks)
            x[free] = np.linalg.lstsq(system, np.append(-(K @ c)[free], rest), rcond=None)[0][:-1]
            if (x >= -1e-12).all() and (best is None or square(K, c + x) < square(K, best)):
                best = c + x
    return best


def some_bounds(tasks, seed):
    """Bounds of all sizes, a third of them 0, with sums between 0 and 1."""
    rng = np.random.default_rng([seed, tasks, 77])
    return rng.dirichlet(np.ones(tasks)) * rng.uniform(0, 1) * (rng.random(tasks) < 2 / 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tasks", SIZES)
def test_no_weight_is_below_its_bound_and_the_optimality_condition_holds(kind, tasks):
    for seed in range(3):
        G, c = gradients(kind, tasks, seed), some_bounds(tasks, seed)
        w = bounded_min_norm(G @ G.T, c)
        assert (w >= c).all() and w.sum() == pytest.approx(1, abs=1e-12)
        slope = G @ (w @ G)  # (K w)_i, without the rounding of K
        open_ = (w - c) @ (slope - slope.min())
        terms = w @ np.linalg.norm(G, axis=1)
        assert open_ <= 1e-7 * square(G @ G.T, w) + 1e-13 * terms**2


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_gradients_are_solved_to_a_ten_millionth_of_their_terms(kind):
    rng = np.random.default_rng(3)
    for _ in range(60):
        tasks = int(rng.integers(2, 21))
        G, c = hostile(kind, tasks, rng), some_bounds(tasks, int(rng.integers(1e6)))
        w = bounded_min_norm(G @ G.T, c)
        slope = G @ (w @ G)
        terms = w @ np.linalg.norm(G, axis=1)
        assert (w >= c).all() and w.sum() == pytest.approx(1, abs=1e-12)
        assert (w - c) @ (slope - slope.min()) <= 2e-7 * terms**2


@pytest.mark.parametrize("kind", ["random", "conflict", "orthogonal", "crowded", "duplicated"])
@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_the_answer_is_that_of_every_set_tried(kind, tasks):
    for seed in range(20):
        K, c = gramian(kind, tasks, seed), some_bounds(tasks, seed)
        w, slow = bounded_min_norm(K, c), by_every_set(K, c)
        assert square(K, w) == pytest.approx(square(K, slow), rel=1e-8, abs=1e-12 * np.trace(K))
        if kind in ("random", "conflict", "orthogonal"):  # one answer alone
            assert w == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize("tasks", [3, 4, 8])
def test_scipys_general_solver_finds_nothing_shorter(tasks):
    for seed in range(10):
        K, c = gramian("random", tasks, seed), some_bounds(tasks, seed)
        K = K / np.trace(K)
        w = bounded_min_norm(K, c)
        found = scipy.optimize.minimize(
            lambda v, K=K: v @ K @ v, np.full(tasks, 1 / tasks), jac=lambda v, K=K: 2 * K @ v,
            method="SLSQP", bounds=[(bound, 1) for bound in c], options={"ftol": 1e-14},
            constraints={"type": "eq", "fun": lambda v: v.sum() - 1},
        )  # fmt: skip
        assert square(K, w) <= found.fun * (1 + 1e-9)
        assert w == pytest.approx(found.x, abs=1e-4)


@settings(deadline=None, max_examples=150)
@given(matrices(max_tasks=4), st.integers(0, 10_000))
def test_whole_numbers_with_all_their_ties_are_solved_as_by_every_set(G, seed):
    K, c = G @ G.T, some_bounds(len(G), seed)
    w = bounded_min_norm(K, c)
    assert (w >= c).all() and w.sum() == pytest.approx(1, abs=1e-12)
    assert square(K, w) <= square(K, by_every_set(K, c)) + 1e-9 * np.trace(K)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tasks", SIZES)
def test_without_bounds_it_is_mgda_to_the_last_bit(kind, tasks):
    G = gradients(kind, tasks)
    assert balance(PELTR(0.0), G).tolist() == balance(MGDA(), G).tolist()
    assert balance(PELTR({}), G).tolist() == balance(MGDA(), G).tolist()


def test_bounds_that_add_up_to_1_are_fixed_weights():
    rule = PELTR({"click": 0.5, "cart": 0.2, "purchase": 0.3}).bind(SCHEMA)
    assert balance(rule, gradients("random", 3)) == pytest.approx([1.5, 0.6, 0.9])
    assert balance(PELTR(0.25), gradients("conflict", 4)) == pytest.approx(np.ones(4))


def test_bounds_that_balance_one_gradient_away_put_the_rest_on_it():
    G = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    c = np.array([0.25, 0.0, 0.0])  # c_1 g_1 + .75 g_2 is not 0, .25 g_1 + .25 g_2 + .5 g_3 neither
    w = bounded_min_norm(G @ G.T, c)
    assert w == pytest.approx([0.5, 0.5, 0.0])
    K = np.array([[9.0, -3.0], [-3.0, 1.0]])  # g_2 = -g_1 / 3: .25 g_1 + .75 g_2 = 0
    assert bounded_min_norm(K, [0.25, 0.0]) == pytest.approx([0.25, 0.75])


def test_a_bound_lifts_the_weight_that_mgda_would_leave_at_nothing():
    G = np.array([[0.01, 0.0], [0.0, 1.0]])
    assert balance(MGDA(), G)[1] < 1e-3
    assert balance(PELTR(0.05), G) == pytest.approx([1.9, 0.1])


@pytest.mark.parametrize("kind", KINDS)
def test_two_tasks_the_recipe_is_exact(kind):
    for seed in range(20):
        K, c = gramian(kind, 2, seed), some_bounds(2, seed)
        exact, recipe = bounded_min_norm(K, c), pe_ltr_two_step(K, c)
        assert square(K, exact) == pytest.approx(square(K, recipe), abs=1e-12 * np.trace(K))
        if kind in ("random", "conflict", "orthogonal", "tiny", "huge"):
            assert exact == pytest.approx(recipe, abs=1e-9)


def test_the_recipe_is_its_two_steps_written_out():
    G = gradients("random", 4, 5) * np.array([[0.3], [1.0], [1.0], [4.0]])
    K, c = G @ G.T, np.array([0.05, 0.1, 0.0, 0.05])
    one = np.ones(4)
    to_one, to_c = np.linalg.solve(K, one), np.linalg.solve(K, K @ c)  # by elimination of lambda
    x = -to_c + (0.8 + one @ to_c) / (one @ to_one) * to_one
    near = scipy.optimize.minimize(
        lambda v: ((v - x) ** 2).sum(), np.full(4, 0.2), method="SLSQP", bounds=[(0, None)] * 4,
        constraints={"type": "eq", "fun": lambda v: v.sum() - 0.8}, options={"ftol": 1e-15},
    )  # fmt: skip
    assert x.min() < 0  # so that the second step does something
    assert pe_ltr_two_step(K, c) == pytest.approx(c + near.x, abs=1e-6)


@pytest.mark.parametrize(("tasks", "least"), [(3, 0.2), (4, 0.5)])
def test_the_recipe_is_never_shorter_and_often_longer_for_three_tasks_or_more(tasks, least):
    rng = np.random.default_rng(0)
    c, excess = np.full(tasks, 0.05), []
    for _ in range(500):
        G = rng.normal(size=(tasks, 10)) * 10 ** rng.normal(0, 0.5, size=(tasks, 1))
        K = G @ G.T
        excess.append(square(K, pe_ltr_two_step(K, c)) / square(K, bounded_min_norm(K, c)) - 1)
    assert min(excess) > -1e-12
    assert np.mean(np.array(excess) > 1e-3) > least and max(excess) > 0.3


def test_the_order_of_tasks_takes_their_bounds_along():
    order, G = np.array([2, 0, 3, 1]), gradients("conflict", 4, 2)
    G = G * np.array([[1.0], [4.0], [0.3], [1.0]])
    c = np.array([0.0, 0.1, 0.3, 0.05])
    turned = bounded_min_norm((G @ G.T)[np.ix_(order, order)], c[order])
    assert turned == pytest.approx(bounded_min_norm(G @ G.T, c)[order], abs=1e-10)


def test_bounds_go_by_the_names_of_tasks_and_only_to_present_ones():
    G = np.array([[0.01, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    weights = balance(PELTR({"purchase": 0.2}).bind(SCHEMA), G)
    assert weights.sum() == pytest.approx(3) and weights[2] == pytest.approx(0.6)
    assert weights[1] < 1e-3
    G[0] = 0
    weights = balance(PELTR({"click": 0.7, "purchase": 0.2}).bind(SCHEMA), G)
    assert weights == pytest.approx([0, 1, 1])  # two tasks now, and only purchase has a bound
    weights = balance(PELTR({"purchase": 0.7}).bind(SCHEMA), G)
    assert weights == pytest.approx([0, 0.6, 1.4])


def test_a_step_of_the_rule_is_as_short_as_its_weights_say():
    G, rule = gradients("random", 3), PELTR(0.1)
    weights = balance(rule, G)
    assert weights / 3 == pytest.approx(bounded_min_norm(G @ G.T, np.full(3, 0.1)))
    assert rule.last_weights.tolist() == weights.tolist() and rule.state_dict() == {}


def test_bad_bounds_are_refused_by_name():
    no_number = (True, "0.1", None, [0.1, 0.2], {"click": "x"}, {"click": True})
    for wrong in (-0.1, float("nan"), float("inf"), {"cart": -1.0}, *no_number):
        with pytest.raises(ValueError, match=r"bounds: that of .* must be a .* 0 or more, not"):
            PELTR(wrong)
    with pytest.raises(ValueError, match=r"bounds add up to 1\.1.*lower"):
        PELTR({"click": 0.5, "cart": 0.6})
    with pytest.raises(ValueError, match=r"bounds add up to 1\.2.*lower"):
        PELTR(0.4).bind(SCHEMA)
    with pytest.raises(ValueError, match=r"bounds add up to 1\.2.*lower"):
        PELTR(0.4).weights(torch.ones(3), torch.eye(3))
    with pytest.raises(SchemaError, match="'carts'"):
        PELTR({"carts": 0.1}).bind(SCHEMA)
    for solve in (bounded_min_norm, pe_ltr_two_step):
        with pytest.raises(ValueError, match=r"one number a task, \(3,\), not shape \(2,\)"):
            solve(np.eye(3), [0.1, 0.1])
        with pytest.raises(ValueError, match="0 or more"):
            solve(np.eye(2), [0.1, -0.1])
        with pytest.raises(ValueError, match="add up to"):
            solve(np.eye(2), [0.6, 0.6])


def test_an_answer_that_misses_the_condition_is_not_given(monkeypatch):
    monkeypatch.setattr(bounded.solvers, "min_norm", lambda K: np.eye(len(K))[0])
    with pytest.raises(ArithmeticError, match="Weigh the losses into similar units"):
        bounded_min_norm(np.diag([4.0, 1.0, 1.0]), np.full(3, 0.1))


def test_the_rule_is_listed_apart_from_those_of_notebook_06():
    assert EVERY_BALANCER["pe-ltr"] is PELTR and "pe-ltr" not in BALANCERS
    assert EVERY_BALANCER.items() > BALANCERS.items()


def test_the_shifted_gradients_of_the_docstring_give_the_same_step():
    G, c = gradients("random", 5, 4), np.full(5, 0.08)
    H = c @ G + (1 - c.sum()) * G
    step = solvers.min_norm(H @ H.T) @ H
    assert bounded_min_norm(G @ G.T, c) @ G == pytest.approx(step, abs=1e-10)
