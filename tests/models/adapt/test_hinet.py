"""HiNet: shared, own and other scenarios' experts, then experts of tasks."""

import pytest
import torch

from mtlkit.models import HiNet, gate_map
from mtlkit.schema import SchemaError
from tests import tiny
from tests.models.adapt import places


def mixture(own, x, s):
    """One row through the experts of scenario s and its gate."""
    scores = list(x @ places.of(own.gate.weight, s))
    return places.gated(scores, [places.own_mlp(expert, x, s) for expert in own.experts])


def attended(model, x, s):
    """What scenario s takes from the others, one after the other."""
    known = model.schema.num_scenarios
    others = [j for j in range(known) if j != s]
    if s == known:  # alike, and it trains none of them
        return sum(mixture(model.own, x, j).detach() for j in others) / known
    v, keys = model.attention.vectors[s], model.attention.keys
    return places.gated([keys[j] @ v for j in others], [mixture(model.own, x, j) for j in others])


def slow(model, batch):
    """Row by row, scenario by scenario, expert by expert."""
    x_of, rows, several = model.embed(batch), [], model.schema.num_scenarios > 1
    for r in range(batch.rows):
        x, s, row = x_of[r], int(batch.scenario[r]), {}
        shared = [places.shared(model.shared, n, x) for n in range(model.shared.experts)]
        parts = [places.gated([x @ w for w in model.gate.linear.weight], shared)]
        parts.append(mixture(model.own, x, s))
        if several:
            parts.append(attended(model, x, s))
        c, level = torch.cat(parts), model.level
        for k, task in enumerate(model.schema.tasks):
            banks = (level.own[k], level.shared)
            experts = [places.shared(bank, n, c) for bank in banks for n in range(bank.experts)]
            scores = [c @ w for w in level.gates[k].linear.weight]
            row[task.name] = model.towers[k](places.gated(scores, experts))
        rows.append(row)
    return places.collect(model, rows)


VARIANTS = {
    "one of each": {"own_experts": 1, "shared_experts": 1, "task_experts": 1, "common_experts": 1},
    "several": {"own_experts": 3, "shared_experts": 2, "task_experts": 2, "common_experts": 3},
    "usual": {},
}


@pytest.mark.parametrize(
    ("scenarios", "variant"),
    [(1, "usual"), (2, "usual"), (3, "one of each"), (3, "several"), (12, "usual")],
)
def test_it_is_the_slow_loop_in_outputs_and_gradients(scenarios, variant):
    model = places.make(HiNet, scenarios, task_hidden=(4,), **VARIANTS[variant])
    places.same_outputs_and_gradients(model, slow, places.batch_of(20, scenarios))


def test_a_scenario_without_rows_and_a_single_row():
    model, batch = places.make(HiNet, 4), places.batch_of(20, 4)
    batch.scenario[batch.scenario == 2] = 1
    places.same_outputs_and_gradients(model, slow, batch)
    for scenario in (0, 4):
        one = places.batch_of(1, 4)
        one.scenario[:] = scenario
        places.same_outputs_and_gradients(model, slow, one)


def weights(model, batch):
    with model.here.rows_of(batch.scenario):
        return model.attention.weights()


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_attention_is_of_the_others_and_never_of_its_own(scenarios):
    model, batch = places.make(HiNet, scenarios), places.batch_of(120, scenarios)
    found = weights(model, batch)
    torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))
    for row, s in zip(found, batch.scenario, strict=True):
        if s < scenarios:
            assert row[s] == 0 and int((row > 0).sum()) == scenarios - 1
        else:
            torch.testing.assert_close(row, torch.full_like(row, 1 / scenarios))
    if scenarios == 2:  # one other: nothing to choose
        assert torch.equal(found[batch.scenario < 2].amax(1), torch.ones(96).double())


def test_without_vectors_attention_is_the_mean_of_the_others():
    model, batch = places.make(HiNet, 4), places.batch_of(60, 4)
    with torch.no_grad():
        model.attention.vectors.zero_()
    x, s = model.embed(batch), batch.scenario
    others = torch.stack([
        sum(mixture(model.own, x[r], j) for j in range(4) if j != s[r]) / (3 + (s[r] == 4))
        for r in range(60)
    ])  # fmt: skip
    width = model.shared.width
    torch.testing.assert_close(model.represent(x, batch)[0][:, 2 * width :], others)


@pytest.mark.parametrize("scenario", [0, 2])
def test_its_own_experts_do_not_come_back_through_attention(scenario):
    """Another expert of s moves S for rows of s, and A for the rows of all others."""
    model, batch = places.make(HiNet, 3), places.batch_of(90, 3)
    x, width = model.embed(batch), model.shared.width
    before = model.represent(x, batch)[0]
    with torch.no_grad():
        for expert in model.own.experts:
            expert[-2].bias[scenario] += 3.0
    moved = (model.represent(x, batch)[0] != before).split(width, dim=1)
    own, known = batch.scenario == scenario, batch.scenario < 3
    shared, mine, others = (part.any(1) for part in moved)
    assert not shared.any()
    assert mine[own].all() and not mine[known & ~own].any()
    assert others[~own].all() and not others[own].any()


@pytest.mark.parametrize("scenarios", [3, 12])
def test_rows_train_vectors_and_gates_where_they_should(scenarios):
    model, batch = places.make(HiNet, scenarios), places.batch_of(240, scenarios)
    for scenario in range(scenarios):
        moved = places.moved_by(model, batch, scenario)
        others = [j for j in range(scenarios) if j != scenario]
        assert moved["attention.vectors"] == [scenario]
        assert moved["attention.keys"] == others  # not its own
        for part in ("own.gate.weight", "own.experts.0.0.weight", "own.experts.1.2.bias"):
            assert moved[part] == list(range(scenarios))  # its own by S, the others by A
    assert not any(places.moved_by(model, batch, scenarios).values())
    found = places.gradients(model, batch, batch.scenario == scenarios)
    for shared in ("shared.weights.0", "gate.linear.weight", "level.shared.weights.0"):
        assert found[shared].abs().sum() > 0


@pytest.mark.parametrize("scenarios", [3, 12])
def test_no_parameter_is_dead(scenarios):
    places.nothing_is_dead(places.make(HiNet, scenarios), places.batch_of(150, scenarios))


def test_with_two_scenarios_only_the_attention_has_nothing_to_learn():
    model, batch = places.make(HiNet, 2), places.batch_of(60, 2)
    found = places.gradients(model, batch)
    dead = [name for name, gradient in found.items() if not gradient.abs().sum() > 0]
    assert dead == ["attention.vectors", "attention.keys"]
    # with a third one it has; that one's vector starts at 0, so it moves first
    grown, after = model.extend(scenario="ads"), places.grown_table(model.schema)[1]
    moved = places.moved_by(grown, after, 2)
    assert moved["attention.vectors"] == [2] and moved["attention.keys"] == []


def test_one_scenario_has_no_attention():
    model = places.make(HiNet, 1)
    assert model.attention is None
    places.nothing_is_dead(model, places.batch_of(40, 1, unknown=False))
    with pytest.raises(SchemaError, match=r"made for the one scenario 'search'.*'ads'"):
        HiNet(places.lone(), inputs=places.blind, **places.SIZES).extend(scenario="ads")


def test_rows_stand_alone():
    places.rows_stand_alone(places.make(HiNet, 3))


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_it_grows_and_known_scenarios_do_not_attend_to_the_new_one(scenarios):
    model = places.make(HiNet, scenarios)
    places.grows(model, unread=("attention.keys",))
    grown, batch = model.extend(scenario="ads"), places.grown_table(model.schema)[1]
    found = weights(grown, batch)
    assert torch.equal(found[:, scenarios], torch.zeros(40).double())


def test_a_scenario_has_an_expert_at_least():
    with pytest.raises(ValueError, match="own_experts must be 1 or more, not 0"):
        HiNet(places.schema(3), own_experts=0)


def test_gate_map_shows_both_levels():
    model = places.make(HiNet, 3, own_experts=2, shared_experts=3).eval()
    table = tiny.table(model.schema, 60)
    table.dense = table.dense.double()
    found = gate_map(model, table, by="scenario")
    first, second = (found.filter(found["level"] == level) for level in (1, 2))
    assert set(first["reader"]) == {"scenario", "shared"}
    assert set(second["reader"]) == set(places.NAMES)
    batch = tiny.all_rows(table)
    x, outputs = model.embed(batch), model.expert_outputs(batch)
    assert [tuple(o.shape[:2]) for o in outputs] == [(5, 60), (3 + 2, 60)]
    r, s = 7, int(batch.scenario[7])
    torch.testing.assert_close(outputs[0][1, r], places.own_mlp(model.own.experts[1], x[r], s))
    rows = batch.scenario == 1
    mean = (x[rows] @ model.own.gate.weight[1]).softmax(-1).mean(0)
    name = model.schema.scenario_names[1]
    part = first.filter((first["reader"] == "scenario") & (first["scenario"] == name))
    assert part["weight"].to_list() == pytest.approx(mean.tolist())
