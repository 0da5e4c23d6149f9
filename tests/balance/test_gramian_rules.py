"""What all rules on the Gramian share: order, absent tasks, dtypes, conventions, memory."""

import copy

import numpy as np
import pytest
import torch

from mtlkit.balance.alignment import IMTLG, AlignedMTL
from mtlkit.balance.bargaining import FairGrad, NashMTL
from mtlkit.balance.cone import UPGrad
from mtlkit.balance.conflict_averse import CAGrad
from mtlkit.balance.min_norm import MGDA
from mtlkit.balance.surgery import GradVac, PCGrad
from tests.balance.gradients import KINDS, SIZES, balance, gradients, gramian

RULES = {
    "mgda": MGDA,
    "mgda l2": lambda: MGDA("l2"),
    "mgda loss": lambda: MGDA("loss"),
    "mgda loss+": lambda: MGDA("loss+"),
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "cagrad": CAGrad,
    "nash": NashMTL,
    "nash raw": lambda: NashMTL(rescale=False),
    "fair": FairGrad,
    "imtl": IMTLG,
    "aligned": AlignedMTL,
    "upgrad": UPGrad,
}
EACH = pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())
ORDERLESS = [make for name, make in RULES.items() if name not in ("pcgrad", "gradvac")]


@EACH
def test_a_rule_needs_the_gramian_and_leaves_the_heads_alone(make):
    rule = make()
    assert rule.needs_gramian and not rule.weighs_heads
    assert not rule.needs_gradients and not rule.needs_second_pass
    with pytest.raises(ValueError, match="needs the Gramian"):
        rule.weights(torch.ones(3))


@EACH
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_finite_for_every_kind_of_gradients(make, kind):
    for tasks in SIZES:
        for dtype in (torch.float64, torch.float32):
            K = torch.tensor(gramian(kind, tasks), dtype=dtype)
            losses = torch.rand(tasks, dtype=dtype, requires_grad=True)
            weights = make().weights(losses, K)
            assert weights.dtype == dtype and not weights.requires_grad
            assert weights.isfinite().all()


@pytest.mark.parametrize("make", ORDERLESS)
def test_the_order_of_tasks_does_not_matter(make):
    G, losses = gradients("conflict", 6), np.linspace(0.3, 2, 6)
    order = np.array([5, 2, 0, 4, 1, 3])
    turned = balance(make(), G[order], losses[order])
    assert turned == pytest.approx(balance(make(), G, losses)[order], rel=1e-6, abs=1e-9)


@EACH
def test_equal_orthogonal_gradients_are_weighted_alike_in_the_sum_convention(make):
    rule = make()
    weights = balance(rule, np.eye(4))
    expected = 1.4 if isinstance(rule, CAGrad) else 1.0  # CAGrad: g0 + c |g0| g_w / |g_w|
    assert weights == pytest.approx(np.full(4, expected))


@EACH
def test_a_task_without_labels_or_gradient_is_left_out_of_the_game(make):
    G = gradients("conflict", 4)
    G[2] = 0
    losses = np.array([0.5, 1.0, 0.7, 2.0])
    without = balance(make(), G[[0, 1, 3]], losses[[0, 1, 3]])
    assert balance(make(), G, losses)[[0, 1, 3]] == pytest.approx(without)
    assert balance(make(), G, losses)[2] == 0
    G[2] = 1.0
    losses[2] = 0
    assert balance(make(), G, losses)[[0, 1, 3]] == pytest.approx(without)


@EACH
def test_a_task_that_is_alone_gets_its_plain_gradient(make):
    rule = make()
    G = np.array([[3.0, 4.0], [0.0, 0.0]])
    expected = 1.4 if isinstance(rule, CAGrad) else 0.2 if make is RULES["nash raw"] else 1.0
    assert balance(rule, G) == pytest.approx([expected, 0.0])


@EACH
def test_a_copied_or_restored_rule_goes_on_like_the_first(make):
    first = make()
    for step in range(3):
        balance(first, gradients("conflict", 5, step))
    twin, restored = copy.deepcopy(first), make()
    restored.load_state_dict(first.state_dict())
    for step in range(3, 6):
        expected = balance(first, gradients("conflict", 5, step)).tolist()
        assert balance(twin, gradients("conflict", 5, step)).tolist() == expected
        assert balance(restored, gradients("conflict", 5, step)).tolist() == expected
