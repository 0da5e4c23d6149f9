import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.scalarization import STCH as PeerSTCH
from torchjd.scalarization import GeometricMean

from mtlkit.balance.scalarizations import GeometricLoss, LogSum, SmoothTchebycheff
from mtlkit.balance.uncertainty import IMTLL
from mtlkit.schema import Schema, Task

SCHEMA = Schema((Task("click"), Task("cart"), Task("purchase")))
LOSSES = torch.tensor([0.05, 0.4, 2.5], dtype=torch.float64)
some_losses = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6)


def slopes(function, losses, step=1e-6):
    """Central finite differences of a function of the losses, relative steps."""
    result = []
    for i, loss in enumerate(losses):
        up, down = losses.clone(), losses.clone()
        up[i], down[i] = loss * (1 + step), loss * (1 - step)
        result.append((function(up) - function(down)) / (2 * step * loss))
    return torch.stack(result)


@settings(max_examples=50, deadline=None)
@given(losses=some_losses)
def test_gls_is_the_gradient_of_the_geometric_mean_times_the_number_of_tasks(losses):
    losses = torch.tensor(losses, dtype=torch.float64)
    k = len(losses)
    expected = k * slopes(lambda x: x.prod() ** (1 / k), losses)
    weights = GeometricLoss().weights(losses)
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=0)
    leaf = losses.clone().requires_grad_()
    GeometricMean()(leaf).backward()
    torch.testing.assert_close(weights, k * leaf.grad)


def test_gls_weights_multiply_to_1_and_level_the_losses():
    weights = GeometricLoss().weights(LOSSES)
    torch.testing.assert_close(float(weights.prod()), 1.0)
    torch.testing.assert_close(weights * LOSSES, LOSSES.log().mean().exp().expand(3))


def test_gls_of_many_tiny_losses_does_not_underflow():
    losses = torch.full((40,), 1e-20, dtype=torch.float64)  # their product is 1e-800
    torch.testing.assert_close(GeometricLoss().weights(losses), torch.ones(40).double())


@settings(max_examples=50, deadline=None)
@given(losses=some_losses)
def test_log_sum_is_the_gradient_of_the_sum_of_logs(losses):
    losses = torch.tensor(losses, dtype=torch.float64)
    expected = slopes(lambda x: x.log().sum(), losses)
    torch.testing.assert_close(LogSum().weights(losses), expected, rtol=1e-6, atol=0)


def test_a_scaled_loss_gives_the_same_gradient_under_log_sum():
    scale = torch.tensor([100.0, 1.0, 0.01], dtype=torch.float64)
    torch.testing.assert_close(LogSum().weights(LOSSES * scale) * scale, LogSum().weights(LOSSES))


def test_log_sum_and_gls_point_the_same_way_and_imtl_l_rests_there():
    raw, rescaled = LogSum().weights(LOSSES), LogSum(rescale=True).weights(LOSSES)
    geometric = GeometricLoss().weights(LOSSES)
    for other in (rescaled, geometric):
        ratio = other / raw
        torch.testing.assert_close(ratio, ratio[0].expand(3))
    torch.testing.assert_close(float(rescaled.sum()), 3.0)
    learned = IMTLL(0.02)
    for _ in range(2500):
        weights = learned.weights(LOSSES)
    torch.testing.assert_close(weights, raw, rtol=1e-3, atol=0)


PREFERENCE, IDEAL = {"click": 2.0, "purchase": 0.5}, {"cart": 0.3, "purchase": -1.0}


@settings(max_examples=50, deadline=None)
@given(
    losses=st.lists(st.floats(-5, 5).filter(bool), min_size=3, max_size=3), mu=st.floats(0.05, 5)
)
def test_stch_is_the_gradient_of_the_soft_maximum_and_equals_torchjds(losses, mu):
    losses = torch.tensor(losses, dtype=torch.float64)
    preference = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    ideal = torch.tensor([0.0, 0.3, -1.0], dtype=torch.float64)
    leaf = losses.clone().requires_grad_()
    total = 3 * mu * (preference * (leaf - ideal) / mu).logsumexp(0)
    (expected,) = torch.autograd.grad(total, leaf)
    weights = SmoothTchebycheff(mu, PREFERENCE, IDEAL).bind(SCHEMA).weights(losses)
    torch.testing.assert_close(weights, expected)
    PeerSTCH(mu, preference, ideal)(leaf).backward()
    torch.testing.assert_close(weights, 3 * leaf.grad)


def test_papers_uniform_preference_is_our_preference_1_with_mu_times_the_tasks():
    leaf = LOSSES.clone().requires_grad_()
    PeerSTCH(0.1)(leaf).backward()  # preference 1/3 each
    weights = SmoothTchebycheff(0.3).weights(LOSSES)
    torch.testing.assert_close(weights, 3 * (3 * leaf.grad))


def test_small_mu_is_tchebycheff_and_large_mu_is_a_fixed_sum():
    low = SmoothTchebycheff(1e-4, PREFERENCE, IDEAL).bind(SCHEMA).weights(LOSSES)
    assert low.tolist() == [0.0, 0.0, 3 * 0.5]  # purchase: 0.5 x (2.5 + 1) is the largest
    high = SmoothTchebycheff(1e9, PREFERENCE, IDEAL).bind(SCHEMA).weights(LOSSES)
    torch.testing.assert_close(high, torch.tensor([2.0, 1.0, 0.5]).double())


def test_large_losses_and_a_small_mu_do_not_overflow():
    weights = SmoothTchebycheff(1e-6).weights(torch.tensor([1e8, 2e8, 1e8 + 1]))
    assert weights.tolist() == [0.0, 3.0, 0.0]


def test_after_a_warm_up_the_tasks_scale_does_not_choose_the_worst_task():
    rule, scaled = (SmoothTchebycheff(0.5, warmup=2).bind(SCHEMA) for _ in range(2))
    scale = torch.tensor([50.0, 1.0, 0.1], dtype=torch.float64)
    for epoch in range(2):
        means = LOSSES * (1.5 - epoch)  # their mean is LOSSES
        assert rule.weights(LOSSES).tolist() == [1.0, 1.0, 1.0]
        rule.end_epoch(means)
        scaled.end_epoch(means * scale)
    now = LOSSES * torch.tensor([0.9, 0.5, 1.1], dtype=torch.float64)
    weights = rule.weights(now)
    share = (torch.tensor([0.9, 0.5, 1.1], dtype=torch.float64) / 0.5).softmax(0)
    torch.testing.assert_close(weights, 3 * share / LOSSES)
    torch.testing.assert_close(scaled.weights(now * scale) * scale, weights)
    rule.end_epoch(now)  # later epochs change nothing
    torch.testing.assert_close(rule.weights(now), weights)


def test_logs_are_the_gradient_of_the_soft_maximum_of_log_losses_in_their_usual_units():
    rule = SmoothTchebycheff(0.5, {"cart": 2.0}, warmup=1, logs=True).bind(SCHEMA)
    usual, now = torch.tensor([[0.1, 0.3, 2.0], [0.05, 0.4, 1.5]], dtype=torch.float64)
    rule.end_epoch(usual)
    preference = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)

    def total(x):
        return 3 * 0.5 * (preference * (x / usual).log() / 0.5).exp().sum().log()

    torch.testing.assert_close(rule.weights(now), slopes(total, now), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="above their ideal"):
        SmoothTchebycheff(logs=True).weights(-now)


def test_a_task_that_misses_the_warm_up_is_measured_when_it_comes():
    rule = SmoothTchebycheff(0.5, warmup=1).bind(SCHEMA)
    rule.end_epoch(torch.tensor([0.5, torch.nan, 2.0]))
    losses = torch.tensor([0.5, 7.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(rule.weights(losses), 1 / losses)  # h is 1 for all
    rule.end_epoch(torch.tensor([9.0, 3.5, 9.0]))
    assert rule.usual.tolist() == [0.5, 3.5, 2.0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mu": 0.0}, "mu"),
        ({"preference": {"click": -1.0}}, r"preference\['click'\]"),
        ({"ideal": {"click": float("inf")}}, r"ideal\['click'\]"),
        ({"warmup": -1}, "warmup"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothTchebycheff(**options)


def test_a_loss_below_the_ideal_is_no_mistake_but_a_warm_up_cannot_be_measured_from_it():
    rule = SmoothTchebycheff(1.0, ideal={"click": 0.5}).bind(SCHEMA)
    assert rule.weights(LOSSES).isfinite().all()  # click is at 0.05
    rule = SmoothTchebycheff(1.0, ideal={"click": 0.5}, warmup=1).bind(SCHEMA)
    with pytest.raises(ValueError, match=r"above their ideal.*'click' is 0.05.*ideal=\{'click'"):
        rule.end_epoch(LOSSES)
