"""CAGrad: its limits, its promise, and a primal solution found another way."""

import numpy as np
import pytest
import scipy.optimize

from mtlkit.balance.conflict_averse import CAGrad
from mtlkit.balance.min_norm import MGDA
from tests.balance.gradients import KINDS, SIZES, balance, gradients


def test_c_zero_is_equal_weighting():
    for kind in KINDS:
        assert balance(CAGrad(c=0), gradients(kind, 5)) == pytest.approx(np.ones(5))


def test_a_large_c_turns_to_mgdas_direction():
    G = gradients("conflict", 4)
    step, shortest = balance(CAGrad(c=1e7), G) @ G, balance(MGDA(), G) @ G
    cosine = step @ shortest / np.linalg.norm(step) / np.linalg.norm(shortest)
    assert cosine == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_stays_in_the_ball_and_serves_the_worst_task_at_least_as_well(kind):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        mean, step = G.mean(0), balance(CAGrad(0.4), G) @ G / tasks
        size, norms = np.linalg.norm(mean), np.linalg.norm(G, axis=1)
        assert np.linalg.norm(step - mean) <= 0.4 * size * (1 + 1e-6) + 1e-12 * norms.max()
        assert (G @ step).min() >= (G @ mean).min() - 1e-7 * norms.max() ** 2


def test_the_step_is_the_best_of_the_ball_by_a_search_for_it():
    """The primal problem itself, over points of the ball, as scipy's SLSQP solves it."""
    for seed in range(4):
        G = gradients("conflict", 3, seed)
        G = np.linalg.qr(G.T)[1].T  # the same Gramian in three dimensions
        mean = G.mean(0)
        found = scipy.optimize.minimize(
            lambda x: -x[-1],
            np.append(mean, (G @ mean).min()),
            constraints=[
                {"type": "ineq", "fun": lambda x, G=G: G @ x[:-1] - x[-1]},
                {
                    "type": "ineq",
                    "fun": lambda x, m=mean: 0.16 * m @ m - (x[:-1] - m) @ (x[:-1] - m),
                },
            ],
            options={"ftol": 1e-14, "maxiter": 500},
        )
        step = balance(CAGrad(0.4), G) @ G / 3
        assert (G @ step).min() == pytest.approx(found.x[-1], abs=1e-6)
        assert step == pytest.approx(found.x[:-1], abs=1e-4)


def test_all_gradients_times_a_factor_leave_the_weights():
    """TorchJD returns zeros for a trace under 1e-4, released code adds 1e-8: we do neither."""
    G = gradients("conflict", 4)
    for factor in (1e-6, 1e8):
        assert balance(CAGrad(), G * factor) == pytest.approx(balance(CAGrad(), G), rel=1e-6)


def test_rescale_divides_by_one_plus_c_squared():
    G = gradients("random", 3)
    assert balance(CAGrad(0.5, rescale=True), G) * 1.25 == pytest.approx(balance(CAGrad(0.5), G))


def test_a_negative_c_is_refused():
    with pytest.raises(ValueError, match="c must"):
        CAGrad(-0.1)
