"""Nash-MTL and FairGrad: the equations, their limits, what units do to them."""

import numpy as np
import pytest
import torch
from torchjd.aggregation import FairGrad as TorchJDFairGrad

from mtlkit.balance.bargaining import LIMIT, FairGrad, NashMTL
from tests.balance.gradients import KINDS, SIZES, balance, gradients

SOUND = ("random", "parallel", "duplicated", "orthogonal", "tiny", "huge")


@pytest.mark.parametrize("kind", SOUND)
def test_raw_nash_weights_invert_the_gains_and_the_step_is_root_t_long(kind):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        a = balance(NashMTL(rescale=False), G)
        step = a @ G
        assert a * (G @ step) == pytest.approx(np.ones(tasks), rel=1e-6)
        assert step @ step == pytest.approx(tasks, rel=1e-6)


@pytest.mark.parametrize("kind", SOUND)
def test_rescaled_nash_weights_are_the_raw_ones_times_the_root_mean_square_norm(kind):
    G = gradients(kind, 5)
    size = np.sqrt((G**2).sum() / 5)
    assert balance(NashMTL(), G) == pytest.approx(size * balance(NashMTL(rescale=False), G))


@pytest.mark.parametrize("rule", [NashMTL(), FairGrad(0.5), FairGrad(2.0)])
def test_equal_orthogonal_gradients_of_any_size_get_weight_one(rule):
    for size in (1e-6, 1.0, 1e8):
        assert balance(rule, size * np.eye(4)) == pytest.approx(np.ones(4))


def test_fairness_one_is_nash_and_fairness_zero_is_equal_weighting():
    for kind in KINDS:
        G = gradients(kind, 4)
        assert balance(FairGrad(1.0), G).tolist() == balance(NashMTL(), G).tolist()
        assert balance(FairGrad(0.0), G).tolist() == [1.0] * 4
    G = gradients("random", 4)
    assert balance(FairGrad(0.05), G) == pytest.approx(np.ones(4), abs=0.08)


def test_more_fairness_gives_the_smallest_gain_more():
    G = gradients("random", 4, 2) * np.array([[1.0], [2.0], [0.5], [4.0]])
    shares = []
    for alpha in (0.1, 0.5, 1.0, 2.0, 5.0, 20.0):
        step = balance(FairGrad(alpha), G) @ G
        shares.append((G @ step).min() / np.linalg.norm(step))
    assert shares == sorted(shares)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fairgrad_solves_its_equation_at_least_as_well_as_torchjd(alpha):
    """Concordance: same equation; TorchJD leaves scipy's least squares at its default tolerance."""
    for tasks in (2, 3, 5):
        G = gradients("random", tasks, 1)
        raw = balance(FairGrad(alpha, rescale=False), G)
        theirs = TorchJDFairGrad(alpha=alpha)(torch.tensor(G)).numpy()
        assert raw @ G == pytest.approx(theirs, abs=1e-3 * np.abs(theirs).max())
        assert (G @ G.T @ raw) * raw ** (1 / alpha) == pytest.approx(np.ones(tasks))


def test_scaling_one_loss_leaves_the_nash_step_but_for_its_length():
    G, unit = gradients("conflict", 4), np.array([1.0, 1e-4, 1e3, 1.0])
    raw = balance(NashMTL(rescale=False), G)
    scaled = balance(NashMTL(rescale=False), G * unit[:, None])
    assert scaled == pytest.approx(raw / unit, rel=1e-6)
    plain, other = (
        balance(NashMTL(), G) @ G,
        balance(NashMTL(), G * unit[:, None]) @ (G * unit[:, None]),
    )
    assert other / np.linalg.norm(other) == pytest.approx(plain / np.linalg.norm(plain), rel=1e-6)


@pytest.mark.parametrize("rule", [NashMTL(), FairGrad(2.0)])
@pytest.mark.parametrize("kind", [*SOUND, "conflict"])
def test_every_task_gains(rule, kind):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        assert (G @ (balance(rule, G) @ G) > 0).all()


@pytest.mark.parametrize("kind", ["opposite", "nearly_opposite", "stationary", "crowded"])
def test_where_the_tasks_cannot_gain_together_the_weights_are_limited(kind):
    for rule in (NashMTL(), FairGrad(0.5), FairGrad(5.0)):
        for tasks in SIZES:
            G = gradients(kind, tasks)
            weights, norms = balance(rule, G), np.linalg.norm(G, axis=1)
            assert (weights > 0).all()
            assert (weights * norms).max() <= LIMIT * np.sqrt((norms**2).mean()) * (1 + 1e-9)
    still = gradients("stationary", 4)
    step = balance(NashMTL(), still) @ still
    assert np.linalg.norm(step) < 0.05 * np.linalg.norm(still)


def test_an_impossible_fairness_is_refused():
    for alpha in (-1.0, 0.01, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            FairGrad(alpha)


@pytest.mark.parametrize("rule", [NashMTL(rescale=False), FairGrad(2.0, rescale=False)])
def test_beside_stationarity_the_equation_is_met_without_a_ridge(rule):
    """At pi - 1e-3 a ridge of 1e-8 once left a K a at .98."""
    for apart in (1e-2, 1e-3, 3e-4, 1.5e-4):
        G = np.array([[1.0, 0.0], [-np.cos(apart), np.sin(apart)]])
        a = balance(rule, G)
        assert (G @ G.T @ a) * a ** (1 / rule.alpha) == pytest.approx(np.ones(2), abs=1e-6)


def test_the_ridge_that_stays_is_as_the_docstring_says():
    for apart, left in ((1e-4, 1 / 3), (1e-5, 0.005)):
        G = np.array([[1.0, 0.0], [-np.cos(apart), np.sin(apart)]])
        a = balance(NashMTL(rescale=False), G)
        assert (G @ G.T @ a) * a == pytest.approx([left, left], rel=0.01)
