import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.scalarization import DWA as PeerDWA

from mtlkit.balance.dynamic import DecaySchedule, DynamicTaskPriority, DynamicWeightAverage
from mtlkit.schema import Schema, SchemaError, Task

SCHEMA = Schema((Task("click"), Task("cart"), Task("purchase")))
some_losses = st.lists(st.floats(0.5, 5.0), min_size=3, max_size=3)


def after(rule, *epochs):
    for means in epochs:
        rule.end_epoch(torch.tensor(means, dtype=torch.float64))
    return rule.weights(torch.ones(3, dtype=torch.float64))


def test_dwa_has_weight_1_in_the_first_two_epochs():
    rule = DynamicWeightAverage()
    assert rule.weights(torch.ones(3)).tolist() == [1.0, 1.0, 1.0]
    assert after(rule, [1.0, 5.0, 0.2]).tolist() == [1.0, 1.0, 1.0]
    assert after(rule, [0.5, 5.0, 0.1]).tolist() != [1.0, 1.0, 1.0]


@settings(max_examples=30, deadline=None)
@given(first=some_losses, second=some_losses, temperature=st.floats(0.5, 10))
def test_dwa_equals_its_equation(first, second, temperature):
    rates = [math.exp(b / a / temperature) for a, b in zip(first, second, strict=True)]
    weights = after(DynamicWeightAverage(temperature), first, second)
    expected = torch.tensor([3 * r / sum(rates) for r in rates], dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-12)


def test_dwa_equals_torchjds_over_epochs_of_one_batch():
    ours, peer = DynamicWeightAverage(), PeerDWA()
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        losses = torch.rand(3, generator=generator, dtype=torch.float64) + 0.1
        losses.requires_grad_()
        peer(losses).backward()
        torch.testing.assert_close(ours.weights(losses), losses.grad)
        peer.step()
        ours.end_epoch(losses)


def test_dwa_gives_more_to_the_task_that_falls_more_slowly_and_ignores_scale():
    weights = after(DynamicWeightAverage(), [1.0, 1.0, 1.0], [0.9, 0.5, 0.7])
    assert weights[0] > weights[2] > weights[1]
    scaled = after(DynamicWeightAverage(), [100.0, 0.01, 1.0], [90.0, 0.005, 0.7])
    torch.testing.assert_close(scaled, weights)


def test_dwa_hardly_leaves_1_at_its_usual_temperature():
    weights = after(DynamicWeightAverage(2.0), [1.0, 1.0, 1.0], [0.9, 1.0, 1.1])
    assert ((weights - 1).abs() < 0.055).all() and (weights - 1).abs().max() > 0.04


def test_dwa_with_a_large_temperature_is_equal_weighting():
    weights = after(DynamicWeightAverage(1e9), [1.0, 2.0, 3.0], [0.1, 4.0, 3.0])
    torch.testing.assert_close(weights, torch.ones(3).double())


def test_dwa_keeps_the_ratio_of_a_task_without_labels_in_an_epoch():
    rule, patient = DynamicWeightAverage(), DynamicWeightAverage()
    weights = after(rule, [1.0, 1.0, 1.0], [0.9, 0.5, 0.7], [0.81, math.nan, 0.49])
    torch.testing.assert_close(weights, after(patient, [1.0, 1.0, 1.0], [0.9, 0.5, 0.7]))
    late = after(DynamicWeightAverage(), [1.0, math.nan, 1.0], [0.5, 3.0, 1.5])
    rates = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)  # one epoch is no ratio yet
    torch.testing.assert_close(late, 3 * (rates / 2).softmax(0))


def test_dwa_weights_do_not_depend_on_who_is_in_the_batch():
    rule = DynamicWeightAverage()
    whole = after(rule, [1.0, 1.0, 1.0], [0.9, 0.5, 0.7])
    part = rule.weights(torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    assert part.tolist() == [whole[0], 0.0, whole[2]]


def test_priority_equals_its_equation_step_by_step():
    rule = DynamicTaskPriority(gamma=2.0, decay=0.7)
    losses = [[0.1, 1.0, 3.0], [0.2, 0.5, 2.0], [0.1, 0.4, 4.0]]
    mean = [math.exp(-x) for x in losses[0]]
    for step, row in enumerate(losses):
        if step:
            mean = [0.7 * m + 0.3 * math.exp(-x) for m, x in zip(mean, row, strict=True)]
        expected = [-((1 - m) ** 2) * math.log(m) for m in mean]
        weights = rule.weights(torch.tensor(row, dtype=torch.float64))
        torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))


def test_priority_is_given_to_the_difficult_task_and_more_so_with_gamma():
    losses = torch.tensor([0.05, 0.5, 2.0], dtype=torch.float64)
    shares = []
    for gamma in (0.0, 1.0, 4.0):
        weights = DynamicTaskPriority(gamma, rescale=True).weights(losses)
        assert weights[0] < weights[1] < weights[2]  # the sign: -log, not log
        shares.append(float(weights[2]))
    assert shares[0] < shares[1] < shares[2]
    torch.testing.assert_close(DynamicTaskPriority(0.0).weights(losses), losses)


def test_priority_survives_a_perfect_and_a_hopeless_task():
    weights = DynamicTaskPriority().weights(torch.tensor([1e-20, 5000.0], dtype=torch.float64))
    assert weights[0] == 0 and 700 < weights[1] < 710
    perfect = DynamicTaskPriority(rescale=True).weights(torch.tensor([1e-20, 1e-20]))
    assert perfect.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_schedule_is_a_power_of_its_factor(every):
    rule = DecaySchedule({"click": (2.0, 0.5), "purchase": (0.1, 3.0)}, every).bind(SCHEMA)
    losses = torch.ones(3, dtype=torch.float64)
    for epoch in range(3):
        for step in range(4):
            t = epoch if every == "epoch" else 4 * epoch + step
            expected = torch.tensor([2 * 0.5**t, 1.0, 0.1 * 3.0**t], dtype=torch.float64)
            torch.testing.assert_close(rule.weights(losses), expected)
        rule.end_epoch(losses)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DynamicWeightAverage(0.0), "temperature"),
        (lambda: DynamicTaskPriority(gamma=-1.0), "gamma"),
        (lambda: DynamicTaskPriority(decay=1.0), "decay"),
        (lambda: DecaySchedule({"click": (-1.0, 0.5)}), r"initial\['click'\]"),
        (lambda: DecaySchedule({"click": (1.0, 0.0)}), r"factor\['click'\]"),
        (lambda: DecaySchedule({}, every="batch"), "'batch'"),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_schedule_of_an_unknown_task_is_refused():
    with pytest.raises(SchemaError, match="'return'"):
        DecaySchedule({"return": (1.0, 0.5)}).bind(SCHEMA)
