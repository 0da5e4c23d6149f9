"""The load of experts as a loss: closed forms, finite differences, and batches without weight."""

import pytest
import torch

from mtlkit.losses import load_balance_loss


def gates(rows=7, experts=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, experts, generator=generator, dtype=torch.float64).mul(2).softmax(1)


def test_equal_loads_cost_nothing_even_where_every_row_chooses_one_expert():
    assert load_balance_loss(torch.full((5, 4), 0.25)) == 0
    assert load_balance_loss(torch.eye(4).repeat(3, 1)) == 0
    assert load_balance_loss(torch.rand(6, 1).double()) == 0


@pytest.mark.parametrize("experts", [2, 3, 8])
def test_one_expert_that_carries_all_costs_their_number_less_1(experts):
    gate = torch.zeros(9, experts, dtype=torch.float64)
    gate[:, 1] = 1
    assert float(load_balance_loss(gate)) == pytest.approx(experts - 1, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_experts_times_the_sum_of_squared_shares_less_1(seed):
    gate = gates(seed=seed)
    share = gate.sum(0) / gate.sum()
    closed = 4 * float(share.square().sum()) - 1
    assert float(load_balance_loss(gate)) == pytest.approx(closed, rel=1e-12)
    loads = [sum(float(row[n]) for row in gate) for n in range(4)]
    mean = sum(loads) / 4
    by_hand = sum((load - mean) ** 2 for load in loads) / 4 / mean**2
    assert float(load_balance_loss(gate)) == pytest.approx(by_hand, rel=1e-12)


def test_scale_and_order_do_not_matter():
    gate = gates()
    for other in (gate * 3, gate[:, [2, 0, 3, 1]], gate.flip(0), gate.repeat(5, 1)):
        torch.testing.assert_close(load_balance_loss(other), load_balance_loss(gate))


def test_its_gradient_is_that_of_finite_differences_and_a_step_along_it_balances():
    scores = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: load_balance_loss(z.softmax(1)), (scores,))
    before = load_balance_loss(scores.softmax(1))
    (gradient,) = torch.autograd.grad(before, scores)
    assert load_balance_loss((scores - 0.5 * gradient).softmax(1)) < before


@pytest.mark.parametrize("gate", [torch.zeros(0, 3), torch.zeros(4, 3)])
def test_a_batch_without_weight_gives_0_and_no_gradient(gate):
    gate = gate.requires_grad_()
    loss = load_balance_loss(gate)
    loss.backward()
    assert loss == 0 and (gate.grad == 0).all()


def test_half_precision_is_summed_in_float32():
    gate = gates(rows=3000).half()
    loss = load_balance_loss(gate)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), load_balance_loss(gate.double()), rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (5, 0)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"gate must be \(batch, expert\)"):
        load_balance_loss(torch.rand(shape))
