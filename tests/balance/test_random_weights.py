import pytest
import torch
from torchjd.scalarization import Random as PeerRandom

from mtlkit.balance.random_weights import RandomLossWeighting

LOSSES = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)


def draws(rule, count, losses=LOSSES):
    return torch.stack([rule.weights(losses) for _ in range(count)])  # (draw, task)


def test_normal_weights_are_the_softmax_of_the_generators_normal_numbers():
    generator = torch.Generator().manual_seed(4)
    rule = RandomLossWeighting(seed=4)
    for _ in range(5):
        e = torch.empty(3, dtype=torch.float64).normal_(generator=generator)
        torch.testing.assert_close(rule.weights(LOSSES), 3 * e.exp() / e.exp().sum())


def test_normal_weights_have_the_spread_of_torchjds():
    ours = draws(RandomLossWeighting(), 4000) / 3  # theirs sum to 1
    peer, theirs = PeerRandom(), []
    for _ in range(4000):
        losses = LOSSES.clone().requires_grad_()
        theirs.append(torch.autograd.grad(peer(losses), losses)[0])
    theirs = torch.stack(theirs)
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.02, rtol=0)


def test_dirichlet_weights_have_its_mean_and_variance():
    weights = draws(RandomLossWeighting("dirichlet"), 6000) / 3
    k = 3
    torch.testing.assert_close(weights.mean(0), torch.full((k,), 1 / k).double(), atol=0.01, rtol=0)
    variance = (1 / k) * (1 - 1 / k) / (k + 1)
    torch.testing.assert_close(
        weights.var(0), torch.full((k,), variance).double(), atol=0.003, rtol=0
    )


def test_every_step_has_new_weights_and_a_seed_has_its_own():
    first, again, other = (draws(RandomLossWeighting(seed=s), 20) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique(dim=0)) == 20


def test_other_random_numbers_stay_as_they_are():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    draws(RandomLossWeighting(), 5)
    assert torch.equal(torch.rand(4), expected)


def test_a_missing_task_leaves_the_ratios_of_the_others():
    whole, part = RandomLossWeighting(seed=2), RandomLossWeighting(seed=2)
    a, b = draws(whole, 6), draws(part, 6, torch.tensor([0.3, 0.0, 2.0]))
    torch.testing.assert_close(a[:, 0] / a[:, 2], (b[:, 0] / b[:, 2]).double(), rtol=1e-5, atol=0)


def test_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match="uniform"):
        RandomLossWeighting("uniform")


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_weights_sum_to_the_number_of_tasks_in_the_batch(distribution):
    rule = RandomLossWeighting(distribution)
    for losses, tasks in (([0.3, 1.0, 2.0], 3), ([0.3, 0.0, 2.0], 2), ([0.0, 1.0, 0.0], 1)):
        weights = rule.weights(torch.tensor(losses, dtype=torch.float64))
        assert float(weights.sum()) == pytest.approx(tasks)
        assert ((weights > 0) == (torch.tensor(losses) > 0)).all()
