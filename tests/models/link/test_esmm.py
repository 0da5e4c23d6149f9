"""ESMM: the paper's formula, and which loss reaches which tower."""

from functools import partial

import torch

from mtlkit.models import ESMM, SharedBottom, SingleTask
from tests import chains, tiny
from tests.chains import NETWORK, SIZES, moved


def make(*names, network=None, rows=40, complete=True):
    schema = chains.schema(*names)
    batch = tiny.all_rows(chains.table(schema, rows, complete=complete))
    return ESMM(schema, partial(network or SharedBottom, **SIZES)), batch


def test_two_tasks_are_the_papers_formula_in_probability_space():
    model, batch = make("click", "purchase", rows=200)
    model = model.double()
    logits = model(batch)
    ctr, cvr = logits["click"].sigmoid(), logits["purchase"].sigmoid()
    click, bought = batch.labels.double().unbind(1)  # 0 where not observed: click & buy is 0 there
    ctcvr = ctr * cvr
    expected = [
        -(y * p.log() + (1 - y) * (1 - p).log()).mean() for y, p in ((click, ctr), (bought, ctcvr))
    ]
    torch.testing.assert_close(model.losses(logits, batch), torch.stack(expected))


def test_all_three_probabilities_are_there():
    model, batch = make()
    conditional, joint = model.predict(batch), model.predict_joint(batch)
    assert set(joint) == {"click", "cart", "purchase", "return"}
    torch.testing.assert_close(joint["click"], conditional["click"])
    ctcvr = conditional["click"] * conditional["purchase"]
    torch.testing.assert_close(joint["purchase"], ctcvr)
    torch.testing.assert_close(joint["return"], ctcvr * conditional["return"])
    assert not joint["return"].requires_grad


def test_the_purchase_loss_reaches_the_click_tower_and_the_click_loss_no_other():
    model, batch = make()
    losses = model.losses(model(batch), batch)
    for name, reached in {
        "click": {"click"},
        "cart": {"click", "cart"},
        "purchase": {"click", "purchase"},
        "return": {"click", "purchase", "return"},
        "dwell": {"dwell"},
    }.items():
        model.zero_grad(set_to_none=True)
        losses[model.schema.task_index(name)].backward(retain_graph=True)
        assert {n for n in model.schema.task_names if moved(model.task_parameters(n))} == reached
        assert moved(e.table for e in model.embeddings())


def test_the_conversion_head_learns_on_impressions_without_a_click():
    model, batch = make("click", "purchase")
    logits = model(batch)
    model.losses(logits, batch)
    z = {name: value.detach().requires_grad_() for name, value in logits.items()}
    model.losses(z, batch)[1].backward()
    assert (z["purchase"].grad != 0).all()
    plain = SharedBottom(model.schema, **SIZES)
    y = {name: value.detach().requires_grad_() for name, value in logits.items()}
    plain.losses(y, batch)[1].backward()
    assert torch.equal(y["purchase"].grad != 0, batch.observed[:, 1])


def test_the_default_network_is_a_shared_embedding_with_a_tower_each():
    model = ESMM(chains.schema())
    assert isinstance(model.network, SharedBottom)
    shared = model.shared_parameters()
    assert [id(p) for p in shared] == [id(e.table) for e in model.embeddings()]
    widths = [m.out_features for m in model.network.towers[0] if isinstance(m, torch.nn.Linear)]
    assert widths == [128, 64, 32, 1]


def test_without_shared_embeddings_it_is_esmm_ns():
    model, batch = make(network=SingleTask)
    assert model.shared_parameters() == []
    model.losses(model(batch), batch)[2].backward()
    assert moved(model.task_parameters("click")) and moved(model.task_parameters("purchase"))
    assert not moved(model.task_parameters("cart"))


def test_without_chains_the_losses_are_the_sharing_models():
    schema = tiny.schema("click", "category", "orders")
    batch = tiny.all_rows(tiny.table(schema))
    model = ESMM(schema, NETWORK)
    logits = model(batch)
    torch.testing.assert_close(model.losses(logits, batch), model.network.losses(logits, batch))
    assert torch.equal(model.loss_rows(batch), batch.observed)
