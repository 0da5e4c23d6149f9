"""The floor of every comparison, against means taken by hand."""

import numpy as np
import pytest
import torch

from mtlkit.models import Constant
from mtlkit.schema import SchemaError
from mtlkit.train.evaluation import evaluate, predict
from tests import tiny


def test_constant_predicts_what_was_usual_among_observed_training_labels():
    table = tiny.table(tiny.schema(), rows=200)
    found = predict(Constant(table), tiny.table(table.schema, rows=9, seed=1))
    for task in table.schema.tasks:
        labels = table.label(task.name)[table.mask(task.name)].numpy()
        wanted = np.expm1(np.log1p(labels).mean()) if task.log1p else labels.mean()
        if task.kind == "multiclass":
            wanted = [(labels == k).mean() for k in range(task.classes)]
        assert len(found[task.name]) == 9
        wanted = np.broadcast_to(wanted, found[task.name].shape)
        np.testing.assert_allclose(found[task.name], wanted, rtol=1e-5)


def test_constant_ranks_nothing_and_explains_nothing():
    table = tiny.table(tiny.schema("click", "dwell", "rating"), rows=200)
    metrics = evaluate(Constant(table), table)
    assert metrics["click"]["auc"] == 0.5
    assert metrics["click"]["normalized_entropy"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["dwell"]["r2_log"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["rating"]["r2"] == pytest.approx(0.0, abs=1e-5)


def test_no_other_constant_has_a_lower_training_loss():
    table = tiny.table(tiny.schema(), rows=200)
    table.censored = None
    model, batch = Constant(table), tiny.all_rows(table)
    for logits in model.logits:
        logits.requires_grad_(True)
    losses = model.losses(model(batch), batch)
    gradients = torch.autograd.grad(losses.sum(), list(model.logits))
    for task, gradient in zip(table.schema.tasks, gradients, strict=True):
        torch.testing.assert_close(
            gradient, torch.zeros_like(gradient), atol=1e-5, rtol=0, msg=task.name
        )


def test_a_task_that_is_always_negative_keeps_a_finite_logit():
    table = tiny.table(tiny.schema("click"), rows=20)
    table.labels.zero_()
    logits = Constant(table)(tiny.all_rows(table))
    assert torch.isfinite(logits["click"]).all()


def test_constant_needs_at_least_one_label_a_task():
    table = tiny.table(tiny.schema("click"), rows=20)
    table.observed.zero_()
    with pytest.raises(SchemaError, match="'click' has no observed label"):
        Constant(table)
