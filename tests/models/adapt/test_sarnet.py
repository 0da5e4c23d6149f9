"""SAR-Net: scaled inputs, experts of all and of the scenario."""

import pytest
import torch

from mtlkit.models import MMoE, SARNet, gate_map
from mtlkit.train import seeded
from tests import tiny
from tests.models.adapt import places


def slow(model, batch):
    """Row by row, expert by expert."""
    x_of, rows = model.embed(batch), []
    for r in range(batch.rows):
        x, s, row = x_of[r], int(batch.scenario[r]), {}
        if s < model.schema.num_scenarios:
            x = x * model.features.scale[s] + model.features.shift[s]
        experts = [places.own_mlp(expert, x, s) for expert in model.own]
        experts += [places.shared(model.shared, n, x) for n in range(model.shared.experts)]
        for k, task in enumerate(model.schema.tasks):
            scores = [x @ weight for weight in model.gates[k].linear.weight]
            row[task.name] = model.towers[k](places.gated(scores, experts))
        rows.append(row)
    return places.collect(model, rows)


@pytest.mark.parametrize(
    ("scenarios", "own", "shared"), [(1, 1, 2), (2, 2, 1), (3, 1, 2), (3, 2, 3), (12, 1, 2)]
)
def test_it_is_the_slow_loop_in_outputs_and_gradients(scenarios, own, shared):
    model = places.make(SARNet, scenarios, own_experts=own, shared_experts=shared)
    places.same_outputs_and_gradients(model, slow, places.batch_of(30, scenarios))


def test_a_scenario_without_rows_and_a_single_row():
    model, batch = places.make(SARNet, 4), places.batch_of(20, 4)
    batch.scenario[batch.scenario == 2] = 1
    places.same_outputs_and_gradients(model, slow, batch)
    for scenario in (0, 4):
        one = places.batch_of(1, 4)
        one.scenario[:] = scenario
        places.same_outputs_and_gradients(model, slow, one)


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_rows_train_what_is_of_their_own_scenario_alone(scenarios):
    model, batch = places.make(SARNet, scenarios), places.batch_of(200, scenarios)
    for scenario in range(scenarios):
        moved = places.moved_by(model, batch, scenario)
        assert set(map(tuple, moved.values())) == {(scenario,)}
    assert not any(places.moved_by(model, batch, scenarios).values())
    found = places.gradients(model, batch, batch.scenario == scenarios)
    for shared in ("shared.weights.0", "gates.0.linear.weight", "embedding.table"):
        assert found[shared].abs().sum() > 0


@pytest.mark.parametrize("scenario", [0, 11])
@pytest.mark.parametrize("part", ["features.scale", "features.shift", "own.0.2.weight"])
def test_what_is_of_a_scenario_moves_its_rows_and_no_other_known_ones(scenario, part):
    model, batch = places.make(SARNet, 12), places.batch_of(150, 12)
    before = model(batch)
    with torch.no_grad():
        model.get_parameter(part)[scenario] += 0.5
    after, own = model(batch), batch.scenario == scenario
    known = batch.scenario < 12
    for task, values in before.items():
        assert torch.equal(after[task][known & ~own], values[known & ~own])
        assert not torch.equal(after[task][own], values[own])
        if part.startswith("features"):  # an unknown scenario is not scaled at all
            assert torch.equal(after[task][~known], values[~known])


def test_without_its_own_experts_and_scales_it_is_mmoe():
    model, batch = places.make(SARNet, 3, shared_experts=3), places.batch_of()
    with seeded(1):
        plain = MMoE(model.schema, **places.SIZES, experts=3).double()
    plain.embedding.load_state_dict(model.embedding.state_dict())
    plain.experts.load_state_dict(model.shared.state_dict())
    plain.towers.load_state_dict(model.towers.state_dict())
    with torch.no_grad():
        model.features.scale.fill_(1)
        model.features.shift.zero_()
        for table in (model.embedding.table, plain.embedding.table):
            table[:, 0] = 1.0  # one number of x is 1 for every row
        for gate, other in zip(model.gates, plain.gates, strict=True):
            other.linear.weight.copy_(gate.linear.weight[1:])
            gate.linear.weight[0].zero_()
            gate.linear.weight[0, 0] = -800.0  # its own expert is never heard
    expected = plain(batch)
    for task, values in model(batch).items():
        torch.testing.assert_close(values, expected[task])


def test_it_starts_without_scenarios():
    """At first no scenario has anything of its own, and the same row scores alike in all."""
    with seeded(2):
        model = SARNet(places.schema(3), inputs=places.blind, **places.SIZES).double()
    batch = places.batch_of(30, 3)
    before = model(batch)
    for scenario in range(4):
        batch.scenario[:] = scenario
        for task, values in model(batch).items():
            torch.testing.assert_close(values, before[task])


@pytest.mark.parametrize("scenarios", [1, 3, 12])
def test_no_parameter_is_dead(scenarios):
    places.nothing_is_dead(places.make(SARNet, scenarios), places.batch_of(150, scenarios))


def test_rows_stand_alone():
    places.rows_stand_alone(places.make(SARNet, 3))


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_it_grows(scenarios):
    places.grows(places.make(SARNet, scenarios))


def test_one_scenario_that_is_no_input_may_become_two():
    model = SARNet(places.lone(), inputs=places.blind, **places.SIZES).double()
    with torch.no_grad():
        model.features.scale += 0.5
    places.grows(model)


def test_a_scenario_has_an_expert_at_least():
    with pytest.raises(ValueError, match="own_experts must be 1 or more, not 0"):
        SARNet(places.schema(3), own_experts=0)


def test_gate_map_tells_own_experts_from_shared_ones():
    model = places.make(SARNet, 3, own_experts=1, shared_experts=2).eval()
    table = tiny.table(model.schema, 60)
    table.dense = table.dense.double()
    found = gate_map(model, table, by="scenario")
    assert set(found["reader"]) == set(places.NAMES)
    assert found.filter(found["expert"] == 0)["owner"].unique().to_list() == ["scenario"]
    assert set(found.filter(found["expert"] > 0)["owner"]) == {"shared"}
    batch = tiny.all_rows(table)
    outputs = model.expert_outputs(batch)[0]
    assert outputs.shape == (3, 60, 5)
    for r in (0, 7):
        h = model.features.scale[batch.scenario[r]] * model.embed(batch)[r]
        h = h + model.features.shift[batch.scenario[r]]
        expected = places.own_mlp(model.own[0], h, int(batch.scenario[r]))
        torch.testing.assert_close(outputs[0, r], expected)
