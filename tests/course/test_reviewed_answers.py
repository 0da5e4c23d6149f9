"""Answers that a checker once judged or explained wrongly, each with what is true of it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtlkit.course.learner.check import judge
from mtlkit.losses.chain import log1mexp


def not_a_number(click, purchase):
    return math.nan


def range_of_two(x, z, heads, error):
    total = 0
    for k in range(2):
        total = total + (error[:, k : k + 1] * heads[k] * (z > 0)).T @ x
    return total


def counts_twins(points):
    found = []
    for i, p in enumerate(points):
        found.append(any((q >= p).all() for j, q in enumerate(points) if j != i))
    return found


def counts_itself(points):
    return [any((q >= p).all() for q in points) for p in points]


def flat_run(improvement):
    return bool(improvement([0.62, 0.62, 0.62], 0.8) > 0)


def falling_run(improvement):
    return bool(improvement([0.62, 0.61], 0.8) > 0)


def winning_run(improvement):
    return improvement([0.5, 0.81], 0.8) > 0


def detached_in_the_joint_loss(a, b, clicked, bought):
    log_p = F.logsigmoid(a.detach()) + F.logsigmoid(b)
    joint = -torch.where(bought == 1, log_p, log1mexp(log_p)).mean()
    return F.binary_cross_entropy_with_logits(a, clicked) + joint


def other_values(loss):
    b, y = torch.zeros(3), torch.ones(3)
    return not torch.equal(loss(torch.zeros(3), b, y, y), loss(torch.ones(3), b, y, y))


def has_a_gradient(loss):
    a, b = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    return loss(a, b, torch.ones(3), torch.ones(3)).requires_grad


def bounded(low, high):
    def answer(s, losses, a, rate):
        weights = a * torch.exp(-s)
        return weights, (s - rate * (0.5 - weights * losses)).clamp(low, high)

    return answer


def bounded_first(s, losses, a, rate):
    s = s.clamp(-5, 5)
    weights = a * torch.exp(-s)
    return weights, s - rate * (0.5 - weights * losses)


def own_norm(G, orders):
    total = 0
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            if mine @ G[j] < 0:
                mine = mine - (mine @ G[j]) / (mine @ mine) * G[j]
        total = total + mine
    return total


K = np.array([[1.0, 2.0], [2.0, 100.0]])


def sum_alone(nash):
    a = nash(K)
    return abs(a @ K @ a - 2) > 1e-3


def first_alone(nash):
    a = nash(K)
    return abs((K @ a)[0] - 1 / a[0]) > 1e-3


def half_a_unit(nash):
    a = nash(np.array([[1.0, 0.5], [0.5, 4.0]]))
    return not np.allclose(np.array([[1.0, 0.5], [0.5, 4.0]]) @ a, 1 / a, atol=0.5)


def diagonal(nash):
    a = nash(np.diag([1.0, 4.0]))
    return not np.allclose(np.diag([1.0, 4.0]) @ a, 1 / a)


@pytest.mark.parametrize(
    ("exercise", "answer", "part"),
    [
        ("0.2", not_a_number, "1 purchase from 4 clicks is a rate of 0.25, yours is nan."),
        ("2.2", range_of_two, "You add the first two heads only"),
        ("3.2", counts_twins, "Equal points do not dominate each other"),
        ("3.2", counts_itself, "no point dominates itself"),
        ("3.3", flat_run, "ends no higher than it began"),
        ("3.3", falling_run, "ends no higher than it began"),
        ("3.3", winning_run, "beats the separate network"),
        ("4.1", detached_in_the_joint_loss, "A gradient is missing at a"),
        ("4.3", other_values, "Your test says true of the loss of 4.2, whose gradient does not"),
        ("4.3", has_a_gradient, "Your test says true of every loss"),
        ("5.1", bounded(-5, 5), "You keep s between bounds"),
        ("5.1", bounded(-20, 20), "The new s is not s minus rate times the derivative."),
        ("5.1", bounded(0, None), "You keep s from falling below 0"),
        ("5.1", bounded_first, "The weights must be a * exp(-s)."),
        ("6.2", own_norm, "the squared norm of g_i'"),
        ("6.3", sum_alone, "Weights that are only rescaled pass"),
        ("6.3", first_alone, "solve only the first equation pass"),
        ("6.3", half_a_unit, "10 % too large"),
        ("6.3", diagonal, "which knows no angles, passes your test"),
    ],
)
def test_a_wrong_answer_is_refused_with_what_is_true_of_it(exercise, answer, part):
    for seed in range(3):
        verdict = judge(exercise, answer, seed)
        assert verdict.status == "wrong" and part in verdict.message, verdict


def z_set_to_one(x, z, heads, error):
    z[z > 0] = 1
    return ((error @ heads) * z).T @ x


def bools_of_numpy(labels, supplier):
    return np.stack([supplier.numpy() == 0, supplier.numpy() == 1], axis=1)


def rows_of_bools(labels, supplier):
    return [[int(s) == 0, int(s) == 1] for s in supplier]


def in_numpy(v, a, for_v, for_heads, weights, rate):
    v, a, for_v, for_heads, weights = (x.numpy() for x in (v, a, for_v, for_heads, weights))
    return v - rate * weights @ for_v, a - rate * weights * for_heads


def in_float32(v, a, for_v, for_heads, weights, rate):
    v, a, for_v, for_heads, weights = (x.float() for x in (v, a, for_v, for_heads, weights))
    return v - rate * weights @ for_v, a - rate * weights * for_heads


def list_for_a(v, a, for_v, for_heads, weights, rate):
    return v - rate * weights @ for_v, [
        a[k] - rate * weights[k] * for_heads[k] for k in range(len(a))
    ]


def ternary(g1, g2):
    g1, g2, low, high = g1.float(), g2.float(), 0.0, 1.0
    for _ in range(60):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if (left * g1 + (1 - left) * g2).norm() < (right * g1 + (1 - right) * g2).norm():
            high = right
        else:
            low = left
    return low


def grid(g1, g2):
    shares = torch.linspace(0, 1, 1_001)[:, None]
    return shares[(shares * g1 + (1 - shares) * g2).norm(dim=1).argmin()].squeeze()


def float32(g1, g2):
    g1, g2 = g1.float(), g2.float()
    return (((g2 - g1) @ g2) / (g1 - g2).square().sum()).clamp(0, 1)


def one_equation_a_time(nash):
    a = nash([[2.0, 1.0], [1.0, 30.0]])
    return bool(abs(2 * a[0] + a[1] - 1 / a[0]) > 1e-4 or abs(a[0] + 30 * a[1] - 1 / a[1]) > 1e-4)


def as_the_last_hint_says(nash):
    k = np.array([[2.0, 3.0], [3.0, 50.0]])
    a = nash(k)
    return not np.allclose(k @ a, 1 / a)


def in_torch(nash):
    k = torch.tensor([[1.0, 0.5, 0.2], [0.5, 4.0, -1.0], [0.2, -1.0, 9.0]], dtype=torch.float64)
    a = nash(k)
    return not torch.allclose(k @ a, 1 / a, rtol=1e-3)


def long_run(improvement):
    return np.bool_(improvement(np.array([0.50, 0.58, 0.61]), 0.90) > 0)


def with_names(improvement):
    return improvement(run=(0.50, 0.58), alone=0.90) > 0


def with_lists(slope):
    found = slope([1.0, 1.0], [2.0, 2.0], [0.9, 0.3], [1.0, 1.0], 1.0)
    return found[0] >= 0


def the_lag_is_second(slope):
    one = torch.ones(3)
    return slope(one, one, torch.tensor([0.5, 0.9, 0.5]), one, 0.5)[1] >= 0


def by_backward(loss):
    a, b = torch.ones(5, requires_grad=True), torch.ones(5, requires_grad=True)
    loss(a, b, torch.ones(5), torch.zeros(5)).backward()
    return a.grad is not None


def any_slope(loss):
    a, b = (torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    total = loss(a, b, [1.0, 0.0], np.array([1.0, 0.0]))
    slope = torch.autograd.grad(total, a, allow_unused=True, materialize_grads=True)[0]
    return (slope != 0).any()


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("2.2", z_set_to_one),
        ("2.3", bools_of_numpy),
        ("2.3", rows_of_bools),
        ("3.1", in_numpy),
        ("3.1", in_float32),
        ("3.1", list_for_a),
        ("3.3", long_run),
        ("3.3", with_names),
        ("4.3", by_backward),
        ("4.3", any_slope),
        ("5.3", with_lists),
        ("5.3", the_lag_is_second),
        ("6.1", ternary),
        ("6.1", grid),
        ("6.1", float32),
        ("6.3", one_equation_a_time),
        ("6.3", in_torch),
        ("6.3", as_the_last_hint_says),
    ],
)
def test_a_right_answer_is_right_however_it_is_written(exercise, answer):
    for seed in range(3):
        verdict = judge(exercise, answer, seed)
        assert verdict.status == "right", verdict
