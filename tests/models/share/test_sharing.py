"""Limit cases that tie the architectures to each other."""

import torch

from mtlkit.models import MMoE, SharedBottom, SingleTask
from tests import tiny

SIZES = {"embedding_dim": 4, "hidden": (6, 5), "tower": (3,)}


def copy_bottom_into_expert(bottom, bank, expert=0):
    linears = [m for m in bottom if isinstance(m, torch.nn.Linear)]
    for layer, linear in enumerate(linears):
        bank.weights[layer].data[expert] = linear.weight.data.T
        bank.biases[layer].data[expert, 0] = linear.bias.data


def assert_same_outputs(a, b, batch):
    x, y = a(batch), b(batch)
    for name in x:
        torch.testing.assert_close(x[name], y[name])


def test_one_expert_mmoe_equals_shared_bottom():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema))
    one, shared = MMoE(schema, experts=1, **SIZES), SharedBottom(schema, **SIZES)
    one.embedding.load_state_dict(shared.embedding.state_dict())
    one.towers.load_state_dict(shared.towers.state_dict())
    copy_bottom_into_expert(shared.bottom, one.experts)
    assert_same_outputs(one, shared, batch)
    one.losses(one(batch), batch).sum().backward()
    shared.losses(shared(batch), batch).sum().backward()
    torch.testing.assert_close(one.embedding.table.grad, shared.embedding.table.grad)
    torch.testing.assert_close(one.experts.weights[0].grad[0].T, shared.bottom[0].weight.grad)
    assert all(gate.linear.weight.grad.abs().max() < 1e-6 for gate in one.gates)


def test_permuting_experts_leaves_every_output_unchanged():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema))
    model, permuted = MMoE(schema, experts=4, **SIZES), MMoE(schema, experts=4, **SIZES)
    for gate in model.gates:
        torch.nn.init.normal_(gate.linear.weight)
    permuted.load_state_dict(model.state_dict())
    order = torch.tensor([2, 0, 3, 1])
    for weights in (*permuted.experts.weights, *permuted.experts.biases):
        weights.data = weights.data[order]
    for gate in permuted.gates:
        gate.linear.weight.data = gate.linear.weight.data[order]
    assert_same_outputs(model, permuted, batch)


def test_uniform_gate_feeds_the_mean_of_the_experts_to_the_tower():
    schema = tiny.schema("click", "orders")
    batch = tiny.all_rows(tiny.table(schema))
    model = MMoE(schema, experts=3, **SIZES)
    for gate in model.gates:
        torch.nn.init.zeros_(gate.linear.weight)
        gate.requires_grad_(False)
    x = model.embed(batch)
    mean = model.experts(x).mean(0)
    logits = model(batch)
    for tower, name in zip(model.towers, schema.task_names, strict=True):
        torch.testing.assert_close(logits[name], tower(mean).squeeze(1))


def test_gates_of_two_tasks_differ_in_what_they_read():
    schema = tiny.schema("click", "orders")
    batch = tiny.all_rows(tiny.table(schema))
    model = MMoE(schema, experts=2, **SIZES)
    # task 0 listens to expert 0 only, task 1 to expert 1 only: the other expert gets no gradient
    x = model.embed(batch).detach()
    with torch.no_grad():
        model.gates[0].linear.weight.copy_(torch.stack([x.sign().mean(0), -x.sign().mean(0)]) * 1e4)
    gate = model.gates[0](x)
    assert set(gate.detach().round().unique().tolist()) <= {0.0, 1.0}
    model.losses(model(batch), batch)[0].backward()
    silent = [e for e in range(2) if gate[:, e].max() == 0]
    for e in silent:
        assert model.experts.weights[0].grad[e].abs().sum() == 0
    assert model.experts.weights[0].grad.abs().sum() > 0


def test_single_task_networks_share_no_parameter_and_equal_separate_models():
    schema = tiny.schema("click", "category", "orders")
    table = tiny.table(schema)
    batch = tiny.all_rows(table)
    model = SingleTask(schema, **SIZES)
    assert model.shared_parameters() == []
    assert model.parameter_count()["shared"] == 0
    logits = model(batch)
    for i, name in enumerate(schema.task_names):
        alone = SharedBottom(schema.select(name), **SIZES)
        network = model.networks[i]
        alone.embedding.load_state_dict(network.embedding.state_dict())
        alone.bottom.load_state_dict(network.bottom.state_dict())
        alone.towers[0].load_state_dict(network.towers[0].state_dict())
        torch.testing.assert_close(logits[name], alone(batch)[name])
        assert len(model.task_parameters(name)) == len(list(alone.parameters()))
