"""Which weights a run ends with: one epoch for a model that shares, one a task for others."""

import math

import pytest
import torch

from mtlkit.models import SharedBottom, SingleTask
from mtlkit.train import evaluate, fit, main_metric, seeded
from mtlkit.train.best import BestWeights
from tests import tiny

SIZES = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
NAMES = ("click", "dwell", "orders")
CONSTANT = {  # a rate that stays makes the best epochs differ, and a part of a run like the whole
    "epochs": 8, "batch_size": 32, "learning_rate": 0.02, "schedule": "constant", "device": "cpu",
    "progress": False,
}  # fmt: skip


def tables():
    schema = tiny.schema(*NAMES)
    return tiny.table(schema, 300, seed=1), tiny.table(schema, 200, seed=2)


def model_for(table, kind=SingleTask, **more):
    with seeded(3):
        return kind(table.schema, **SIZES, **more)


def run(table, validation, kind=SingleTask, **options):
    model = model_for(table, kind)
    return model, fit(model, table, validation, **(CONSTANT | options))


def test_each_separate_network_ends_with_its_own_best_epoch():
    table, validation = tables()
    model, history = run(table, validation)
    assert len(set(history.best_epochs.values())) > 1  # they do differ here
    found = evaluate(model, validation)
    for name in NAMES:
        metric, sign = main_metric(table.schema.task(name))
        values = [sign * row["validation"][name][metric] for row in history.rows]
        assert history.best_epochs[name] == values.index(max(values))
        assert sign * found[name][metric] == pytest.approx(max(values), rel=1e-6)
    assert history.best_epoch == max(history.best_epochs.values())


def test_separate_networks_stop_apart_unless_they_are_told_to_stop_as_one():
    table, validation = tables()
    apart = SingleTask(table.schema)
    assert apart.separate and not SingleTask(table.schema, own_stop=False).separate
    assert not SharedBottom(table.schema).separate
    model = model_for(table, own_stop=False)
    history = fit(model, table, validation, **CONSTANT)
    assert history.best_epochs is None
    scores = [row["score"] for row in history.rows]
    assert history.best_epoch == scores.index(max(scores))
    found, chosen = evaluate(model, validation), history.rows[history.best_epoch]["validation"]
    for name in NAMES:
        metric, sign = main_metric(table.schema.task(name))
        assert found[name][metric] == pytest.approx(chosen[name][metric], rel=1e-6)
    _, own = run(table, validation)  # the same run but for the stop: none is worse, one is better
    gains = []
    for name in NAMES:
        metric, sign = main_metric(table.schema.task(name))
        best = own.rows[own.best_epochs[name]]["validation"][name][metric]
        gains.append(sign * (best - chosen[name][metric]))
    assert min(gains) >= 0 and max(gains) > 0


def test_networks_together_end_where_each_would_alone():
    table, validation = tables()
    model, history = run(table, validation)
    for place, name in enumerate(NAMES):
        alone = model_for(table).networks[place]
        single = fit(alone, table.select_tasks([name]), validation.select_tasks([name]), **CONSTANT)
        assert single.best_epoch == history.best_epochs[name]
        for a, b in zip(alone.parameters(), model.networks[place].parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_model_that_shares_stops_as_one():
    table, validation = tables()
    _, history = run(table, validation, SharedBottom)
    scores = [row["score"] for row in history.rows]
    assert history.best_epochs is None and history.best_epoch == scores.index(max(scores))


def test_patience_waits_for_the_last_task_that_still_gets_better():
    table, validation = tables()
    _, history = run(table, validation, epochs=30, patience=2)
    assert len(history.rows) in (history.best_epoch + 3, 30)


def test_without_validation_the_last_weights_stay():
    table, _ = tables()
    model = model_for(table)
    history = fit(model, table, epochs=3, batch_size=64, device="cpu", progress=False)
    assert history.best_epoch == 2 and set(history.best_epochs.values()) == {2}


def test_an_undefined_metric_keeps_the_last_weights_of_that_task_alone():
    table, _ = tables()
    best = BestWeights(model_for(table))
    metrics = {
        "click": {"auc": 0.7}, "dwell": {"r2_log": math.nan}, "orders": {"poisson_deviance": 1.0}
    }  # fmt: skip
    best.offer(0, 1.0, metrics)
    best.offer(1, 1.0, metrics | {"click": {"auc": 0.6}})
    assert best.epochs == {"click": 0, "dwell": 1, "orders": 0}


def test_resume_refuses_a_run_that_stopped_in_the_other_way(tmp_path):
    table, validation = tables()
    file = tmp_path / "run.pt"
    run(table, validation, checkpoint=file, max_steps=12)
    together = SingleTask(table.schema, **SIZES, own_stop=False)
    with pytest.raises(ValueError, match="networks stop apart is True, here it is False"):
        fit(together, table, validation, checkpoint=file, resume=True, **CONSTANT)


@pytest.mark.parametrize("kind", [SingleTask, SharedBottom])
def test_a_resumed_run_remembers_its_best(tmp_path, kind):
    table, validation = tables()
    whole, expected = run(table, validation, kind)
    file = tmp_path / "run.pt"
    run(table, validation, kind, checkpoint=file, max_steps=53)
    again, history = run(table, validation, kind, checkpoint=file, resume=True)
    assert (history.best_epoch, history.best_epochs) == (expected.best_epoch, expected.best_epochs)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
