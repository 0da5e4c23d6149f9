import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.scalarization import IMTLL as PeerIMTLL
from torchjd.scalarization import UW as PeerUW

from mtlkit.balance.base import SmallAdam
from mtlkit.balance.uncertainty import IMTLL, UncertaintyWeighting
from mtlkit.schema import Schema, Task

SCHEMA = Schema((Task("click"), Task("dwell", "regression"), Task("orders", "count")))
LOSSES = torch.tensor([0.05, 0.4, 2.5], dtype=torch.float64)
some_losses = st.lists(st.floats(0.01, 100.0), min_size=3, max_size=3)


class Remember:
    """In the place of SmallAdam: keeps the gradient and moves nothing."""

    def step(self, x, gradient, where):
        self.gradient = gradient


def settled(rule, losses, steps=3000):
    for _ in range(steps):
        weights = rule.weights(losses)
    return weights


def objective(s, losses, a, regulariser):
    """The total loss of uncertainty weighting, as in the paper, for autograd."""
    sigma = (s / 2).exp()
    penalty = sigma.log() if regulariser == "log" else (1 + sigma**2).log()
    return (a * losses / sigma**2 + penalty).sum()


@pytest.mark.parametrize("form, a", [("classification", 1.0), ("regression", 0.5)])
@pytest.mark.parametrize("regulariser", ["log", "log1p"])
@settings(max_examples=30, deadline=None)
@given(losses=some_losses, start=st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_weights_and_gradient_are_those_of_the_objective(form, a, regulariser, losses, start):
    losses = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    s = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    by_losses, by_s = torch.autograd.grad(objective(s, losses, a, regulariser), [losses, s])
    rule = UncertaintyWeighting(form=form, regulariser=regulariser)
    rule.log_variance, rule.adam = s.detach().clone(), Remember()
    torch.testing.assert_close(rule.weights(losses), by_losses)
    torch.testing.assert_close(rule.adam.gradient, by_s)


@settings(max_examples=30, deadline=None)
@given(losses=some_losses, start=st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_imtl_l_is_the_gradient_of_its_objective(losses, start):
    losses = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    s = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    by_losses, by_s = torch.autograd.grad((s.exp() * losses - s).sum(), [losses, s])
    rule = IMTLL()
    rule.log_scale, rule.adam = s.detach().clone(), Remember()
    torch.testing.assert_close(rule.weights(losses), by_losses)
    torch.testing.assert_close(rule.adam.gradient, by_s)


@pytest.mark.parametrize(
    "ours, peer, memory, parameter",
    [
        (UncertaintyWeighting(form="regression"), PeerUW(3), "log_variance", "log_var"),
        (IMTLL(), PeerIMTLL(3), "log_scale", "log_scale"),
    ],
)
def test_a_hundred_steps_equal_torchjd_with_torchs_adam(ours, peer, memory, parameter):
    peer = peer.double()
    optimizer = torch.optim.Adam(peer.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        losses = torch.rand(3, generator=generator, dtype=torch.float64) + 0.1
        losses.requires_grad_()
        optimizer.zero_grad()
        peer(losses).backward()
        torch.testing.assert_close(ours.weights(losses), losses.grad)
        optimizer.step()
    torch.testing.assert_close(getattr(ours, memory), getattr(peer, parameter).detach())


def test_small_adam_equals_torchs_adam_with_decay_and_lets_others_wait():
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    peers = [torch.nn.Parameter(v.clone()) for v in x]
    optimizer = torch.optim.Adam(peers, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
    adam = SmallAdam(0.1, (0.8, 0.9), decay=0.3)
    generator = torch.Generator().manual_seed(0)
    for step in range(30):
        where = torch.tensor([0, 1, 2] if step % 3 else [0, 2])
        gradient = torch.randn(len(where), generator=generator, dtype=torch.float64)
        adam.step(x, gradient, where)
        optimizer.zero_grad()
        for i, g in zip(where.tolist(), gradient, strict=True):
            peers[i].grad = g.clone()
        optimizer.step()
        torch.testing.assert_close(x, torch.stack([p.detach() for p in peers]))


@pytest.mark.parametrize("form, rest", [("classification", 2.0), ("regression", 1.0)])
def test_frozen_losses_lead_to_the_fixed_point_of_the_form(form, rest):
    rule = UncertaintyWeighting(0.02, form)
    weights = settled(rule, LOSSES)
    torch.testing.assert_close(rule.log_variance.exp(), rest * LOSSES, rtol=1e-3, atol=0)
    torch.testing.assert_close(weights, 1 / (2 * LOSSES), rtol=1e-3, atol=0)


def test_log1p_rests_where_its_own_equation_is_0():
    rule = UncertaintyWeighting(0.02, "regression", regulariser="log1p")
    settled(rule, LOSSES)
    variance = rule.log_variance.exp()
    torch.testing.assert_close(variance**2, LOSSES / 2 * (1 + variance), rtol=2e-3, atol=0)


def test_imtl_l_brings_every_scaled_loss_to_1():
    weights = settled(IMTLL(0.02), LOSSES)
    torch.testing.assert_close(weights * LOSSES, torch.ones(3).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "make", [lambda: UncertaintyWeighting(0.02, "classification"), lambda: IMTLL(0.02)]
)
def test_at_rest_a_tasks_scale_does_not_matter(make):
    scale = torch.tensor([10.0, 0.2, 3.0], dtype=torch.float64)
    plain, scaled = settled(make(), LOSSES), settled(make(), LOSSES * scale)
    torch.testing.assert_close(scaled * scale, plain, rtol=2e-3, atol=0)


def test_nothing_stops_a_loss_below_one_half_at_equal_weighting():
    """The museum's clamp at 0: s of a small loss may not fall, so its weight stays 1."""
    rule = UncertaintyWeighting(0.02, "classification")
    weights = settled(rule, torch.tensor([0.05, 0.1, 0.4]), 1000)
    assert (rule.log_variance < -0.1).all()
    assert (weights > 1.1).all() and weights[0] > 5


def test_by_kind_takes_the_regression_form_for_regression_alone():
    assert UncertaintyWeighting().bind(SCHEMA).weights(LOSSES).tolist() == [1.0, 0.5, 1.0]
    mixed = UncertaintyWeighting().bind(SCHEMA)
    halves = UncertaintyWeighting(form="regression").bind(SCHEMA)
    ones = UncertaintyWeighting(form="classification").bind(SCHEMA)
    for _ in range(50):
        got, half, one = (r.weights(LOSSES) for r in (mixed, halves, ones))
        assert torch.equal(got, torch.stack([one[0], half[1], one[2]]))


def test_by_kind_without_a_schema_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"bind\(schema\).*form='classification'"):
        UncertaintyWeighting().weights(LOSSES)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"form": "poisson"}, "'poisson'"),
        ({"regulariser": "none"}, "'none'"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UncertaintyWeighting(**options)
