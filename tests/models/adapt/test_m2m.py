"""M2M: attention and towers that the scenario generates."""

import pytest
import torch

from mtlkit.models import M2M, gate_map
from mtlkit.train import seeded
from tests import tiny
from tests.models.adapt.hyper import NAMES, SIZES, assert_equals_a_loop, batch_of, make, set_of


def leaky(x):
    return torch.where(x > 0, x, 0.01 * x)


def meta(own, x, z):
    """One row through a generated layer, number by number of its weight."""
    weight = torch.stack([(g * z).sum() for g in own.weight.weight]) + own.weight.bias
    bias = own.bias.weight @ z + own.bias.bias
    return x @ weight.reshape(len(x), -1) + bias


def loop(model, x, s):
    """One row, expert by expert."""
    z = set_of(model, s, model.vectors.table)
    bank, outputs = model.experts, []
    for number in range(bank.experts):
        h = x
        for weight, bias in zip(bank.weights, bank.biases, strict=True):
            h = torch.relu(h @ weight[number] + bias[number, 0])
        outputs.append(h)
    logits = {}
    for task, attention, tower in zip(
        model.schema.tasks, model.attention, model.metas, strict=True
    ):
        read = [torch.cat([h, attention.task]) for h in outputs]
        scores = [attention.score.weight[0] @ leaky(meta(attention.meta, r, z)) for r in read]
        total = sum(torch.exp(score) for score in scores)
        own = sum(torch.exp(a) / total * h for a, h in zip(scores, outputs, strict=True))
        for layer, passed in zip(tower.metas, tower.passes, strict=True):
            plain = own if len(own) == layer.bias.out_features else passed.weight @ own
            own = leaky(meta(layer, own, z) + plain)
        logits[task.name] = tower.last.weight @ own + tower.last.bias
    return logits


@pytest.mark.parametrize(("scenarios", "number"), [(2, 24), (3, 1), (12, 30)])
def test_it_equals_a_loop_row_by_row(scenarios, number):
    model = make("m2m", scenarios, experts=3, vector=4)
    assert_equals_a_loop(model, batch_of(scenarios, number), loop)


def test_a_residual_tower_of_equal_widths_has_no_layer_beside_the_generated_ones():
    schema = tiny.schema(*NAMES, scenarios=3)
    with seeded(0):
        model = M2M(schema, embedding_dim=3, hidden=(6,), tower=(6, 6, 4), vector=4).double()
    passes = model.metas[0].passes
    assert [sum(p.numel() for p in own.parameters()) for own in passes] == [0, 0, 24]
    assert_equals_a_loop(model, batch_of(rows=9), loop)
    with torch.no_grad():  # generated layers of 0: sigma of the input comes through
        for layer in list(model.metas[0].metas)[:2]:
            for p in layer.parameters():
                p.zero_()
    x = torch.rand(5, 6, dtype=torch.double)
    tower = model.metas[0]
    batch = batch_of(rows=5)
    with model.here.rows_of(batch.scenario):
        vectors = model.vectors.every("table")
        found = tower(x, vectors)
        tower.metas, tower.passes = tower.metas[2:], tower.passes[2:]
        torch.testing.assert_close(found, tower(x, vectors))


def test_without_generated_parts_every_scenario_meets_the_same_weights():
    batch, model = batch_of(), make("m2m").eval()
    with torch.no_grad():
        model.vectors.table.zero_()
    x = model.embed(batch)
    whole = model.outputs(x, batch)
    batch.scenario = batch.scenario.flip(0)
    for task, logits in model.outputs(x, batch).items():
        torch.testing.assert_close(logits, whole[task], rtol=1e-10, atol=1e-12)


def test_weights_are_made_once_a_scenario():
    model, seen = make("m2m"), []
    model.metas[0].metas[0].weight.register_forward_hook(
        lambda m, i, out: seen.append(tuple(out.shape))
    )
    model(batch_of())
    assert seen == [(4, 5 * 6)]


def test_the_gate_map_shows_who_listens_to_whom():
    table = tiny.table(tiny.schema(*NAMES, scenarios=3), 30)
    model = M2M(table.schema, **SIZES, experts=3).eval()
    gate_map(model, table)
    x = model.embed(tiny.all_rows(table))
    with model.here.rows_of(table.scenario):
        weights = model.attention[1](model.experts(x), model.vectors.every("table"))
    assert weights.shape == (30, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(30))


@pytest.mark.parametrize("name", ["vector", "task_vector"])
def test_a_number_below_1_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        M2M(tiny.schema("click"), **{name: 0})
