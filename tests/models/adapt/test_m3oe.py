"""M3oE: experts of all, of scenarios and of tasks, fused at two levels."""

import pytest
import torch

from mtlkit.models import M3oE, MMoE
from mtlkit.schema import SchemaError
from mtlkit.train import seeded
from tests.models.adapt import places

ONE_TASK = ("click",)


def sigmoid(value):
    return 1 / (1 + torch.exp(-value))


def of_scenario(model, x, s):
    """First level for a scenario: its own expert and the mean of the others'."""
    own, known = places.own_mlp(model.own, x, s), model.schema.num_scenarios
    if known == 1:
        return own
    others = [places.own_mlp(model.own, x, j) for j in range(known) if j != s]
    mean = sum(others) / len(others)
    if s == known:
        mean = mean.detach()
    b = sigmoid(places.of(model.balance.own, s))
    return b * own + (1 - b) * mean


def of_task(model, x, k):
    """First level for a task."""
    said = [places.shared(bank, 0, x) for bank in model.tasks]
    others = [said[u] for u in range(len(said)) if u != k]
    if not others:
        return said[k]
    b = sigmoid(model.fusions[k].own)
    return b * said[k] + (1 - b) * sum(others) / len(others)


def slow(model, batch):
    """Row by row, scenario by scenario, task by task."""
    x_of, rows = model.embed(batch), []
    for r in range(batch.rows):
        x, s, row = x_of[r], int(batch.scenario[r]), {}
        shared = [places.shared(model.experts, n, x) for n in range(model.experts.experts)]
        for k, task in enumerate(model.schema.tasks):
            p, q = sigmoid(model.fusions[k].parts)
            z = places.gated(list(x @ places.of(model.gates[k].weight, s)), shared)
            z = z + p * of_scenario(model, x, s) + q * of_task(model, x, k)
            row[task.name] = places.own_mlp(model.towers[k], z, s)
        rows.append(row)
    return places.collect(model, rows)


@pytest.mark.parametrize(
    ("scenarios", "tasks", "experts"),
    [
        (1, places.NAMES, 4),
        (2, places.NAMES, 1),
        (3, ONE_TASK, 3),
        (1, ONE_TASK, 2),
        (12, places.NAMES, 2),
    ],
)
def test_it_is_the_slow_loop_in_outputs_and_gradients(scenarios, tasks, experts):
    model = places.make(M3oE, scenarios, tasks, experts=experts)
    places.same_outputs_and_gradients(model, slow, places.batch_of(20, scenarios, tasks))


def test_a_scenario_without_rows_and_a_single_row():
    model, batch = places.make(M3oE, 4), places.batch_of(20, 4)
    batch.scenario[batch.scenario == 2] = 1
    places.same_outputs_and_gradients(model, slow, batch)
    for scenario in (0, 4):
        one = places.batch_of(1, 4)
        one.scenario[:] = scenario
        places.same_outputs_and_gradients(model, slow, one)


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_rows_train_gates_towers_and_balance_of_their_own_scenario_and_all_experts(scenarios):
    model, batch = places.make(M3oE, scenarios), places.batch_of(240, scenarios)
    for scenario in range(scenarios):
        for part, moved in places.moved_by(model, batch, scenario).items():
            expert = part.startswith("own.")
            assert moved == (list(range(scenarios)) if expert else [scenario]), part
    assert not any(places.moved_by(model, batch, scenarios).values())
    found = places.gradients(model, batch, batch.scenario == scenarios)
    for shared in ("experts.weights.0", "tasks.0.weights.0", "fusions.0.parts", "embedding.table"):
        assert found[shared].abs().sum() > 0


def test_a_scenario_that_hears_its_own_expert_alone_trains_that_one_alone():
    model, batch = places.make(M3oE, 3), places.batch_of(120, 3)
    with torch.no_grad():
        model.balance.own.fill_(800.0)  # b is 1
    for scenario in range(3):
        assert places.moved_by(model, batch, scenario)["own.0.weight"] == [scenario]


def test_with_the_modules_of_scenarios_and_tasks_silent_it_is_mmoe():
    model, batch = places.make(M3oE, 3, experts=3), places.batch_of()
    with seeded(1):
        plain = MMoE(model.schema, **places.SIZES, experts=3).double()
    plain.embedding.load_state_dict(model.embedding.state_dict())
    plain.experts.load_state_dict(model.experts.state_dict())
    with torch.no_grad():
        for k in range(3):
            model.fusions[k].parts.fill_(-800.0)  # p and q are 0
            gate, tower = model.gates[k].weight, model.towers[k]
            gate.copy_(gate[:1].clone().expand_as(gate))
            plain.gates[k].linear.weight.copy_(gate[0].T)
            for layer, own in zip(plain.towers[k], tower, strict=True):
                if hasattr(own, "stacked"):
                    own.weight.copy_(own.weight[:1].clone().expand_as(own.weight))
                    own.bias.copy_(own.bias[:1].clone().expand_as(own.bias))
                    layer.weight.copy_(own.weight[0].T)
                    layer.bias.copy_(own.bias[0])
    expected = plain(batch)
    for task, values in model(batch).items():
        torch.testing.assert_close(values, expected[task])


def test_equal_experts_are_fused_to_themselves_whatever_the_balance():
    model, batch = places.make(M3oE, 3), places.batch_of(60, 3)
    with torch.no_grad():
        for layer in model.own:
            if hasattr(layer, "stacked"):
                layer.weight.copy_(layer.weight[:1].clone().expand_as(layer.weight))
                layer.bias.copy_(layer.bias[:1].clone().expand_as(layer.bias))
        for bank in model.tasks[1:]:
            bank.load_state_dict(model.tasks[0].state_dict())
    before = model(batch)
    with torch.no_grad():
        model.balance.own += 1.0
        for fusion in model.fusions:
            fusion.own -= 2.0
    for task, values in model(batch).items():
        torch.testing.assert_close(values, before[task])


def test_it_starts_with_all_weights_of_fusion_at_one_half():
    model = M3oE(places.schema(3), **places.SIZES)
    assert torch.equal(model.balance.own.sigmoid(), torch.full((3, 1), 0.5))
    for fusion in model.fusions:
        assert fusion.parts.sigmoid().tolist() == [0.5, 0.5] and fusion.own.sigmoid() == 0.5


@pytest.mark.parametrize(
    ("scenarios", "tasks"), [(2, places.NAMES), (12, places.NAMES), (3, ONE_TASK)]
)
def test_no_parameter_is_dead(scenarios, tasks):
    model = places.make(M3oE, scenarios, tasks)
    places.nothing_is_dead(model, places.batch_of(150, scenarios, tasks))


def test_one_scenario_and_one_task_have_nothing_to_balance():
    model = places.make(M3oE, 1, ONE_TASK)
    assert model.balance is None and model.fusions[0].own is None
    places.nothing_is_dead(model, places.batch_of(40, 1, ONE_TASK, unknown=False))
    with pytest.raises(SchemaError, match=r"made for the one scenario 'search'.*'ads'"):
        M3oE(places.lone(), inputs=places.blind, **places.SIZES).extend(scenario="ads")


def test_rows_stand_alone():
    places.rows_stand_alone(places.make(M3oE, 3))


@pytest.mark.parametrize("scenarios", [2, 3, 12])
def test_it_grows_and_known_scenarios_do_not_read_the_new_one(scenarios):
    model = places.make(M3oE, scenarios)
    places.grows(model)
    grown, batch = model.extend(scenario="ads"), places.grown_table(model.schema)[1]
    before = grown(batch)
    with torch.no_grad():
        grown.own[2].bias[scenarios] += 2.0
    after, known = grown(batch), batch.scenario < scenarios
    for task, values in before.items():
        assert torch.equal(after[task][known], values[known])
        assert not torch.equal(after[task][~known], values[~known])


def test_every_task_owns_its_gates_fusion_and_towers():
    model, batch = places.make(M3oE, 3), places.batch_of(80, 3)
    owned = {name: {id(p) for p in model.task_parameters(name)} for name in places.NAMES}
    for task in places.NAMES:
        model.zero_grad()
        model(batch)[task].sum().backward()
        for p in model.parameters():
            moved = p.grad is not None and bool(p.grad.abs().sum() > 0)
            of = [name for name in owned if id(p) in owned[name]]
            assert moved == (not of or of == [task])


def test_it_has_no_gates_that_a_map_could_show_whole():
    with pytest.raises(ValueError, match="M3oE has no experts that mtlkit knows of"):
        M3oE(places.schema(3), **places.SIZES).expert_levels()
