"""EPNet, PPNet and PEPNet: what a gate reads, what it scales, and what learns from it."""

import copy

import pytest
import torch
from torch import nn

from mtlkit.layers.gate_nu import GateNU
from mtlkit.models import STEM, MMoE, SingleTask
from tests.models.adapt import slow
from tests.models.adapt.twelve import (
    SCHEMA,
    SIZES,
    as_trained,
    batch_of,
    fresh,
    of_every_row,
    plain,
    trained,
)  # fmt: skip

NEAR = {"rtol": 1e-9, "atol": 1e-11}
GATED = ["epnet", "ppnet", "pepnet"]


def gates(model):
    return [module for module in model.modules() if isinstance(module, GateNU)]


@pytest.mark.parametrize("name", GATED)
def test_factors_lie_between_0_and_2_start_near_1_and_are_1_where_the_last_layer_is_0(name):
    batch, found = batch_of(), []
    model = fresh(name)
    number = {"epnet": 1, "ppnet": 4, "pepnet": 5}[name]  # a hidden layer in each of four towers
    assert len(gates(model)) == number
    for gate in gates(model):
        gate.register_forward_hook(lambda module, inputs, factors: found.append(factors))
    model(batch)
    assert len(found) == number
    assert all(((f - 1).abs() < 0.1).all() and (f != 1).any() for f in found)
    found.clear()
    for p in model.parameters():
        nn.init.normal_(p, std=3.0)
    model(batch)
    factors = torch.cat([f.flatten() for f in found])
    assert ((factors >= 0) & (factors <= 2)).all()
    assert factors.min() < 0.01 and factors.max() > 1.99
    found.clear()
    for gate in gates(model):
        nn.init.zeros_(gate[-1].weight)
        nn.init.zeros_(gate[-1].bias)
    model(batch)
    assert all((f == 1).all() for f in found)


@pytest.mark.parametrize("name", GATED)
def test_with_silent_gates_a_model_is_its_network_and_so_are_its_gradients(name):
    model, network, batch = fresh(name), plain(), batch_of()
    for gate in gates(model):
        nn.init.zeros_(gate[-1].weight)
    found, expected = of_every_row(model(batch)), of_every_row(network(batch))
    assert torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    mine = {key.replace(".linear.", "."): p for key, p in model.network.named_parameters()}
    for key, p in network.named_parameters():
        torch.testing.assert_close(mine[key].grad, p.grad, **NEAR, msg=key)


@pytest.mark.parametrize("name", GATED)
def test_no_gradient_goes_through_what_a_gate_reads_and_all_through_what_it_scales(name):
    model, batch = trained(name), batch_of()
    read = []
    for gate in gates(model):
        gate.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    logits = of_every_row(model(batch))
    for inputs in read:
        (from_gate,) = torch.autograd.grad(
            inputs[:, 8:].sum(), model.network.embedding.table, allow_unused=True,
            retain_graph=True, materialize_grads=True,
        )  # fmt: skip
        assert (from_gate == 0).all()
    logits.square().sum().backward()
    found = model.network.embedding.table.grad
    assert (found != 0).any()
    # a slow model that detaches has the same gradients, one whose gates read x itself has others
    for attached in (False, True):
        again = copy.deepcopy(model)
        again.zero_grad()
        expected = slow.logits(again, batch, attached=attached)
        torch.testing.assert_close(logits, expected, **NEAR)
        expected.square().sum().backward()
        same = torch.allclose(found, again.network.embedding.table.grad, rtol=1e-6, atol=1e-9)
        assert same != attached


@pytest.mark.parametrize("name", ["ppnet", "pepnet"])
def test_the_fields_of_prior_are_read_where_they_stand_and_learn_from_the_gates(name):
    model, batch = as_trained(fresh(name, prior=("item",))), batch_of()
    assert model.columns.tolist() == [3, 4, 5]  # after the user's three numbers
    both = fresh(name, prior=("item", "user"))
    assert both.columns.tolist() == [3, 4, 5, 0, 1, 2]
    again = copy.deepcopy(model)
    found, expected = of_every_row(model(batch)), slow.logits(again, batch)
    torch.testing.assert_close(found, expected, **NEAR)
    found.square().sum().backward()
    expected.square().sum().backward()
    one, other = (m.network.embedding.table.grad for m in (model, again))
    torch.testing.assert_close(one, other, **NEAR)
    gate, read = gates(model)[0], []
    gate.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    model(batch)
    (learns,) = torch.autograd.grad(read[0].sum(), model.network.embedding.table)
    moved = (learns != 0).any(1)
    items = 11 + batch.categorical[:, 1].unique()
    assert moved[items].all()
    if name == "ppnet":  # in PEPNet the factors on the inputs depend on the scenario's vector alone
        assert moved.sum() == len(items)


def test_what_cannot_be_read_or_scaled_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"prior names 'shop', .*\(user, item\)"):
        fresh("ppnet", prior=("shop",))
    with pytest.raises(ValueError, match="give tower at least one size"):
        fresh("ppnet", network=lambda schema, **sizes: MMoE(schema, **{**SIZES, "tower": ()}))
    with pytest.raises(ValueError, match="STEM has SeveralInputs"):
        fresh("pepnet", network=STEM, prior=("user",))
    with pytest.raises(ValueError, match="SingleTask has NoneType"):
        fresh("pepnet", network=SingleTask, prior=("user",))


def test_an_unknown_scenario_has_the_vector_0():
    batch = batch_of([SCHEMA.unknown_scenario] * 6)
    for name in GATED:
        model = trained(name).eval()
        before = of_every_row(model(batch))
        with torch.no_grad():
            model.vectors.table.mul_(7)
        assert torch.equal(of_every_row(model(batch)), before)
        with torch.no_grad():
            model.vectors.table.zero_()
        known = batch_of([3] * 6)
        known.scenario = torch.full((6,), 3)
        embedding = model.network.embedding.table
        with torch.no_grad():
            embedding[17 + 3] = embedding[17 + SCHEMA.unknown_scenario]
        torch.testing.assert_close(of_every_row(model(known)), before, **NEAR)
