"""PCGrad and GradVac: closed forms, the same walk on whole gradients, TorchJD's walk."""

import copy
import math

import numpy as np
import pytest
import torch
import torchjd.aggregation

from mtlkit.balance.surgery import GradVac, PCGrad
from tests.balance.gradients import KINDS, balance, gradients


def replay(rule, orders):
    """The rule with the orders of a script instead of random ones."""
    rule._orders = lambda tasks: orders.pop(0)
    return rule


def test_two_conflicting_tasks_follow_the_closed_form_in_any_order():
    for seed in range(20):
        G = gradients("random", 2, seed)
        inner, norms = G[0] @ G[1], np.linalg.norm(G, axis=1)
        expected = 1 - min(inner, 0) / norms**2
        for rule in (PCGrad(seed), GradVac(seed=seed)):
            assert balance(rule, G) == pytest.approx(expected)


def test_without_conflict_the_weights_are_one():
    G = np.abs(gradients("random", 5))
    assert balance(PCGrad(), G).tolist() == [1.0] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_walk_on_the_gramian_is_the_walk_on_whole_gradients(kind):
    for tasks in (3, 5, 8):
        G = gradients(kind, tasks)
        orders = PCGrad(seed=7)._orders(tasks)
        total = np.zeros(G.shape[1])
        for i, others in enumerate(orders):
            g = G[i].copy()
            for j in others:
                if g @ G[j] < -1e-12 * np.linalg.norm(G[i]) * np.linalg.norm(G[j]):
                    g -= (g @ G[j]) / (G[j] @ G[j]) * G[j]
            total += g
        step = balance(PCGrad(seed=7), G) @ G
        assert step == pytest.approx(total, abs=1e-6 * np.abs(G).max())


def test_pcgrad_agrees_with_torchjd_on_the_same_orders():
    for tasks in (2, 3, 5):
        G = gradients("conflict", tasks)
        torch.manual_seed(3)
        orders = [[j for j in torch.randperm(tasks).tolist() if j != i] for i in range(tasks)]
        torch.manual_seed(3)
        theirs = torchjd.aggregation.PCGrad()(torch.tensor(G)).numpy()
        assert balance(replay(PCGrad(), [orders]), G) @ G == pytest.approx(theirs)


def test_gradvac_agrees_with_torchjd_on_the_same_orders_over_many_steps():
    tasks, steps = 4, 6
    torch.manual_seed(3)
    orders = []
    for _ in range(steps):
        orders.append([])
        for i in range(tasks):
            others = [j for j in range(tasks) if j != i]
            orders[-1].append([others[k] for k in torch.randperm(tasks - 1).tolist()])
    ours, theirs = replay(GradVac(beta=0.3), orders), torchjd.aggregation.GradVac(beta=0.3, eps=0.0)
    torch.manual_seed(3)
    for step in range(steps):
        G = gradients("random", tasks, step) + 0.5 * step
        expected = theirs(torch.tensor(G)).numpy()
        assert balance(ours, G) @ G == pytest.approx(expected, rel=1e-9)


def test_the_first_step_of_gradvac_is_pcgrad():
    for kind in ("conflict", "opposite", "mixed"):
        G = gradients(kind, 6)
        assert balance(GradVac(seed=4), G) == pytest.approx(balance(PCGrad(seed=4), G), rel=1e-9)


def test_gradvac_pulls_a_gradient_to_its_usual_angle():
    """Two tasks: after agreeing for long, a step at right angles is pulled to the usual cosine."""
    rule, usual = GradVac(beta=0.5), 0.0
    agreeing = np.array([[1.0, 0.0], [0.8, 0.6]])
    for _ in range(5):
        balance(rule, agreeing)
        usual = 0.5 * usual + 0.5 * 0.8
    weights = balance(rule, np.eye(2))
    pull = usual / math.sqrt(1 - usual**2)  # of g_2 into g_1, and the reverse
    assert weights == pytest.approx([1 + pull, 1 + pull])
    assert 1 / math.hypot(1, pull) * pull == pytest.approx(usual)  # the cosine of (1, pull)


def test_with_beta_zero_gradvac_stays_pcgrad():
    ours, plain = GradVac(beta=0.0, seed=2), PCGrad(seed=2)
    for step in range(4):
        G = gradients("conflict", 5, step)
        assert balance(ours, G) == pytest.approx(balance(plain, G))


def test_gradients_that_always_agreed_make_no_endless_step():
    rule = GradVac(beta=1.0)
    balance(rule, np.ones((2, 2)))
    assert rule.similarity[0, 1] == pytest.approx(1.0)
    assert np.abs(balance(rule, np.eye(2))).max() <= 1001


def test_every_step_and_task_has_a_fresh_order_from_the_seed():
    rule = PCGrad(seed=1)
    first, second = rule._orders(6), rule._orders(6)
    assert first != second and PCGrad(seed=1)._orders(6) == first
    assert all(sorted([*row, i]) == list(range(6)) for i, row in enumerate(first))
    ranks = [[j - (j > i) for j in row] for i, row in enumerate(first)]
    assert len({tuple(row) for row in ranks}) > 1  # not one order for all i
    firsts = [row[0] for row in (PCGrad(seed=s)._orders(3)[0] for s in range(400))]
    assert 150 < firsts.count(1) < 250


@pytest.mark.parametrize("rule", [PCGrad, GradVac])
def test_a_saved_rule_continues_with_the_same_random_orders(rule):
    G = [gradients("conflict", 5, step) for step in range(6)]
    straight, stopped = rule(seed=3), rule(seed=3)
    expected = [balance(straight, g) for g in G]
    for g in G[:3]:
        balance(stopped, g)
    state = stopped.state_dict()
    continued = rule(seed=99)
    continued.load_state_dict(state)
    twin = copy.deepcopy(stopped)
    for other in (continued, twin, stopped):
        for g, right in zip(G[3:], expected[3:]):
            assert balance(other, g).tolist() == right.tolist()


def test_an_absent_task_leaves_its_similarities_untouched():
    rule = GradVac(beta=0.5)
    G = gradients("random", 4)
    balance(rule, G)
    before = rule.similarity.clone()
    weights = balance(rule, G, np.array([1.0, 0.0, 1.0, 1.0]))
    assert weights[1] == 0
    assert torch.equal(rule.similarity[1], before[1])
    assert torch.equal(rule.similarity[:, 1], before[:, 1])
    assert rule.similarity[0, 2] != before[0, 2] and rule.similarity[3, 0] != before[3, 0]


def test_gradvac_refuses_another_number_of_tasks_and_an_impossible_beta():
    rule = GradVac()
    balance(rule, np.eye(3))
    with pytest.raises(ValueError, match="remembers 3 tasks"):
        balance(rule, np.eye(2))
    with pytest.raises(ValueError, match="beta"):
        GradVac(beta=1.5)
