"""HAMUR: adapters with the weights of one hyper-network."""

import pytest
import torch

from mtlkit.models import HAMUR, SharedBottom
from mtlkit.models.adapt.hamur import Adapter
from mtlkit.train import seeded
from tests import tiny
from tests.models.adapt.hyper import NAMES, SIZES, assert_equals_a_loop, batch_of, make, set_of


def loop(model, x, s):
    """One row: the weights of every adapter written out."""
    z = set_of(model, s, model.vectors.table)
    if model.condition.rows:
        z = torch.cat([z, x.detach()])
    first, _, last = model.hyper
    core = last.weight @ torch.relu(first.weight @ z + first.bias) + last.bias
    core = core.reshape(model.rank, model.rank)

    def adapted(own, h):
        down = own.U[0] @ core @ own.V[0]  # (width, inner)
        up = own.U[1] @ core @ own.V[1]
        inside = torch.sigmoid(h @ down + own.biases[0]) @ up + own.biases[1]
        spread = torch.sqrt(((inside - inside.mean()) ** 2).mean() + 1e-5)
        return h + own.scale * (inside - inside.mean()) / spread + own.shift

    h = x
    bottom = list(model.network.bottom)
    for layer, after in zip(bottom[::2], bottom[1::2], strict=True):
        h = adapted(after[1], torch.relu(layer.weight @ h + layer.bias))
    logits = {}
    for task, tower in zip(model.schema.tasks, model.network.towers, strict=True):
        hidden, after, output = tower
        own = adapted(after[1], torch.relu(hidden.weight @ h + hidden.bias))
        logits[task.name] = output.weight @ own + output.bias
    return logits


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("scenarios", "number"), [(2, 24), (3, 1), (12, 30)])
def test_it_equals_whole_weights_row_by_row(rows, scenarios, number):
    model = make("hamur", scenarios, rows=rows, rank=3, inner=5)
    assert_equals_a_loop(model, batch_of(scenarios, number), loop)


@pytest.mark.parametrize("rows", [False, True])
def test_silent_adapters_give_the_plain_network_to_the_last_digit(rows):
    batch, model = batch_of(), make("hamur", rows=rows, start=True)
    with seeded(4):
        plain = SharedBottom(tiny.schema(*NAMES, scenarios=3), **SIZES).double()
    for task, logits in plain(batch).items():
        assert torch.equal(model(batch)[task], logits)


def test_one_hyper_network_is_asked_once_a_step_of_the_network():
    for rows, made in ((False, 4), (True, 24)):
        model, seen = make("hamur", rows=rows), []
        model.hyper.register_forward_hook(lambda *call, to=seen: to.append(len(call[2])))
        model(batch_of())
        assert seen == [made] * 2  # representation and towers
    adapters = [m for m in model.modules() if isinstance(m, Adapter)]
    assert len(adapters) == 2 + 3


def test_the_hyper_network_belongs_to_all_tasks_and_an_adapter_of_a_tower_to_one():
    model = make("hamur")
    own = {id(p) for p in model.task_parameters("click")}
    adapter = model.network.towers[0][1][1]
    assert all(id(p) in own for p in adapter.parameters())
    shared = {id(p) for p in model.shared_parameters()}
    assert all(id(p) in shared for p in (*model.hyper.parameters(), model.vectors.table))


def test_the_row_steers_without_a_gradient_to_its_inputs():
    batch, model = batch_of(), make("hamur")
    x = model.embed(batch).detach().requires_grad_()
    (found,) = torch.autograd.grad(model.outputs(x, batch)["click"].sum(), x)
    z = torch.cat([model.vectors.every("table")[batch.scenario], x.detach()], dim=1)
    core = model.conditions(z).detach()
    model.conditions = lambda _: core  # the same cores as constants
    (expected,) = torch.autograd.grad(model.outputs(x, batch)["click"].sum(), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["rank", "inner", "vector", "hyper"])
def test_a_number_below_1_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        HAMUR(tiny.schema("click"), **{name: 0})


def test_without_a_hidden_layer_there_is_nothing_to_adapt():
    with pytest.raises(ValueError, match="give hidden or tower at least one size"):
        HAMUR(tiny.schema("click"), hidden=(), tower=())
