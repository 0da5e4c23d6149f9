"""DBMTL: who reads whom."""

import pytest
import torch

from mtlkit.losses import task_losses
from mtlkit.models import DBMTL
from mtlkit.schema import SchemaError
from tests import chains, tiny
from tests.chains import NETWORK, moved


def make(**options):
    schema = chains.schema()
    batch = tiny.all_rows(chains.table(schema, 40, complete=True))
    return DBMTL(schema, NETWORK, width=4, relation=(5,), **options), batch


def reached(model, batch):
    """{task: the tasks whose own parameters its loss moves}."""
    losses = model.losses(model(batch), batch)
    result = {}
    for i, name in enumerate(model.schema.task_names):
        model.zero_grad(set_to_none=True)
        losses[i].backward(retain_graph=True)
        result[name] = {n for n in model.schema.task_names if moved(model.task_parameters(n))}
    return result


def test_a_head_reads_its_own_tower_and_the_relation_outputs_of_its_parents():
    model, batch = make()
    with torch.no_grad():
        logits = model(batch)
        towers = [t(model.represent(model.embed(batch), batch)[0]) for t in model.network.towers]
        relation, head = model.relations, model.heads
        click = relation[0](towers[0].relu())
        purchase = relation[2](torch.cat([towers[2].relu(), click], dim=1))
        back = relation[3](torch.cat([towers[3].relu(), purchase], dim=1))
    torch.testing.assert_close(logits["click"], head[0](click)[:, 0])
    torch.testing.assert_close(logits["purchase"], head[2](purchase)[:, 0])
    torch.testing.assert_close(logits["return"], head[3](back)[:, 0])


def test_losses_reach_parents_and_never_children():
    assert reached(*make()) == {
        "click": {"click"},
        "cart": {"click", "cart"},
        "purchase": {"click", "purchase"},
        "return": {"click", "purchase", "return"},
        "dwell": {"click", "dwell"},
    }


def test_relations_may_be_any_network_without_circles():
    model, batch = make(relations={"purchase": ("click", "cart"), "cart": [], "click": "dwell",
                                   "dwell": ()})  # fmt: skip
    assert reached(model, batch) == {
        "click": {"click", "dwell"},
        "cart": {"cart"},
        "purchase": {"click", "cart", "purchase", "dwell"},
        "return": {"click", "cart", "purchase", "dwell", "return"},
        "dwell": {"dwell"},
    }


def test_the_losses_are_the_conditional_ones_the_likelihood_of_the_bayesian_network():
    model, batch = make()
    logits = model(batch)
    assert list(logits) == list(model.schema.task_names)
    losses = model.losses(logits, batch)
    torch.testing.assert_close(losses, task_losses(model.schema, logits, batch))
    # -log P(click, purchase | x), summed over rows, is the two sums added
    p, q = logits["click"].sigmoid(), logits["purchase"].sigmoid()
    click, bought = batch.labels[:, 0], batch.labels[:, 2]
    whole = torch.where(click == 0, 1 - p, p * torch.where(bought == 1, q, 1 - q))
    rows = batch.observed.sum(0)
    torch.testing.assert_close(-whole.log().sum(), losses[0] * rows[0] + losses[2] * rows[2])


def test_circles_and_unknown_tasks_are_refused():
    with pytest.raises(SchemaError, match="circle"):
        DBMTL(chains.schema(), relations={"click": "cart", "cart": "click"})
    with pytest.raises(SchemaError, match="circle"):
        DBMTL(chains.schema(), relations={"click": "click"})
    with pytest.raises(SchemaError, match="nothing"):
        DBMTL(chains.schema(), relations={"click": "nothing"})
    with pytest.raises(ValueError, match="relation"):
        DBMTL(chains.schema(), relation=())
