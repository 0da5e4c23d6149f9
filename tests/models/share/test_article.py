"""The article's network against the same mathematics written out in NumPy, forward and backward."""

import numpy as np
import pytest
import torch

from mtlkit.data.table import Table
from mtlkit.models import ArticleNetwork
from mtlkit.schema import Dense, Schema, Task

ROWS = 9


@pytest.fixture
def setting():
    schema = Schema((Task("category"), Task("price_band")), dense=(Dense("picture", 784),))
    generator = torch.Generator().manual_seed(3)
    observed = torch.rand(ROWS, 2, generator=generator) < 0.7
    labels = (torch.rand(ROWS, 2, generator=generator) < 0.5).float() * observed
    table = Table(
        schema,
        torch.zeros(ROWS, 0, dtype=torch.int64),
        torch.rand(ROWS, 784, generator=generator),
        {},
        labels,
        observed,
        torch.zeros(ROWS, dtype=torch.int64),
    )
    torch.manual_seed(0)
    model = ArticleNetwork(schema).double()
    batch = table.batch(torch.arange(ROWS))
    batch.dense = batch.dense.double()
    return model, batch


def by_hand(model, batch):
    """Losses and every gradient of L = L_1 + L_2, in NumPy."""
    x = batch.dense.numpy()  # (batch, 784)
    y, m = batch.labels.numpy().astype(float), batch.observed.numpy().astype(float)
    v, c = (p.detach().numpy() for p in (model.encoder[0].weight, model.encoder[0].bias))
    w = np.stack([head[0].weight.detach().numpy()[0] for head in model.heads])  # (task, 128)
    b = np.array([head[0].bias.item() for head in model.heads])  # (task,)
    before = x @ v.T + c  # (batch, 128)
    z = np.maximum(before, 0)
    p = 1 / (1 + np.exp(-(z @ w.T + b)))  # (batch, task)
    losses = -(m * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum(0) / m.sum(0)
    d_logit = m * (p - y) / m.sum(0)  # (batch, task)
    d_before = (d_logit @ w) * (before > 0)  # (batch, 128)
    gradients = {
        "encoder.0.weight": d_before.T @ x,
        "encoder.0.bias": d_before.sum(0),
        "heads.0.0.weight": (d_logit.T @ z)[:1],
        "heads.1.0.weight": (d_logit.T @ z)[1:],
        "heads.0.0.bias": d_logit.sum(0)[:1],
        "heads.1.0.bias": d_logit.sum(0)[1:],
    }
    return p, losses, gradients


def test_article_network_equals_numpy_forward_and_backward(setting):
    model, batch = setting
    p, losses, gradients = by_hand(model, batch)
    logits = model(batch)
    predicted = model.predict(batch)
    np.testing.assert_allclose(
        np.stack([predicted[n].numpy() for n in model.schema.task_names], 1), p, rtol=1e-10
    )
    computed = model.losses(logits, batch)
    np.testing.assert_allclose(computed.detach().numpy(), losses, rtol=1e-10)
    computed.sum().backward()
    named = dict(model.named_parameters())
    assert set(named) == set(gradients)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            named[name].grad.numpy(), gradient, rtol=1e-9, atol=1e-13, err_msg=name
        )


def test_article_network_has_the_article_s_sizes(setting):
    model, _ = setting
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["encoder.0.weight"] == (128, 784)
    assert shapes["heads.0.0.weight"] == shapes["heads.1.0.weight"] == (1, 128)
    assert model.parameter_count() == {
        "embedding": 0,
        "shared": 784 * 128 + 128,
        "scenarios": 0,
        "tasks": 2 * 129,
        "total": 784 * 128 + 128 + 2 * 129,
    }


def test_missing_label_gives_no_gradient_to_that_head(setting):
    model, batch = setting
    batch.observed[:, 1] = False
    model.losses(model(batch), batch).sum().backward()
    assert model.heads[1][0].weight.grad.abs().sum() == 0
    assert model.heads[1][0].bias.grad.abs().sum() == 0
    assert model.heads[0][0].weight.grad.abs().sum() > 0


def test_one_missing_row_changes_only_that_head(setting):
    model, batch = setting
    row = int(batch.observed[:, 1].nonzero()[0])
    model.losses(model(batch), batch).sum().backward()
    before = [head[0].weight.grad.clone() for head in model.heads]
    model.zero_grad()
    batch.observed[row, 1] = False
    model.losses(model(batch), batch).sum().backward()
    assert torch.equal(model.heads[0][0].weight.grad, before[0])
    assert not torch.equal(model.heads[1][0].weight.grad, before[1])


def test_encode_is_the_shared_representation(setting):
    model, batch = setting
    z = model.encode(batch.dense)
    assert z.shape == (ROWS, 128) and (z >= 0).all()
    for head, name in zip(model.heads, model.schema.task_names, strict=True):
        torch.testing.assert_close(head(z).squeeze(1), model(batch)[name])
