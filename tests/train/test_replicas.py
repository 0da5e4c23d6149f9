"""Training several networks at once: each ends where ``fit`` brings it alone."""

import pytest
import torch

from mtlkit.balance import FixedWeights
from mtlkit.models import AdaTT, CrossStitch, MMoE, SharedBottom
from mtlkit.schema import SchemaError
from mtlkit.train import fit, fit_replicas, seeded
from tests import tiny

NAMES = ("click", "category", "rating")
SIZES = {"embedding_dim": 4, "hidden": (8, 5), "tower": (6,)}


def make(kind, seed):
    with seeded(seed):
        return kind(tiny.schema(*NAMES), **SIZES)


def table(seed=0, rows=50):
    return tiny.table(tiny.schema(*NAMES), rows, seed)


def alone(kind, number, rows, **options):
    model = make(kind, number)
    options = {"batch_size": 16, "epochs": 3, "row_prior": None, **options}
    history = fit(model, rows, device="cpu", precision="fp32", progress=False, **options)
    return model, history


WAYS = {
    "adam, falling rate": {},
    "adamw, warm-up": {"optimizer": "adamw", "weight_decay": 0.1, "warmup_steps": 4},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant"},
    "lazy adam": {"optimizer": "lazy_adam", "schedule": "cosine"},
}


@pytest.mark.parametrize("way", WAYS)
def test_each_replica_ends_where_fit_brings_it_alone(way):
    options = {"learning_rate": 0.01, **WAYS[way]}
    for kind in (MMoE, CrossStitch, AdaTT):
        models = [make(kind, number) for number in range(3)]
        seeds, tables = [5, 9, 2], [table(number) for number in range(3)]
        losses = fit_replicas(
            models, tables, seeds=seeds, batch_size=16, epochs=3, device="cpu", **options
        )
        assert losses.shape == (3, 3, 3)
        for number, model in enumerate(models):
            expected, history = alone(kind, number, tables[number], seed=seeds[number], **options)
            for (key, found), wanted in zip(
                model.named_parameters(), expected.parameters(), strict=True
            ):
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5, msg=key)
            assert not model.training
            for epoch, row in enumerate(history.rows):
                mine = dict(zip(NAMES, losses[epoch, number].tolist(), strict=True))
                assert mine == pytest.approx(row["train"], rel=1e-4)


def test_every_replica_has_its_own_weights_of_tasks():
    weights = [[1.0, 0.0, 0.0], [0.5, 2.0, 0.1]]
    models = [make(MMoE, 0) for _ in weights]
    fit_replicas(models, table(), seeds=[0, 0], task_weights=weights, batch_size=16, epochs=3)
    for model, own in zip(models, weights, strict=True):
        rule = FixedWeights(dict(zip(NAMES, own, strict=True)))
        expected, _ = alone(MMoE, 0, table(), balancer=rule)
        for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5)
    untouched, start = models[0].towers.of("rating"), make(MMoE, 0).towers.of("rating")
    for found, wanted in zip(untouched.parameters(), start.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_the_losses_are_the_means_of_each_epoch():
    models = [make(SharedBottom, number) for number in range(2)]
    start = [make(SharedBottom, number) for number in range(2)]
    found = fit_replicas(models, table(), epochs=1, batch_size=64)
    whole = tiny.all_rows(table())
    for number, model in enumerate(start):  # one batch: the losses before its step
        torch.testing.assert_close(found[0, number], model.losses(model(whole), whole).detach())
    assert fit_replicas(models, table(), epochs=0).shape == (0, 2, 3)


def test_what_does_not_fit_is_refused_by_name():
    models = [make(SharedBottom, number) for number in range(2)]
    with pytest.raises(ValueError, match="seeds has 3 entries; there are 2 models"):
        fit_replicas(models, table(), seeds=[1, 2, 3])
    with pytest.raises(ValueError, match="train has 1 entries; there are 2 models"):
        fit_replicas(models, [table()])
    with pytest.raises(ValueError, match="same number of rows, not 50, 40"):
        fit_replicas(models, [table(), table(rows=40)])
    with pytest.raises(ValueError, match=r"task_weights has the shape \(2,\); it must be \(3,\)"):
        fit_replicas(models, table(), task_weights=[1.0, 1.0])


def test_a_table_that_fit_refuses_is_refused_here():
    models = [make(SharedBottom, number) for number in range(2)]
    other = tiny.table(tiny.schema("category", "click", "rating"))
    for call in (
        lambda: fit(models[0], other),
        lambda: fit_replicas(models, [table(rows=40), other]),
    ):
        with pytest.raises(SchemaError, match="The train table has the tasks category, click"):
            call()
    with pytest.raises(ValueError, match="epochs must be 0 or more"):
        fit_replicas(models, table(), epochs=-1)


def test_a_loss_that_is_not_finite_names_task_and_replica():
    models = [make(SharedBottom, number) for number in range(2)]
    with torch.no_grad():
        models[1].towers.of("rating")[0].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="task 'rating' of replica 1 is nan in epoch 1"):
        fit_replicas(models, table(), epochs=1)
