"""APG: layers whose core is generated."""

import pytest
import torch
from torch import nn

from mtlkit.models import APG
from mtlkit.models.adapt.apg import GeneratedLinear
from tests import tiny
from tests.models.adapt.hyper import SIZES, assert_equals_a_loop, batch_of, make, set_of


def loop(model, x, s):
    """One row: every layer's whole weight is written out, (in, out)."""
    z = set_of(model, s, model.vectors.table)
    if model.condition.rows:
        z = torch.cat([z, x.detach()])

    def layer(own, h):
        first, _, last = own.core
        core = last.weight @ torch.relu(first.weight @ z + first.bias) + last.bias
        weight = own.V @ core.reshape(own.rank, own.rank) @ own.U
        return h @ weight + own.bias

    h = x
    for own in list(model.network.bottom)[::2]:
        h = torch.relu(layer(own, h))
    logits = {}
    for task, tower in zip(model.schema.tasks, model.network.towers, strict=True):
        hidden, _, last = tower
        logits[task.name] = layer(last, torch.relu(layer(hidden, h)))
    return logits


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("scenarios", "number"), [(2, 24), (3, 1), (12, 30)])
def test_it_equals_whole_weights_row_by_row(rows, scenarios, number):
    model = make("apg", scenarios, rows=rows, rank=3)
    assert_equals_a_loop(model, batch_of(scenarios, number), loop)


@pytest.mark.parametrize("rows", [False, True])
def test_with_the_identity_as_core_it_is_a_shared_network_of_weights_u_v(rows):
    batch, model = batch_of(), make("apg", rows=rows, start=True)
    layers = [m for m in model.modules() if isinstance(m, GeneratedLinear)]
    assert len(layers) == 2 + 2 * 3
    with torch.no_grad():
        for layer in layers:
            layer.core[2].weight.zero_()
    x = model.embed(batch)
    plain = tiny_bottom(model)
    for task, logits in plain(x).items():
        torch.testing.assert_close(model(batch)[task], logits, rtol=1e-10, atol=1e-12)


def tiny_bottom(model):
    """The network of plain layers with the weights V U."""

    def linear(layer):
        made = nn.Linear(*layer.V.shape[:1], layer.U.shape[1]).double()
        made.weight.data, made.bias.data = (layer.V @ layer.U).T.detach(), layer.bias.detach()
        return made

    def forward(x):
        for layer in list(model.network.bottom)[::2]:
            x = torch.relu(linear(layer)(x))
        logits = {}
        for task, tower in zip(model.schema.tasks, model.network.towers, strict=True):
            y = linear(tower[2])(torch.relu(linear(tower[0])(x)))
            logits[task.name] = y if task.kind == "multiclass" else y.squeeze(1)
        return logits

    return forward


def test_cores_are_made_once_a_scenario_or_once_a_row():
    for rows, made in ((False, 4), (True, 24)):
        model, seen = make("apg", rows=rows), []
        for layer in model.modules():
            if isinstance(layer, GeneratedLinear):
                layer.core.register_forward_hook(lambda *call, to=seen: to.append(len(call[2])))
        model(batch_of())
        assert seen == [made] * 8


def test_the_start_is_the_same_in_every_scenario_or_nearly_and_of_the_size_of_a_plain_network():
    batch, model = batch_of(rows=400), make("apg", start=True)
    for layer in model.modules():
        if isinstance(layer, GeneratedLinear):
            core = layer.core(model.vectors.every("table")).reshape(4, layer.rank, layer.rank)
            assert (core - torch.eye(layer.rank)).abs().max() < 0.1
    wide = APG(batch_schema(), embedding_dim=16, hidden=(256,), tower=(), rank=32).double()
    x = torch.randn(500, wide.network.embedding.width, dtype=torch.double)
    h = wide.represent(x, tiny_rows(500))[0]
    assert 0.5 < h.square().mean() < 2  # He et al. 2015: the second moment stays, x has 1
    assert all(value.isfinite().all() for value in model(batch).values())


def batch_schema():
    return tiny.schema("click", scenarios=3)


def tiny_rows(rows):
    return tiny.all_rows(tiny.table(batch_schema(), rows))


def test_the_row_steers_without_a_gradient_to_its_inputs():
    batch, model = batch_of(), make("apg", rows=True)
    x = model.embed(batch).detach().requires_grad_()
    (found,) = torch.autograd.grad(model.outputs(x, batch)["click"].sum(), x)
    frozen = model.outputs
    z = torch.cat([model.vectors.every("table")[batch.scenario], x.detach()], dim=1).detach()
    model.conditions = lambda _: z  # the same condition as a constant
    (expected,) = torch.autograd.grad(frozen(x, batch)["click"].sum(), x)
    torch.testing.assert_close(found, expected)


def test_rank_is_at_most_the_width_and_counts_what_is_said():
    model = APG(tiny.schema("click", scenarios=3), **SIZES, rank=100, vector=2, generator=4)
    width = model.network.embedding.width
    ranks = [m.rank for m in model.modules() if isinstance(m, GeneratedLinear)]
    assert ranks == [7, 5, 5, 1] and width > 7
    layer = model.network.bottom[0]
    assert sum(p.numel() for p in layer.parameters()) == (
        width * 7 + 7 * 7 + 7 + (2 * 4 + 4) + (4 * 49 + 49)
    )


@pytest.mark.parametrize("name", ["rank", "vector", "generator"])
def test_a_number_below_1_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        APG(tiny.schema("click"), **{name: 0})


def test_a_generated_layer_alone_says_where_it_belongs():
    layer = make("apg").network.bottom[0]
    with pytest.raises(RuntimeError, match="outside of the model"):
        layer(torch.zeros(2, 12, dtype=torch.double))
