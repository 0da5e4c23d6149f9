"""The observer: what it notes is what autograd finds, and watching changes nothing."""

from contextlib import nullcontext

import pytest
import torch

from mtlkit import SharedBottom, fit
from mtlkit.balance import (
    EqualWeights,
    FixedWeights,
    GradientStep,
    PCGrad,
    UncertaintyWeighting,
)
from mtlkit.balance.observer import GradientObserver
from mtlkit.shop.market import Market
from mtlkit.train import seeded


@pytest.fixture(scope="module")
def table():
    return Market("tiny", seed=0).impressions(600).select_tasks(["click", "cart", "dwell"])


def model_for(table, seed=0):
    with seeded(seed):
        return SharedBottom(table.schema, embedding_dim=4, hidden=(8,), tower=(4,))


def by_autograd(model, batch):
    """The task gradients on all shared parameters, (task, number)."""
    shared = model.shared_parameters()
    losses = model.losses(model(batch), batch)
    rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def test_norms_and_cosines_are_those_of_autograd(table):
    model, observer = model_for(table), GradientObserver()
    batch = table.batch(torch.arange(200))
    GradientStep(model, observer).run(batch, nullcontext)
    G = by_autograd(model, batch)
    torch.testing.assert_close(observer.norms[0], G.norm(dim=1).double(), rtol=1e-4, atol=1e-7)
    unit = G / G.norm(dim=1, keepdim=True)
    torch.testing.assert_close(observer.cosines[0], (unit @ unit.T).double(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(observer.gramians[0], (G @ G.T).double(), rtol=1e-3, atol=1e-7)


def test_halves_are_compared_with_each_other(table):
    model, observer = model_for(table), GradientObserver(halves=True)
    rows = torch.arange(200)
    GradientStep(model, observer).run(table.batch(rows), nullcontext)
    first, second = (by_autograd(model, table.batch(rows[start::2])) for start in (0, 1))
    first, second = (half / half.norm(dim=1, keepdim=True) for half in (first, second))
    found = observer.between_halves[0]
    torch.testing.assert_close(found, (first @ second.T).double(), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(found, found.T)


@pytest.mark.parametrize("rule", [None, EqualWeights, PCGrad])
def test_watching_leaves_the_training_as_it_is(table, rule):
    plain, watched = model_for(table), model_for(table)
    options = {"epochs": 2, "batch_size": 128, "progress": False}
    fit(plain, table, balancer=EqualWeights() if rule is None else rule(), **options)
    observer = GradientObserver(None if rule is None else rule())
    fit(watched, table, balancer=observer, **options)
    for a, b in zip(plain.parameters(), watched.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert observer.norms.shape == (10, 3)
    assert observer.cosines.shape == (10, 3, 3)


def test_a_task_without_labels_is_noted_as_unknown(table):
    model, observer = model_for(table), GradientObserver(halves=True)
    batch = table.batch((~table.mask("cart")).nonzero().squeeze(1)[:50])
    GradientStep(model, observer).run(batch, nullcontext)
    assert observer.norms[0].isfinite().tolist() == [True, False, False]
    assert observer.cosines[0, 0].isfinite().tolist() == [True, False, False]
    assert observer.between_halves[0, 1].isnan().all()


def test_a_rule_that_weighs_the_heads_is_refused():
    for rule in (UncertaintyWeighting(), FixedWeights({"click": 2.0})):
        with pytest.raises(ValueError, match="weighs the heads"):
            GradientObserver(rule)


def test_halves_that_were_not_asked_for_are_missed_with_a_reason(table):
    observer = GradientObserver()
    GradientStep(model_for(table), observer).run(table.batch(torch.arange(50)), nullcontext)
    with pytest.raises(RuntimeError, match="halves=True"):
        _ = observer.between_halves


def test_a_saved_observer_goes_on_with_its_rule_and_its_notes(table):
    model, first = model_for(table), GradientObserver(PCGrad(seed=3), halves=True)
    step = GradientStep(model, first)
    step.run(table.batch(torch.arange(100)), nullcontext)
    second = GradientObserver(PCGrad(seed=9), halves=True)
    second.load_state_dict(first.state_dict())
    for observer in (first, second):
        GradientStep(model, observer).run(table.batch(torch.arange(100, 300)), nullcontext)
    assert torch.equal(first.cosines, second.cosines)
    assert torch.equal(first.between_halves, second.between_halves)
    assert torch.equal(first.balancer.generator.get_state(), second.balancer.generator.get_state())


def test_the_ends_of_epochs_reach_the_watched_rule(table):
    class Counting(PCGrad):
        epochs = 0

        def end_epoch(self, losses):
            self.epochs += 1

    rule = Counting()
    fit(
        model_for(table), table, balancer=GradientObserver(rule), epochs=3, batch_size=300,
        progress=False,
    )  # fmt: skip
    assert rule.epochs == 3


def test_disagreement_counts_conflicts_and_compares_sizes_in_the_last_steps():
    observer = GradientObserver()
    early = torch.diag(torch.tensor([1.0, 1.0, 1.0]))
    G = torch.tensor([[1.0, 0.0], [-3.0, 4.0], [0.0, 10.0]])  # cosines -0.6, 0, 0.8
    observer._whole = [early.double()] * 2 + [(G @ G.T).double()] * 2
    found = observer.disagreement(last=0.5)
    assert found == pytest.approx({"conflicts": 1 / 3, "cosine": 1.4 / 3, "norm ratio": 10.0})
    whole = observer.disagreement()
    assert whole == pytest.approx({"conflicts": 1 / 6, "cosine": 0.7 / 3, "norm ratio": 5.5})


def test_disagreement_leaves_out_tasks_without_a_gradient():
    observer = GradientObserver()
    K = torch.tensor([[4.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    observer._whole = [K]
    assert observer.disagreement() == pytest.approx(
        {"conflicts": 1.0, "cosine": 0.5, "norm ratio": 2.0}
    )
    with pytest.raises(ValueError, match="last"):
        observer.disagreement(last=0.0)
