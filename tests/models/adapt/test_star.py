"""STAR's norm against a loop over scenarios, and the statistics that it keeps."""

import copy

import pytest
import torch
from torch import nn

from mtlkit.layers.adapted import Here
from mtlkit.models.adapt.star import PartitionedNorm
from tests.models.adapt.twelve import SCHEMA, UNKNOWN, batch_of, fresh, of_every_row, trained

NEAR = {"rtol": 1e-9, "atol": 1e-11}
WIDTH, SCENARIOS = 3, 4
IDS = torch.tensor([2, 0, 4, 2, 3, 0, 2, 4, 0, 0])  # 1 is empty, 3 alone, 4 unknown


def norm(**options):
    made = PartitionedNorm(Here(SCENARIOS + 1), WIDTH, **options).double()
    for p in made.parameters():
        nn.init.normal_(p, mean=0.5)
    return made


def call(layer, x, ids=IDS):
    with layer.here.rows_of(ids):
        return layer(x)


def by_loop(layer, x, ids=IDS):
    """The norm in training, scenario by scenario; a row alone is normed as given below."""
    rows = [None] * len(ids)
    for s in range(SCENARIOS + 1):
        own = [r for r in range(len(ids)) if ids[r] == s]
        for r in own:
            if len(own) > 1:
                mean = sum(x[q] for q in own) / len(own)
                variance = sum((x[q] - mean) ** 2 for q in own) / len(own)
            elif s < SCENARIOS and layer.batches[s] > 0:
                mean, variance = layer.mean[s], layer.variance[s]
            else:
                mean, variance = mixture(layer)
            scale = layer.scale if s == SCENARIOS else layer.scale * layer.own_scale[s]
            shift = layer.shift if s == SCENARIOS else layer.shift + layer.own_shift[s]
            rows[r] = (x[r] - mean) / (variance + layer.eps).sqrt() * scale + shift
    return torch.stack(rows)


def mixture(layer):
    """Mean and variance of rows drawn from the scenarios that were met, each as often."""
    met = [s for s in range(SCENARIOS) if layer.batches[s] > 0]
    if not met:
        return torch.zeros(WIDTH).double(), torch.ones(WIDTH).double()
    mean = sum(layer.mean[s] for s in met) / len(met)
    square = sum(layer.variance[s] + layer.mean[s] ** 2 for s in met) / len(met)
    return mean, square - mean**2


@pytest.mark.parametrize("met", [False, True])
def test_in_training_the_norm_is_that_of_a_loop_over_scenarios_with_its_gradients(met):
    layer = norm()
    if met:
        call(layer, torch.randn(6, WIDTH).double() * 3 + 1, torch.tensor([3, 3, 1, 1, 0, 0]))
    again, x = copy.deepcopy(layer), torch.randn(10, WIDTH).double().requires_grad_()
    expected = by_loop(again, x)
    weights = torch.randn_like(expected)
    slow = torch.autograd.grad((expected * weights).sum(), [x, *again.parameters()])
    found = call(layer, x)
    fast = torch.autograd.grad((found * weights).sum(), [x, *layer.parameters()])
    torch.testing.assert_close(found, expected, **NEAR)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, **NEAR)


@pytest.mark.parametrize("momentum", [0.1, 0.3])
def test_running_statistics_are_a_mean_first_and_then_move_by_the_momentum(momentum):
    layer, kept = norm(momentum=momentum), {}
    for step in range(14):
        x = torch.randn(10, WIDTH).double() * (1 + step) + step
        ids = torch.cat([IDS[:8], IDS[8:] * 0 + step % 2 * 3])  # 3 has two rows or one, in turns
        call(layer, x, ids)
        for s in range(SCENARIOS):
            own = x[ids == s]
            if len(own) < 2:
                continue
            new = torch.stack([own.mean(0), own.var(0, unbiased=False)])
            n, old = kept.get(s, (0, torch.zeros_like(new)))
            rate = max(1 / (n + 1), momentum)
            kept[s] = n + 1, (1 - rate) * old + rate * new
    assert set(kept) == {0, 2, 3} and [kept[s][0] for s in (0, 2, 3)] == [14, 14, 7]
    assert layer.batches.flatten().tolist() == [14, 0, 14, 7]
    for s, (_, (mean, variance)) in kept.items():
        torch.testing.assert_close(layer.mean[s], mean, **NEAR)
        torch.testing.assert_close(layer.variance[s], variance, **NEAR)


def test_the_first_batches_are_a_plain_mean():
    layer = norm()
    means = []
    for _ in range(10):
        x = torch.randn(4, WIDTH).double()
        call(layer, x, torch.tensor([1, 1, 1, 1]))
        means.append(x.mean(0))
        torch.testing.assert_close(layer.mean[1], torch.stack(means).mean(0), **NEAR)


def test_evaluation_uses_what_was_kept_and_keeps_nothing():
    layer = norm()
    call(layer, torch.randn(10, WIDTH).double() * 3 + 1)
    state = copy.deepcopy(layer.state_dict())
    layer.eval()
    x = torch.randn(5, WIDTH).double()
    found = call(layer, x, torch.arange(5))
    for s in range(5):
        known = s in (0, 2)  # 1 had no row, 3 a single one, 4 is unknown
        mean, variance = (layer.mean[s], layer.variance[s]) if known else mixture(layer)
        expected = (x[s] - mean) / (variance + layer.eps).sqrt()
        scale = layer.own_scale[s] if s < SCENARIOS else 1
        shift = layer.own_shift[s] if s < SCENARIOS else 0
        expected = expected * layer.scale * scale + layer.shift + shift
        torch.testing.assert_close(found[s], expected, **NEAR)
    assert all(torch.equal(values, state[key]) for key, values in layer.state_dict().items())


def test_statistics_kept_move_no_gradient_and_no_earlier_output():
    layer, x = norm(), torch.randn(10, WIDTH).double().requires_grad_()
    call(layer, x).sum().backward()
    assert not layer.mean.requires_grad and not layer.variance.requires_grad
    call(layer, x).sum().backward()  # a second graph, on buffers that were changed in place


@pytest.mark.parametrize("value", [1000.3, 77_777.7, 123_456.7])
def test_a_column_of_nearly_one_value_has_no_variance_of_rounding(value):
    layer = norm().float()
    for _ in range(5):
        x = torch.randn(9, WIDTH)
        x[:, 0] = value * (1 + 1e-6 * x[:, 0])
        assert call(layer, x, torch.arange(9) % 3).isfinite().all()
    layer.eval()
    assert call(layer, x[:5], torch.tensor([4, 4, 4, 4, 4])).isfinite().all()
    mean, variance = layer.running()
    assert (variance >= 0).all() and mean[-1, 0] == pytest.approx(value)
    assert variance[-1, 0] < (1e-5 * value) ** 2  # a difference of squares is off by far more


def test_statistics_of_numbers_in_half_are_taken_in_full():
    layer, x = norm().float(), torch.randn(400, WIDTH) + 30
    ids = torch.zeros(400, dtype=torch.int64)
    half = call(copy.deepcopy(layer), x.bfloat16(), ids)
    full = call(layer, x.bfloat16().float(), ids)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=1e-5, atol=1e-5)


def test_in_the_model_nothing_is_kept_at_evaluation_and_each_batch_once_in_training():
    model, batch = fresh("star"), batch_of()
    model.eval()(batch)
    model.predict(batch)
    assert (model.norm.batches == 0).all()
    model.train()(batch)
    assert (model.norm.batches == 1).all() and len(model.norm.batches) == UNKNOWN
    x = model.embed(batch)
    for s in range(UNKNOWN):
        own = x[batch.scenario == s]
        torch.testing.assert_close(model.norm.mean[s], own.mean(0), **NEAR)


def test_logits_have_both_signs_and_no_layer_of_logits_has_a_relu():
    model, batch = trained("star").eval(), batch_of()
    logits = of_every_row(model(batch))
    assert (logits > 0).any() and (logits < 0).any() and (logits != 0).all()
    for tower in (*model.network.towers, *model.auxiliary):
        assert not isinstance(tower[-1], nn.ReLU)


def test_the_auxiliary_network_of_a_task_belongs_to_the_task():
    model = fresh("star")
    for task in SCHEMA.task_names:
        assert model.auxiliary.of(task) in model.task_modules(task)
