from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.data import Table, concatenate
from mtlkit.data.batch import take_ragged
from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError, Sequence, Task

SCHEMA = Schema(
    tasks=(
        Task("click"),
        Task("purchase", given="click"),
        Task("style", "multiclass", classes=3),
        Task("units", "censored_count"),
        Task("dwell", "regression", log1p=True),
    ),
    categorical=(Categorical("user", 4), Categorical("item", 6)),
    dense=(Dense("price"), Dense("pixel", width=2)),
    sequences=(Sequence("history", shares="item", max_length=3),),
    scenarios=(Scenario("search"), Scenario("feed")),
)


def columns() -> dict:
    return {
        "user": [0, 1, 2, 3],
        "item": [5, 4, 3, 2],
        "price": [1.0, 2.0, 3.0, 4.0],
        "pixel": [[0.0, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, 0.7]],
        "history": [[1, 2], [], [3], [1, 2, 3]],
        "where": ["search", "feed", "feed", "search"],
        "click": [1, 0, 1, None],
        "purchase": [1, None, 0, None],
        "style": [0, 1, 2, None],
        "units": [3, 0, 7, 1],
        "dwell": [10.5, None, 0.0, None],
        "time": [1, 2, 3, 4],
    }


def build(**changes) -> Table:
    frame = pl.DataFrame(columns() | changes)
    return Table.from_columns(
        SCHEMA,
        frame,
        scenario="where",
        keys=["time"],
        censored={"units": [True, False, False, False]},
        truth={"click": np.array([0.5, 0.1, 0.9, 0.2])},
    )


def test_columns_become_tensors_of_the_documented_types_and_shapes():
    table = build()
    assert len(table) == 4
    assert table.categorical.tolist() == [[0, 5], [1, 4], [2, 3], [3, 2]]
    assert table.categorical.dtype == table.scenario.dtype == torch.int64
    assert table.dense.shape == (4, 3) and table.dense.dtype == torch.float32
    assert table.scenario.tolist() == [0, 1, 1, 0]
    assert table.observed[:, 1].tolist() == [True, False, True, False]
    assert table.label("purchase").tolist() == [1, 0, 0, 0]
    assert table.mask("click").tolist() == [True, True, True, False]
    assert table.censored[:, 3].tolist() == [True, False, False, False]
    assert table.keys["time"].tolist() == [1, 2, 3, 4]
    values, offsets = table.sequences["history"]
    assert values.tolist() == [1, 2, 3, 1, 2, 3] and offsets.tolist() == [0, 2, 2, 3, 6]


def test_a_batch_carries_neither_truth_nor_keys():
    batch = build().batch(torch.tensor([2, 0]))
    assert not {"truth", "keys", "row_id"} & set(vars(batch))
    assert batch.labels[:, 0].tolist() == [1, 1] and len(batch) == 2


def test_taking_ragged_rows_equals_a_python_list():
    generator = np.random.default_rng(0)
    lists = [generator.integers(0, 9, n).tolist() for n in generator.integers(0, 4, 50)]
    offsets = torch.tensor(np.cumsum([0] + [len(x) for x in lists]))
    values = torch.tensor([v for x in lists for v in x])
    index = torch.tensor(generator.integers(0, 50, 80))
    got, cuts = take_ragged(values, offsets, index)
    assert [got[a:b].tolist() for a, b in pairwise(cuts)] == [lists[i] for i in index.tolist()]


def test_take_accepts_a_mask_or_an_index_and_keeps_every_column():
    table = build()
    by_mask = table.take(torch.tensor([True, False, True, False]))
    by_index = table.take([0, 2])
    assert torch.equal(by_mask.row_id, by_index.row_id) and by_mask.row_id.tolist() == [0, 2]
    assert by_mask.truth["click"].tolist() == pytest.approx([0.5, 0.9])
    assert by_mask.sequences["history"][1].tolist() == [0, 2, 3]
    with pytest.raises(SchemaError, match="mask"):
        table.take(torch.tensor([True]))
    with pytest.raises(SchemaError, match="whole row numbers"):
        table.take(torch.tensor([0.5]))


def test_batches_cover_each_row_once_in_an_order_that_seed_and_epoch_fix():
    table = build()

    def seen(**options):
        return [b.categorical[:, 0].tolist() for b in table.batches(3, shuffle=True, **options)]

    first = seen(seed=1, epoch=0)
    assert sorted(user for batch in first for user in batch) == [0, 1, 2, 3]
    assert [len(batch) for batch in first] == [3, 1]
    assert seen(seed=1, epoch=0) == first
    assert any(seen(seed=1, epoch=e) != first for e in range(1, 6))
    assert any(seen(seed=s, epoch=0) != first for s in range(2, 7))


def test_batches_from_a_start_are_the_tail_of_the_epoch():
    table = build()
    whole = [b.labels for b in table.batches(1, shuffle=True, seed=3, epoch=7)]
    tail = [b.labels for b in table.batches(1, shuffle=True, seed=3, epoch=7, start=2)]
    assert len(tail) == 2 and all(torch.equal(a, b) for a, b in zip(whole[2:], tail, strict=True))


def test_drop_last_drops_only_a_short_batch():
    table = build()
    assert [len(b) for b in table.batches(3, drop_last=True)] == [3]
    assert [len(b) for b in table.batches(2, drop_last=True)] == [2, 2]


def test_selecting_tasks_keeps_their_columns_in_the_given_order():
    table = build().select_tasks(["units", "click"])
    assert table.schema.task_names == ("units", "click")
    assert table.label("units").tolist() == [3, 0, 7, 1]
    assert table.censored[:, 0].tolist() == [True, False, False, False]


def test_concatenated_tables_observe_a_task_only_where_it_came_from():
    table = build()
    both = concatenate(table.select_tasks(["click"]), table.select_tasks(["style", "click"]))
    assert both.schema.task_names == ("click", "style")
    assert both.mask("style").tolist() == [False] * 4 + [True, True, True, False]
    assert both.label("click").tolist() == table.label("click").tolist() * 2
    values, offsets = both.sequences["history"]
    assert offsets.tolist() == [0, 2, 2, 3, 6, 8, 8, 9, 12] and len(values) == 12
    assert len(both.row_id.unique()) == 8


def test_concatenating_tables_with_other_inputs_is_refused():
    other = Table.from_columns(Schema((Task("click"),)), {"click": [0, 1]})
    with pytest.raises(SchemaError, match="categorical"):
        concatenate(build(), other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"user": [0, 1, 9, 3]}, "'user', row 2: 9 .*0 .. 3"),
        ({"user": [0, 1, -1, 3]}, "'user', row 2: -1"),
        ({"user": [0.0, 1.0, 2.0, 3.0]}, "'user' has type Float64.*whole numbers"),
        ({"user": [0, None, 2, 3]}, "'user', row 1: the value is missing"),
        ({"price": [1.0, float("nan"), 3.0, 4.0]}, "'price', row 1: nan"),
        ({"price": ["a", "b", "c", "d"]}, "'price' has type String"),
        ({"price": [1.0, 2.0, 3.0, None]}, "'price', row 3: the value is missing"),
        ({"pixel": [[1.0], [2.0], [3.0], [4.0]]}, "'pixel' must have shape"),
        ({"history": [[1, 2], [], [9], []]}, "'history', row 2: 9"),
        ({"where": [0, 1, 3, 0]}, "'scenario', row 2: 3"),
        ({"click": [1, 2, 1, None]}, "'click', row 1: 2 is not 0 or 1"),
        ({"click": [1.0, float("nan"), 1.0, None]}, "'click', row 1: nan"),
        ({"style": [0, 1, 3, None]}, "'style', row 2: 3 is not a class"),
        ({"style": [0.5, 1.0, 2.0, None]}, "'style', row 0: 0.5"),
        ({"units": [3, -1, 7, 1]}, "'units', row 1: -1 is not a count"),
        ({"units": [3.5, 0.0, 7.0, 1.0]}, "'units', row 0: 3.5"),
        ({"dwell": [1.0, None, -0.5, None]}, "'dwell', row 2: -0.5 is below 0"),
        ({"purchase": [1, 0, 0, None]}, "'purchase', row 1: 0 is observed although 'click'"),
        ({"purchase": [1, None, 0, 1]}, "'purchase', row 3: 1 is observed although 'click'"),
    ],
)
def test_a_cell_that_does_not_fit_is_refused_with_column_row_and_reason(changes, words):
    with pytest.raises(SchemaError, match=words):
        build(**changes)


def test_a_missing_column_and_an_unknown_task_are_refused_by_name():
    few = {k: v for k, v in columns().items() if k != "item"}
    with pytest.raises(SchemaError, match="'item' is missing"):
        Table.from_columns(SCHEMA, few, scenario="where")
    with pytest.raises(SchemaError, match="'buy', which is no task"):
        Table.from_columns(SCHEMA, columns(), scenario="where", observed={"buy": [True] * 4})
    with pytest.raises(SchemaError, match=r"scenario=\.\.\."):
        Table.from_columns(SCHEMA, columns())
    with pytest.raises(SchemaError, match="'item' has 1 rows"):
        Table.from_columns(SCHEMA, columns() | {"item": [1]}, scenario="where")


def test_a_censored_flag_needs_a_censored_count_that_is_observed():
    with pytest.raises(SchemaError, match="'click', row 0: 1 is flagged as censored"):
        Table.from_columns(SCHEMA, columns(), scenario="where", censored={"click": [True] * 4})


def test_wrong_tensors_are_refused():
    table = build()
    parts = {k: v for k, v in vars(table).items() if k != "schema"}

    def rebuilt(**changes):
        return Table(SCHEMA, **(parts | changes))

    for changes, words in [
        ({"categorical": table.categorical.float()}, "categorical must have type torch.int64"),
        ({"labels": table.labels[:, :2]}, "labels must have shape"),
        ({"observed": table.observed.float()}, "observed must have type torch.bool"),
        ({"row_id": torch.tensor([0, 1, 1, 3])}, "row_id holds a value twice"),
        ({"keys": {"time": torch.arange(3)}}, "'time' has 3 rows"),
        ({"sequences": {}}, "'history' is missing"),
        ({"labels": table.labels + (~table.observed).float()}, "not observed; put 0"),
    ]:
        with pytest.raises(SchemaError, match=words):
            rebuilt(**changes)


def test_ids_beyond_two_to_the_24_stay_exact():
    big = 2**24 + 1
    schema = Schema((Task("click"),), (Categorical("user", big + 1),))
    table = Table.from_columns(schema, {"user": [big, big - 1], "click": [0, 1]})
    assert table.categorical[:, 0].tolist() == [big, big - 1]


def test_an_empty_table_is_a_table():
    schema = Schema((Task("click"),), (Categorical("user", 3),))
    frame = pl.DataFrame({"user": [], "click": []}, schema={"user": pl.Int64, "click": pl.Int64})
    table = Table.from_columns(schema, frame)
    assert len(table) == 0 and list(table.batches(4)) == []
