"""AITM: its equations by hand, the calibrator, and the contract of conditional logits."""

import numpy as np
import pytest
import torch

from mtlkit.losses.chain import log_joint
from mtlkit.models import AITM, JointHeads
from tests import chains, tiny
from tests.chains import NETWORK, moved


def make(calibrator=0.6, rows=40, complete=True, names=(), spread=1.0, seed=3):
    torch.manual_seed(seed)  # one that shows both cases where a test needs them
    schema = chains.schema(*names)
    batch = tiny.all_rows(chains.table(schema, rows, complete=complete))
    model = AITM(schema, NETWORK, width=4, calibrator=calibrator)
    with torch.no_grad():
        for head in model.heads:
            head.weight *= spread
            head.bias += torch.randn(head.bias.shape)
        for embedding in model.embeddings():
            embedding.table *= 100 * spread  # rows that differ
    return model, batch


def numbers(module):
    return {k: v.detach().double().numpy() for k, v in module.named_parameters()}


def linear(x, layer):
    parts = numbers(layer)
    return x @ parts["weight"].T + parts["bias"]


def test_the_forward_pass_equals_one_written_by_hand():
    model, batch = make(names=("click", "purchase", "return"))
    with torch.no_grad():
        logits = model(batch)
        shared = model.represent(model.embed(batch), batch)
        towers = [tower(shared[0]).double().numpy() for tower in model.network.towers]
    z = np.maximum(towers[0], 0)
    raw = [linear(z, model.heads[0])[:, 0]]
    for i in (1, 2):
        transfer = model.transfers[i - 1]
        p, q = np.maximum(linear(z, transfer.hand_on), 0), np.maximum(towers[i], 0)
        score = [
            (linear(u, transfer.h2) * linear(u, transfer.h3)).sum(1) / np.sqrt(4) for u in (p, q)
        ]
        e = np.exp(np.stack(score) - np.max(score, axis=0))
        w = e / e.sum(0)
        z = w[0][:, None] * linear(p, transfer.h1) + w[1][:, None] * linear(q, transfer.h1)
        raw.append(linear(z, model.heads[i])[:, 0])
    np.testing.assert_allclose(logits["click"], raw[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits["joint purchase"], raw[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits["joint return"], raw[2], rtol=1e-4, atol=1e-5)


def test_conditional_logits_are_ratios_of_joint_ones_and_at_most_nearly_one():
    model, batch = make(rows=200, spread=4.0, seed=3)
    logits, joint = model(batch), model.predict_joint(batch)
    ratio = joint["purchase"] / joint["click"]
    assert (ratio > 1.01).any() and (ratio < 0.99).any()  # both cases are there
    expected = ratio.clamp(max=1 - 1e-6)
    torch.testing.assert_close(logits["purchase"].sigmoid(), expected, rtol=1e-4, atol=1e-6)
    assert all(z.isfinite().all() for z in logits.values())
    ordered = log_joint(model.schema, logits)
    assert (ordered["return"] <= ordered["purchase"]).all()
    # the product of the conditional ones is the least of the joint ones along the path
    least = torch.stack([joint["click"], joint["purchase"], joint["return"]]).amin(0)
    assert (
        (joint["purchase"] > joint["click"]).logical_and(joint["return"] < joint["purchase"]).any()
    )
    torch.testing.assert_close(ordered["return"].exp(), least, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_joint_cross_entropy_plus_the_calibrator():
    with_it, batch = make(calibrator=0.6, rows=100, spread=2.0, seed=6)
    logits = with_it(batch)
    label = batch.labels[:, 0] * batch.labels[:, 2]
    p, parent = logits["joint purchase"].sigmoid(), logits["click"].sigmoid()
    entropy = -(label * p.log() + (1 - label) * (1 - p).log()).mean()
    excess = (p - parent).clamp(min=0).mean()
    assert excess > 0
    torch.testing.assert_close(with_it.losses(logits, batch)[2], entropy + 0.6 * excess)
    with_it.calibrator = 0.0
    torch.testing.assert_close(with_it.losses(logits, batch)[2], entropy)


def test_the_calibrator_alone_brings_the_heads_into_order():
    model, batch = make(calibrator=100.0, rows=100)
    before = model.predict_joint(batch)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model.losses(model(batch), batch).sum().backward()
        optimizer.step()
    after = model.predict_joint(batch)
    for child, parent in (("purchase", "click"), ("return", "purchase"), ("cart", "click")):
        assert (after[child] - after[parent]).max() < 0.02
    assert any((before[c] > before["click"] + 0.02).any() for c in ("purchase", "cart"))


def test_information_flows_down_the_chain_and_never_up():
    model, batch = make(calibrator=0.0)
    losses = model.losses(model(batch), batch)
    for name, reached in {
        "click": {"click"},
        "purchase": {"click", "purchase"},
        "return": {"click", "purchase", "return"},
        "dwell": {"click", "dwell"},
    }.items():
        model.zero_grad(set_to_none=True)
        losses[model.schema.task_index(name)].backward(retain_graph=True)
        assert {n for n in model.schema.task_names if moved(model.task_parameters(n))} == reached


def test_the_calibrator_lifts_the_parent_where_the_child_is_above_it():
    model, batch = make(calibrator=1.0, names=("click", "purchase"))
    z = {k: v.detach() for k, v in model(batch).items()}
    z["click"] = torch.full((40,), -2.0, requires_grad=True)
    z["joint purchase"] = torch.full((40,), 1.0, requires_grad=True)
    model.losses(z, batch)[1].backward()
    assert (z["click"].grad < 0).all()  # a step against it makes the click more likely


def test_joint_heads_are_aitm_without_the_transfer():
    schema = chains.schema("click", "purchase")
    batch = tiny.all_rows(chains.table(schema, 40, complete=True))
    model = JointHeads(schema, NETWORK)
    raw = model.network(batch)
    logits = model(batch)
    assert torch.equal(logits["joint purchase"], raw["purchase"])
    p, parent = raw["purchase"].sigmoid(), raw["click"].sigmoid()
    label = batch.labels[:, 1]
    entropy = torch.nn.functional.binary_cross_entropy(p, label)
    expected = entropy + 0.6 * (p - parent).clamp(min=0).mean()
    torch.testing.assert_close(model.losses(logits, batch)[1], expected)
    model.calibrator = 0.0
    model.losses(model(batch), batch)[1].backward()
    assert not moved(model.task_parameters("click"))


@pytest.mark.parametrize("options", [{"width": 1}, {"calibrator": -0.1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError):
        AITM(chains.schema(), **options)
