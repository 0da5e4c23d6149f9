"""What a network's rows pay beside their tasks' losses arrives, whatever stands around it."""

import copy
from functools import partial

import pytest
import torch

from mtlkit.losses import masked_mean
from mtlkit.models import ADAPTING, LINKS, AdaSparse, SharedBottom
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.around import Around
from mtlkit.models.base import extra_name
from tests import tiny
from tests.models import registry

AROUND = [name for name, kind in (LINKS | ADAPTING).items() if issubclass(kind, Around)]
INSIDE = {"adasparse": {"form": "scaling"}}  # without a penalty of its own


class Paying(SharedBottom):
    """Rows pay the square of what the bottom says, times 1, 2, ... for the tasks of its schema."""

    def decode(self, shared, batch):
        squares = shared[0].square().mean(1)  # (batch,)
        names = [extra_name(name) for name in self.schema.task_names]
        self.paid = {name: number * squares for number, name in enumerate(names, 1)}
        return super().decode(shared, batch) | self.paid


def around(name, network):
    schema = registry.schema()
    arguments = registry.ARGUMENTS.get(name, {}) | INSIDE.get(name, {})
    inside = partial(network, **registry.SIZES)
    return (LINKS | ADAPTING)[name](schema, inside, **arguments)


def inside(model, kind):
    return next(m for m in model.modules() if isinstance(m, kind))


def serving(model, task):
    """The heads of the network that serve a task of the model: its own and its helpers'."""
    return [task, *(model.helpers().get(task, ()) if hasattr(model, "helpers") else ())]


def test_what_stands_around_a_network_is_links_and_scenario_models():
    assert set(LINKS) < set(AROUND) and len(AROUND) > len(LINKS) + 10
    assert {name for name in AROUND if name in ADAPTING} == {
        name for name, kind in ADAPTING.items() if issubclass(kind, Adapting)
    }


@pytest.mark.parametrize("name", AROUND)
def test_a_network_s_extra_loss_reaches_the_losses_of_what_stands_around_it(name):
    model, batch = around(name, Paying), tiny.all_rows(registry.table())
    logits = model(batch)
    paid = inside(model, Paying).paid
    bare = {key: z for key, z in logits.items() if not key.endswith("extra loss")}
    assert set(bare) >= set(model.schema.task_names)
    where = model.loss_rows(batch)
    expected = torch.stack(
        [sum(paid[extra_name(head)] for head in serving(model, task))
         for task in model.schema.task_names], dim=1,
    )  # fmt: skip
    expected = torch.where(where, expected, 0.0)
    assert (expected > 0).any(0).all()
    rows = model.row_losses(logits, batch)
    torch.testing.assert_close(rows - model.row_losses(bare, batch), expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(model.losses(logits, batch), masked_mean(rows, where))
    extra = masked_mean(expected, where).sum()
    found, plain = (model.losses(outputs, batch).sum() for outputs in (logits, bare))
    torch.testing.assert_close(found - plain, extra, rtol=1e-3, atol=1e-5)
    weights = list(inside(model, Paying).bottom.parameters())
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, retain_graph=True)])
        for loss in (found, plain, extra)
    ]
    torch.testing.assert_close(gradients[0] - gradients[1], gradients[2], rtol=1e-3, atol=1e-6)
    assert gradients[2].abs().sum() > 0


@pytest.mark.parametrize("name", AROUND)
def test_around_adasparse_the_sparsity_is_paid_in_training_alone(name):
    if name == "one-each":
        with pytest.raises(ValueError, match=r"in AdaSparse .* would stay shared"):
            around(name, AdaSparse)
        return
    model, batch = around(name, AdaSparse), tiny.all_rows(registry.table())
    sparse = inside(model, AdaSparse)
    if isinstance(model, AdaSparse):
        sparse = model.network
    losses = {}
    for penalty in (0.0, 1.0):
        sparse.penalty = penalty
        for mode in (True, False):
            again = copy.deepcopy(model).train(mode)  # statistics of a batch move with every pass
            losses[penalty, mode] = again.losses(again(batch), batch)
    assert (losses[1.0, True] > losses[0.0, True]).all()
    assert torch.equal(losses[1.0, False], losses[0.0, False])


def test_two_models_that_prune_pay_both():
    model, batch = (
        around("esmm", partial(AdaSparse, network=AdaSparse)),
        tiny.all_rows(registry.table()),
    )
    outer, inner = (m for m in model.modules() if isinstance(m, AdaSparse))
    paid = {}
    for one, other in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        outer.penalty, inner.penalty = one, other
        paid[one, other] = model.losses(model(batch), batch)
    both = paid[1.0, 0.0] + paid[0.0, 1.0] - paid[0.0, 0.0]
    torch.testing.assert_close(paid[1.0, 1.0], both)
    assert (paid[1.0, 1.0] > paid[1.0, 0.0]).all()


def test_without_an_extra_loss_the_losses_are_those_of_the_tasks():
    model, batch = (
        SharedBottom(registry.schema(), **registry.SIZES),
        tiny.all_rows(registry.table()),
    )
    logits = model(batch)
    rows = model.row_losses(logits, batch)
    assert not model.has_extra(logits)
    assert model.with_extra(rows, logits, batch) is rows
    logits[extra_name("click")] = torch.full((17,), 2.0)
    more = model.row_losses(logits, batch) - rows
    click = model.schema.task_index("click")
    assert (more[:, click] == 0).sum() == (~batch.observed[:, click]).sum()
    assert not more[:, [i for i in range(model.schema.num_tasks) if i != click]].any()
