"""The two-task landscape: its slopes, its Pareto set, and walks with a known outcome."""

import numpy as np
import pytest

from mtlkit.balance import MGDA, EqualWeights, NashMTL, PCGrad, SDMGrad
from mtlkit.balance.toy import PARETO, STARTS, toy_gradients, walk


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_slopes_agree_with_finite_differences(scale):
    rng = np.random.default_rng(0)
    x = rng.uniform(-10, 10, size=(200, 2))
    x = x[np.abs(x[:, 1]) > 1e-3]  # the border has a kink
    _, gradients = toy_gradients(x, scale)
    for axis in (0, 1):
        nudge = 1e-6 * np.eye(2)[axis]
        up, down = (toy_gradients(x + sign * nudge, scale)[0] for sign in (1, -1))
        found = (up - down) / 2e-6
        np.testing.assert_allclose(gradients[:, :, axis], found, rtol=1e-4, atol=1e-6)


def test_two_losses_have_the_published_values_at_two_points():
    # by hand: at (0, 0) both factors are 0; at x2 = -8 the factor is tanh(4), the bowl (49 k) / 10
    losses, _ = toy_gradients(np.array([[0.0, 0.0], [7.0, -8.0]]))
    np.testing.assert_allclose(losses[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(losses[1], np.tanh(4) * np.array([-20.0, 19.6 - 20]), rtol=1e-12)


def test_the_scale_multiplies_the_first_task_only():
    x = np.array([[1.0, 2.0], [-3.0, -4.0]])
    losses, gradients = toy_gradients(x)
    smaller, slopes = toy_gradients(x, scale=0.1)
    np.testing.assert_allclose(smaller, losses * [0.1, 1.0])
    np.testing.assert_allclose(slopes, gradients * np.array([0.1, 1.0])[:, None])


def test_the_two_gradients_are_opposed_on_the_pareto_set_and_only_there():
    middle = np.linspace(*PARETO, 9)[1:-1]
    _, gradients = toy_gradients(middle)
    unit = gradients / np.linalg.norm(gradients, axis=2, keepdims=True)
    cosines = (unit[:, 0] * unit[:, 1]).sum(1)
    assert (cosines < -0.99).all()
    _, gradients = toy_gradients(middle + [0.0, 4.0])
    unit = gradients / np.linalg.norm(gradients, axis=2, keepdims=True)
    assert ((unit[:, 0] * unit[:, 1]).sum(1) > -0.99).all()


def test_small_equal_steps_are_stuck_in_the_valley_that_mgda_leaves():
    hard = [STARTS[0], STARTS[2]]
    ends = walk({"equal": EqualWeights, "mgda": MGDA}, hard, steps=2_600, learning_rate=0.005)
    assert (ends["equal"][:, -1, 1] > 1).all()
    assert (ends["mgda"][:, -1, 1] < -1).all()


def test_equal_weights_find_the_optimum_of_the_sum_from_an_easy_start():
    [path] = walk({"equal": EqualWeights}, [(9.0, -1.0)], steps=20_000, learning_rate=0.001)[
        "equal"
    ]
    np.testing.assert_allclose(path[-1], [0.0, -8.355], atol=0.02)


def test_a_loss_in_other_units_moves_all_rules_but_nash():
    rules = {"equal": EqualWeights, "mgda": MGDA, "nash": NashMTL}
    options = {"starts": [(0.0, 0.0)], "steps": 1_500, "learning_rate": 0.01}
    ends = {
        scale: {n: p[0, -1, 0] for n, p in walk(rules, scale=scale, **options).items()}
        for scale in (1.0, 0.1)
    }
    assert ends[0.1]["equal"] < -3 < 3 < ends[0.1]["mgda"]
    assert abs(ends[0.1]["nash"]) < 0.1
    assert all(abs(end) < 0.1 for end in ends[1.0].values())


def test_each_walk_is_the_same_alone_and_in_company():
    rules = {"equal": EqualWeights, "pcgrad": PCGrad, "sdmgrad": SDMGrad}
    together = walk(rules, steps=20)
    for name, make in rules.items():
        for i, start in enumerate(STARTS):
            alone = walk({name: make}, [start], steps=20)[name]
            np.testing.assert_allclose(alone[0], together[name][i], rtol=1e-9, atol=1e-12)
    assert together["equal"].shape == (len(STARTS), 21, 2)
    np.testing.assert_array_equal(together["equal"][:, 0], STARTS)
