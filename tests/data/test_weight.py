"""The weight of rows in tables: checked by row, carried by all that makes a table of a table."""

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.comparison.fingerprint import Fingerprints
from mtlkit.data import (
    Encoder,
    Join,
    ShardedTable,
    Table,
    concatenate,
    split_random,
    split_time,
    write_shards,
)
from mtlkit.data.splits import Split, fit_units
from mtlkit.schema import SchemaError, Task
from tests import tiny
from tests.repeats import counts, repeated, with_weight

ROWS = 40


def weighed(rows=ROWS, seed=0):
    """A table whose row i weighs i + 1; the key "row" holds i."""
    table = tiny.table(tiny.schema(), rows, seed)
    table.keys["row"] = torch.arange(rows)
    return with_weight(table, torch.arange(rows) + 1)


def right(table):
    return table.weight.tolist() == (table.keys["row"] + 1).tolist() and len(table) > 0


def tables_of(table):
    """{way: table}: all that a table can become."""
    yield "take", table.take([3, 1, 30])
    yield "mask", table.take(torch.arange(ROWS) % 3 == 0)
    yield "take numpy", table.take(np.array([2, 5]))
    yield "select_tasks", table.select_tasks(["rating", "click"])
    yield "with_tasks", table.with_tasks(table.schema.tasks)
    yield "to", table.to("cpu")
    for i, part in enumerate(split_random(table)):
        yield f"split_random {i}", part
    for i, part in enumerate(split_random(table, group="user")):
        yield f"split by group {i}", part
    split = split_time(table, "row", (20, 30))
    for what, parts in (
        ("split_time", split), ("fit_units", fit_units(split)),
        ("one_task", split.one_task("click")), ("split.to", split.to("cpu")),
        ("split.select_tasks", split.select_tasks("click")),
    ):  # fmt: skip
        for i, part in enumerate(parts):
            yield f"{what} {i}", part


def test_every_table_made_of_a_table_has_the_weights_of_its_rows():
    table = weighed()
    ways = dict(tables_of(table))
    assert len(ways) > 20 and [way for way, made in ways.items() if not right(made)] == []
    assert table.nbytes == tiny.table(tiny.schema(), ROWS).nbytes + ROWS * 4 + ROWS * 8


def test_batches_have_the_weights_of_their_rows():
    table = weighed()
    order = torch.cat([b.weight for b in table.batches(7, shuffle=True, seed=3)])
    assert sorted(order.tolist()) == [float(i + 1) for i in range(ROWS)]
    assert order.tolist() != sorted(order.tolist())
    batch = table.batch(torch.tensor([4, 2]))
    assert batch.weight.tolist() == [5, 3] and batch.to("cpu").weight.tolist() == [5, 3]
    assert tiny.all_rows(tiny.table(tiny.schema())).weight is None


def test_stacked_tables_keep_weights_and_rows_without_weigh_1():
    one, two = weighed(5), tiny.table(tiny.schema(), 3)
    assert concatenate(one, two).weight.tolist() == [1, 2, 3, 4, 5, 1, 1, 1]
    assert concatenate(two, two).weight is None
    join = Join({"a": one, "b": two})
    assert join.weight.tolist() == [1, 2, 3, 4, 5, 1, 1, 1]
    assert torch.cat([b.weight for b in join.batches(2)]).tolist() == join.weight.tolist()
    assert join.select_tasks("b.click").weight is None


def test_a_table_without_weights_is_the_same_to_a_store_as_ever():
    table = tiny.table(tiny.schema())
    assert table.weight is None and "weight" not in vars(table.take([1, 2]).to("cpu"))
    prints = {Fingerprints().of(t) for t in (table, with_weight(table, torch.ones(ROWS)))}
    assert len(prints) == 2


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4, 5], [0, 0, 0, 4, 5]])
def test_shards_keep_the_weights_of_rows_also_where_all_of_a_shard_are_0(tmp_path, numbers):
    table = with_weight(tiny.table(tiny.schema(), 5), torch.tensor(numbers).float())
    shards = ShardedTable(write_shards(table, tmp_path / "shards", rows_per_shard=2))
    assert shards.weight.tolist() == numbers
    assert torch.cat([b.weight for b in shards.batches(2)]).tolist() == numbers
    assert shards.in_memory().weight.tolist() == numbers


def test_an_encoder_that_was_saved_still_knows_its_column_of_weights():
    frame = pl.DataFrame({"user": ["a", "b"], "click": [0, 1], "w": [1.0, 2.0]})
    encoder = Encoder([Task("click")], categorical=["user"], weight="w").fit(frame)
    again = Encoder.from_state_dict(encoder.state_dict())
    assert again.transform(frame).weight.tolist() == [1, 2]


WRONG = {
    "row 2: -0.5 is below 0": [1, 2, -0.5, 1],
    "row 1: nan is no weight": [1, np.nan, 1, np.nan],
    "row 3: inf is no weight": [1, 1, 1, np.inf],
    "row 0: -inf is no weight": [-np.inf, 1, 1, 1],
    "rows 0 to 3: all weigh 0": [0, 0, 0, 0],
}


@pytest.mark.parametrize("said", WRONG)
def test_what_no_row_can_weigh_is_refused_by_its_row_at_every_door(said):
    values = [float(value) for value in WRONG[said]]
    table = tiny.table(tiny.schema("click"), 4)
    with pytest.raises(SchemaError, match=f"'weight', {said}"):
        with_weight(table, torch.tensor(values))
    frame = pl.DataFrame({"user": [1, 2, 1, 3], "click": [0, 1, 0, 1], "copies": values})
    encoder = Encoder([Task("click")], categorical=["user"], weight="copies")
    with pytest.raises(SchemaError, match=f"'copies', {said}"):
        encoder.fit(frame)
    fitted = encoder.fit(frame.with_columns(copies=pl.lit(1.0)))
    with pytest.raises(SchemaError, match=f"'copies', {said}"):
        fitted.transform(frame)
    columns = {"user": [1, 2, 1, 3], "click": [0, 1, 0, 1], "copies": np.array(values)}
    with pytest.raises(SchemaError, match=f"'copies', {said}"):
        Table.from_columns(fitted.schema, columns, weight="copies")


@pytest.mark.parametrize(
    ("weight", "said"),
    [(torch.ones(3), r"weight must have shape \(4,\), not \(3,\)"),
     (torch.ones(4, 1), r"weight must have shape \(4,\)"),
     (torch.ones(4).double(), "weight must have type torch.float32"),
     (torch.ones(4).long(), "weight must have type torch.float32"),
     ([1.0] * 4, "weight must be a tensor, not list"),
     (torch.ones(4, device="meta"), "weight is on meta, the table on cpu")],
)  # fmt: skip
def test_a_weight_of_another_kind_is_refused(weight, said):
    table = tiny.table(tiny.schema("click"), 4)
    with pytest.raises(SchemaError, match=said):
        Table(table.schema, **(table._columns() | {"weight": weight}))


def test_a_gap_or_a_text_among_weights_is_refused_by_its_row():
    encoder = Encoder([Task("click")], categorical=["user"], weight="copies")
    frame = pl.DataFrame({"user": [1, 2], "click": [0, 1], "copies": [1.0, None]})
    with pytest.raises(SchemaError, match="'copies', row 1: the value is missing"):
        encoder.fit(frame)
    with pytest.raises(SchemaError, match="'copies' has type String"):
        encoder.fit(frame.with_columns(copies=pl.lit("a")))
    with pytest.raises(SchemaError, match="'copies' is missing"):
        encoder.fit(frame.drop("copies"))


def frame_of(rows=30, seed=0):
    random = np.random.default_rng(seed)
    return pl.DataFrame({
        "user": random.integers(0, 5, rows), "price": random.random(rows),
        "dwell": [None, *(random.random(rows - 1) * 9)], "copies": random.integers(0, 4, rows),
    })  # fmt: skip


def test_an_encoder_takes_the_weights_and_measures_labels_by_them():
    frame = frame_of()
    tasks = [Task("dwell", "regression", log1p=True)]
    given = {"categorical": ["user"], "dense": ["price", "copies"]}  # it may be a feature as well
    encoder = Encoder(tasks, **given, weight="copies").fit(frame)
    table = encoder.transform(frame)
    assert table.weight.tolist() == frame["copies"].to_list()
    rows = frame.select(pl.all().repeat_by("copies")).explode(pl.all())
    several = Encoder(tasks, **given).fit(rows).schema.tasks[0]
    found = encoder.schema.tasks[0]
    assert (found.location, found.scale) == pytest.approx((several.location, several.scale))
    plain = Encoder(tasks, **given).fit(frame)
    assert plain.schema.encoding == encoder.schema.encoding  # inputs: rows as they are
    assert plain.schema.tasks[0].location != found.location
    assert torch.equal(plain.transform(frame).row_id, table.row_id)


def test_rows_to_score_need_no_weights_but_rows_with_labels_do():
    frame = frame_of()
    encoder = Encoder([Task("dwell", "regression")], categorical=["user"], weight="copies")
    encoder.fit(frame)
    assert encoder.transform(frame.drop("dwell", "copies")).weight is None
    gaps = frame.drop("dwell").with_columns(copies=pl.lit(None))
    assert encoder.transform(gaps).weight is None
    with pytest.raises(SchemaError, match="'copies' is missing"):
        encoder.transform(frame.drop("copies"))


def test_units_of_labels_are_those_of_repeated_rows():
    table = tiny.table(tiny.schema(), 60)
    times = counts(60, 5)
    units = []
    for part in (with_weight(table, times), repeated(table, times)):
        tasks = fit_units(Split(part, part, part)).train.schema.tasks
        units.append([number for t in tasks for number in (t.location, t.scale)])
    assert units[0] == pytest.approx(units[1])
    assert units[0] != [number for t in table.schema.tasks for number in (t.location, t.scale)]
    with pytest.raises(SchemaError, match="all 2 observed labels weigh 0"):
        Task("rating", "regression").fitted([1.0, 2.0], [0, 0])
