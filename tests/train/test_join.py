"""One model over several tables: trained, balanced, resumed and evaluated like any other."""

import math
from functools import partial

import pytest
import torch

from mtlkit import ESMM, Market, MMoE, SharedBottom, SingleTask, evaluate, fit
from mtlkit.balance import EVERY_BALANCER, Curriculum, DecaySchedule, FixedWeights, MetaBalance
from mtlkit.comparison import compare
from mtlkit.data import Join, join_splits, split_random
from mtlkit.layers import JoinedEmbedding
from mtlkit.models import Constant
from mtlkit.train import seeded

SIZES = {"embedding_dim": 3, "hidden": (12, 8), "tower": (6,)}
SHARED = {"item": ("log.item", "demand.item")}
OWN = {
    "fixed": lambda: FixedWeights({"log.click": 2.0}),
    "schedule": lambda: DecaySchedule({"log.click": (2.0, 0.9)}, every="step"),
    "metabalance": lambda: MetaBalance("log.click"),
}


@pytest.fixture(scope="module")
def tables():
    market = Market("tiny")
    return {
        "log": market.impressions(400).select_tasks(["click", "purchase", "dwell"]),
        "products": market.products(),
        "demand": market.demand(5),
    }


@pytest.fixture(scope="module")
def joined(tables):
    item = tables["log"].schema.categorical_names
    assert "item" in item and "item" in tables["demand"].schema.categorical_names
    return Join(tables, shared=SHARED)


def model_for(joined, kind=SharedBottom, seed=0):
    with seeded(seed):
        return kind(joined.schema, **SIZES)


def test_a_batch_trains_its_own_tables_tasks_and_entrance_alone(joined):
    model = model_for(joined)
    assert isinstance(model.embedding, JoinedEmbedding)
    for batch in joined.batches(64, shuffle=True, seed=1):
        model.zero_grad(set_to_none=True)
        model.losses(model(batch), batch).sum().backward()
        place = list(joined.tables).index(batch.table)
        for i, entrance in enumerate(model.embedding.entrances):
            assert (entrance.weight.grad is not None) == (i == place)
        for name in joined.schema.task_names:
            moved = [p.grad is not None and bool(p.grad.any()) for p in model.task_parameters(name)]
            assert not any(moved) or name.startswith(f"{batch.table}.")


def test_shared_fields_read_the_same_rows_and_no_others_do(joined, tables):
    embedding = model_for(joined).embedding
    log, demand = embedding.layouts[0], embedding.layouts[2]
    assert log.field_starts["item"] == demand.field_starts["item"]
    apart = JoinedEmbedding(Join(tables).schema, 3)
    assert apart.layouts[0].field_starts["item"] != apart.layouts[2].field_starts["item"]
    items = next(f.size for f in tables["log"].schema.categorical if f.name == "item")
    assert len(apart.table) - len(embedding.table) == items
    ranges = [
        range(layout.field_starts[f.name], layout.field_starts[f.name] + f.size)
        for layout, table in zip(embedding.layouts, tables.values(), strict=True)
        for f in table.schema.categorical
        if (layout is log) or f.name != "item"
    ]
    rows = [row for part in ranges for row in part]
    assert len(rows) == len(set(rows))


def test_a_batch_that_names_no_table_is_refused(joined, tables):
    model = model_for(joined)
    with pytest.raises(KeyError, match="take batches from the Join"):
        model(tables["log"].batch(torch.arange(3)))


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_every_balancer_trains_a_join(joined, name):
    model = model_for(joined, MMoE)
    history = fit(
        model, joined, epochs=1, batch_size=64, balancer=OWN.get(name, EVERY_BALANCER[name])(),
        device="cpu", progress=False,
    )  # fmt: skip
    assert history.steps == joined.batch_count(64)
    assert all(p.isfinite().all() for p in model.parameters())
    assert all(loss == loss for loss in history.rows[0]["train"].values())


@pytest.mark.parametrize("shares", [None, {"log": 3, "products": 1, "demand": 2}])
def test_a_run_over_a_join_resumes_bit_for_bit(tables, tmp_path, shares):
    joined = Join(tables, shares, SHARED)
    options = {
        "epochs": 3, "batch_size": 64, "seed": 4, "device": "cpu", "progress": False,
        "learning_rate": 0.01, "schedule": "constant",
    }  # fmt: skip
    whole = model_for(joined)
    fit(whole, joined, **options)
    for steps in (1, 9, joined.batch_count(64) + 2):
        file = tmp_path / f"{steps}.pt"
        fit(model_for(joined), joined, max_steps=steps, checkpoint=file, **options)
        again = model_for(joined, seed=9)
        fit(again, joined, checkpoint=file, resume=True, **options)
        for a, b in zip(whole.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)


def test_metrics_of_a_join_are_those_of_its_tables(joined, tables):
    model = model_for(joined)
    fit(model, joined, epochs=2, batch_size=64, device="cpu", progress=False)
    found = evaluate(model, joined)
    assert set(found) == set(joined.schema.task_names)
    for name, table in tables.items():
        names = [task for task in joined.schema.task_names if task.startswith(f"{name}.")]
        alone = Join({n: t if n == name else t.take([]) for n, t in tables.items()}, shared=SHARED)
        assert len(alone) == len(table)
        metrics = evaluate(model, alone)
        assert {task: metrics[task] for task in names} == {task: found[task] for task in names}
    by_place = evaluate(model, joined, by_scenario=True)
    assert by_place["products/all"]["products.category"] == found["products.category"]
    assert math.isnan(by_place["products/all"]["log.click"]["auc"])


def test_links_single_tasks_and_constants_know_joins(tables):
    split = join_splits(
        {name: split_random(table, seed=1) for name, table in tables.items()}, shared=SHARED
    )
    schema = split.train.schema
    floor = Constant(split.train)
    assert evaluate(floor, split.test)["demand.units"]["poisson_deviance"] > 0
    found = compare(
        {
            "single": lambda seed: SingleTask(schema, **SIZES),
            "esmm": lambda seed: ESMM(schema, partial(SharedBottom, **SIZES)),
        },
        split, seeds=[0], fit_options={"epochs": 1, "batch_size": 128, "device": "cpu"},
        progress=False, by_scenario=False,
    )  # fmt: skip
    assert set(found.runs["task"].unique()) == set(schema.task_names)


def test_training_together_learns_every_table(tables):
    joined = Join(tables, shared=SHARED)
    history = fit(
        model_for(joined), joined, epochs=8, batch_size=64, learning_rate=0.01, device="cpu",
        progress=False,
    )  # fmt: skip
    first, last = history.rows[0]["train"], history.rows[-1]["train"]
    assert all(last[name] < first[name] for name in first), (first, last)


def test_resume_with_other_shares_is_refused(tables, tmp_path):
    file = tmp_path / "run.pt"
    options = {"epochs": 1, "batch_size": 64, "device": "cpu", "progress": False}
    first = Join(tables, {"log": 3, "products": 1, "demand": 2}, SHARED)
    fit(model_for(first), first, checkpoint=file, max_steps=3, **options)
    other = Join(tables, {"log": 1, "products": 3, "demand": 2}, SHARED)
    with pytest.raises(ValueError, match=r"shares of the tables log is 3\.0, here it is 1\.0"):
        fit(model_for(other), other, checkpoint=file, resume=True, **options)


def test_an_epoch_with_shares_is_complete_and_writes_its_checkpoint(tables, tmp_path):
    joined = Join(tables, {"log": 1000, "products": 1, "demand": 1}, SHARED)
    rule = Curriculum([("log.click",), ("log.purchase",)], length=1)
    file = tmp_path / "run.pt"
    fit(
        model_for(joined), joined, epochs=2, batch_size=64, balancer=rule, checkpoint=file,
        device="cpu", progress=False,
    )  # fmt: skip
    assert file.exists() and rule.time == 2
