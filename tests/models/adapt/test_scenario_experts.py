"""What HMoE, SAR-Net, HiNet and M3oE have in common: odd sizes, routes, autocast, cost."""

import pytest
import torch

from mtlkit.layers import use_route
from mtlkit.models import HiNet, HMoE, M3oE, SARNet, flops_per_row
from mtlkit.train import seeded
from tests import tiny
from tests.models.adapt import places, test_hinet, test_hmoe, test_m3oe, test_sarnet

SLOW = {
    HMoE: test_hmoe.slow,
    SARNet: test_sarnet.slow,
    HiNet: test_hinet.slow,
    M3oE: test_m3oe.slow,
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize(
    "sizes", [{"hidden": ()}, {"tower": ()}, {"hidden": (4,), "tower": (3, 2)}]
)
def test_any_number_of_layers(kind, sizes):
    model = places.make(kind, 3, **sizes)
    places.same_outputs_and_gradients(model, SLOW[kind], places.batch_of(12, 3))


@pytest.mark.parametrize("kind", SLOW)
def test_both_routes_give_the_same(kind):
    model, batch = places.make(kind, 3), places.batch_of(40, 3)
    expected = places.gradients(model, batch)
    with use_route("gathered"):
        found = places.gradients(model, batch)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("kind", SLOW)
def test_autocast_trains_what_float32_trains(kind):
    model, batch = places.make(kind, 3).float(), places.batch_of(60, 3)
    batch.dense = batch.dense.float()
    expected = places.gradients(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = places.gradients(model, batch)
    for name, gradient in expected.items():
        apart = (found[name] - gradient).norm() / gradient.norm()
        assert apart < 0.15, name


@pytest.mark.parametrize("kind", SLOW)
def test_dropout_acts_in_training_alone(kind):
    model = places.make(kind, 3, dropout=0.5)
    batch = places.batch_of(40, 3)
    with seeded(1):
        first, second = model(batch), model(batch)
    assert not any(torch.equal(first[task], second[task]) for task in places.NAMES)
    places.same_outputs_and_gradients(model.eval(), SLOW[kind], batch)


def flops(kind, scenarios):
    known = places.schema(scenarios)
    batch = tiny.all_rows(tiny.table(known, 200))
    return flops_per_row(kind(known, **places.SIZES), batch)


@pytest.mark.parametrize("kind", SLOW)
def test_the_cost_of_a_row_grows_with_scenarios_where_it_reads_the_others(kind):
    few, some, many = (flops(kind, scenarios) for scenarios in (4, 8, 12))
    if kind is SARNet:
        assert many < 1.02 * few  # the mean of all weights alone, once a batch
    else:
        assert many - some == pytest.approx(some - few, rel=0.01) and some > 1.1 * few
