"""A split of shards on the disk is trained on, measured and compared like one in memory."""

import shutil

import numpy as np
import pytest

from mtlkit import ShardedTable, SharedBottom, compare, evaluate, fit, predict, write_shards
from mtlkit.comparison import runs
from mtlkit.data import Split, split_random
from mtlkit.data.splits import fit_units
from mtlkit.models import Constant
from mtlkit.shop import Market
from tests import tiny

OPTIONS = {"epochs": 2, "batch_size": 32}


@pytest.fixture(scope="module")
def table():
    return tiny.table(tiny.schema("click", "purchase", "dwell", "units"), rows=400)


@pytest.fixture(scope="module")
def shards(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "shards"
    return ShardedTable(write_shards(table, folder, rows_per_shard=60))


def build(seed):
    schema = tiny.schema("click", "purchase", "dwell", "units")
    return SharedBottom(schema, embedding_dim=4, hidden=(8,), tower=())


def test_a_model_says_and_scores_the_same_on_shards(table, shards):
    model = build(0)
    fit(model, shards, shards, progress=False, **OPTIONS)
    for mine, its in (
        (shards, table),
        *zip(split_random(shards, seed=1), split_random(table, seed=1)),
    ):
        model.schema = mine.schema  # fitted units
        one, other = predict(model, mine), predict(model, its)
        assert all(np.array_equal(one[name], other[name]) for name in other)
        for options in ({}, {"group": "user"}, {"by_scenario": True}, {"joint": True}):
            assert str(evaluate(model, mine, **options)) == str(evaluate(model, its, **options))
    constants = [Constant(t) for t in (shards, table)]
    assert all(a.equal(b) for a, b in zip(constants[0].parameters(), constants[1].parameters()))


def test_one_task_of_shards_trains_alone(table, shards):
    split = split_random(shards, seed=1).one_task("purchase")
    model = SharedBottom(split.train.schema, embedding_dim=4, hidden=(8,), tower=())
    history = fit(model, split.train, split.validation, progress=False, **OPTIONS)
    assert history.steps == 2 * split.train.batch_count(32)
    assert len(split.train) == len(split_random(table, seed=1).one_task("purchase").train)


def compared(split, **options):
    return compare(
        {"shared": build, "other": build}, split, seeds=[0, 1], group="user",
        fit_options=OPTIONS, progress=False, **options,
    )  # fmt: skip


def test_a_comparison_on_shards_is_kept_wherever_they_lie(table, shards, tmp_path, monkeypatch):
    split = Split(*(part.with_tasks(table.schema.tasks) for part in split_random(shards, seed=1)))
    store = {"store": tmp_path / "runs", "store_key": "of this test"}
    first = compared(split, **store)
    assert {"gauc", "auc"} <= set(first.runs["metric"])
    assert first.runs.filter(task="units").height

    def never(*_):
        raise AssertionError("a run that is kept is not done again")

    monkeypatch.setattr(runs, "kept", never)
    elsewhere = ShardedTable(shutil.copytree(shards.folder, tmp_path / "elsewhere"))
    again = Split(*(p.with_tasks(table.schema.tasks) for p in split_random(elsewhere, seed=1)))
    assert compared(again, **store).runs.equals(first.runs)
    other = Split(*(p.with_tasks(table.schema.tasks) for p in split_random(elsewhere, seed=2)))
    with pytest.raises(AssertionError, match="not done again"):
        compared(other, **store)


def test_the_oracle_reads_the_truth_of_shards(tmp_path):
    market = Market("tiny")
    made = market.impressions(600)
    shards = ShardedTable(write_shards(made, tmp_path / "shards", rows_per_shard=250))
    for knows in ("everything", "features"):
        assert str(market.oracle(shards, knows)) == str(market.oracle(made, knows))
    assert fit_units(Split(shards, shards, shards)).train.schema == fit_units(
        Split(made, made, made)).train.schema  # fmt: skip
