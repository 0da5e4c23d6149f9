"""HMoE: experts in feature space, scenarios in label space."""

import pytest
import torch

from mtlkit.models import HMoE, gate_map
from mtlkit.schema import SchemaError
from tests import tiny
from tests.models.adapt import places


def slow(model, batch):
    """Row by row, scenario by scenario, expert by expert."""
    x_of, known = model.embed(batch), model.schema.num_scenarios
    rows = []
    for r in range(batch.rows):
        x, t, row = x_of[r], int(batch.scenario[r]), {}
        experts = [places.shared(model.experts, n, x) for n in range(model.experts.experts)]
        for k, task in enumerate(model.schema.tasks):

            def said(j, k=k, x=x, experts=experts):
                scores = x @ places.of(model.gates[k].weight, j)
                mixed = sum(
                    w * e for w, e in zip(places.softmax(list(scores)), experts, strict=True)
                )
                return places.own_mlp(model.towers[k], mixed, j)

            if known == 1:
                row[task.name] = said(t)
                continue
            V = model.weights[k].weight
            own = [V[t, :, t]] if t < known else [sum(V[j, :, j] for j in range(known)) / known]
            others = [j for j in range(known) if j != t]
            scores = own + [places.of(V, t)[:, j] for j in others]
            if t == known:
                scores = [score.detach() for score in scores]
            weights = places.softmax([x @ score for score in scores])
            row[task.name] = weights[0] * said(t) + sum(
                w * said(j).detach() for w, j in zip(weights[1:], others, strict=True)
            )
        rows.append(row)
    return places.collect(model, rows)


@pytest.mark.parametrize("scenarios", [1, 2, 3, 12])
def test_it_is_the_slow_loop_in_outputs_and_gradients(scenarios):
    model = places.make(HMoE, scenarios, experts=3)
    places.same_outputs_and_gradients(model, slow, places.batch_of(30, scenarios))


def test_a_scenario_without_rows_and_a_single_row():
    model = places.make(HMoE, 4, experts=2)
    batch = places.batch_of(20, 4)
    batch.scenario[batch.scenario == 2] = 1
    places.same_outputs_and_gradients(model, slow, batch)
    for scenario in (0, 4):
        one = places.batch_of(1, 4)
        one.scenario[:] = scenario
        places.same_outputs_and_gradients(model, slow, one)


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_rows_train_gates_towers_and_weights_of_their_own_scenario_alone(scenarios):
    model, batch = places.make(HMoE, scenarios), places.batch_of(200, scenarios)
    for scenario in range(scenarios):
        moved = places.moved_by(model, batch, scenario)
        assert set(map(tuple, moved.values())) == {(scenario,)}
    unknown = places.moved_by(model, batch, scenarios)
    assert not any(unknown.values())
    found = places.gradients(model, batch, batch.scenario == scenarios)
    assert found["experts.weights.0"].abs().sum() > 0
    assert found["embedding.table"].abs().sum() > 0


@pytest.mark.parametrize("scenario", [0, 2])
def test_the_others_towers_are_read_and_not_trained(scenario):
    model, batch = places.make(HMoE, 3), places.batch_of(60, 3)
    before = model(batch)
    with torch.no_grad():
        model.towers.of("click")[-1].bias[scenario] += 1.0
    after = model(batch)
    moved = after["click"] - before["click"]
    assert (moved > 0).all() and (moved < 1).all()  # every row listens, to others as well
    assert all(torch.equal(before[task], after[task]) for task in ("category", "orders"))


def test_where_a_gate_hears_its_own_tower_alone_it_is_mmoe_with_scenario_towers():
    model, batch = places.make(HMoE, 3, experts=1), places.batch_of(40, 3)
    with torch.no_grad():
        model.embedding.table[:, 0] = 1.0  # one number of x is 1 for every row
        for gate in model.weights:
            gate.weight.zero_()
            gate.weight[:, 0] = 800 * torch.eye(3, dtype=torch.float64)
    x = model.embed(batch)
    assert (x[:, 0] == 1).all()
    expert = model.experts(x)[0]  # one expert: every gate is 1
    for k, task in enumerate(model.schema.tasks):
        expected = torch.stack([
            places.own_mlp(model.towers[k], expert[r], int(batch.scenario[r])) for r in range(40)
        ])  # fmt: skip
        found = model(batch)[task.name].reshape(40, -1)
        torch.testing.assert_close(found, expected)


def test_equal_weights_are_the_mean_of_what_all_scenarios_say():
    model, batch = places.make(HMoE, 3), places.batch_of(40, 3, unknown=False)
    with torch.no_grad():
        for gate in model.weights:
            gate.weight.zero_()
    said = []
    for scenario in range(3):
        batch.scenario[:] = scenario
        said.append(slow_alone(model, batch))
    for scenario in range(3):
        batch.scenario[:] = scenario
        # the scenario is a field of x as well: here its row is the same for all
        for task, values in model(batch).items():
            expected = sum(one[task] for one in said) / 3
            torch.testing.assert_close(values, expected)


def slow_alone(model, batch):
    """What each row's own scenario says; embeddings of scenarios are made equal."""
    with torch.no_grad():
        start = 11 + 6
        model.embedding.table[start : start + 4] = model.embedding.table[start]
    kept, model.weights = model.weights, torch.nn.ModuleList()
    found = model(batch)
    model.weights = kept
    return found


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_no_parameter_is_dead(scenarios):
    places.nothing_is_dead(places.make(HMoE, scenarios), places.batch_of(150, scenarios))


def test_one_scenario_has_no_gate_over_scenarios():
    model = places.make(HMoE, 1)
    assert not model.weights
    places.nothing_is_dead(model, places.batch_of(40, 1, unknown=False))


def test_rows_stand_alone():
    places.rows_stand_alone(places.make(HMoE, 3))


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_it_grows_and_known_scenarios_do_not_read_the_new_one(scenarios):
    model = places.make(HMoE, scenarios)
    places.grows(model)
    grown = model.extend(scenario="ads")
    batch = places.grown_table(model.schema)[1]
    before = grown(batch)
    with torch.no_grad():
        for tower in grown.towers:
            tower[-1].bias[scenarios] += 5.0
        for gate in grown.weights:
            gate.weight[:, :, scenarios] += 1.0
    after, own = grown(batch), batch.scenario == scenarios
    unknown = batch.scenario == scenarios + 1  # its own tower is the mean of all
    for task, values in before.items():
        assert torch.equal(after[task][~own & ~unknown], values[~own & ~unknown])
        assert not torch.isclose(after[task][own], values[own]).any()


def test_one_scenario_cannot_become_two():
    model = HMoE(places.schema(2), **places.SIZES)
    assert model.extend(scenario="ads").schema.num_scenarios == 3
    with pytest.raises(SchemaError, match="no scenarios"):
        HMoE(places.schema(1), **places.SIZES).extend(scenario="ads")
    with pytest.raises(SchemaError, match=r"made for the one scenario 'search'.*'ads'"):
        HMoE(places.lone(), inputs=places.blind, **places.SIZES).extend(scenario="ads")


def test_every_task_owns_its_gates_and_towers():
    model, batch = places.make(HMoE, 3), places.batch_of(80, 3)
    owned = {name: {id(p) for p in model.task_parameters(name)} for name in places.NAMES}
    for task in places.NAMES:
        model.zero_grad()
        model(batch)[task].sum().backward()
        for p in model.parameters():
            moved = p.grad is not None and bool(p.grad.abs().sum() > 0)
            of = [name for name in owned if id(p) in owned[name]]
            assert moved == (not of or of == [task])


def test_gate_map_shows_how_scenarios_weigh_the_experts():
    model = places.make(HMoE, 3, experts=2).eval()
    table = tiny.table(model.schema, 60)
    table.scenario[::5] = 3
    table.dense = table.dense.double()
    batch = tiny.all_rows(table)
    found = gate_map(model, table, by="scenario")
    x = model.embed(batch)
    for scenario in range(4):
        rows = batch.scenario == scenario
        weights = (x[rows] @ places.of(model.gates[0].weight, scenario)).softmax(-1).mean(0)
        name = [*model.schema.scenario_names, "unknown"][scenario]
        part = found.filter((found["reader"] == "click") & (found["scenario"] == name))
        assert part["weight"].to_list() == pytest.approx(weights.tolist())
