import numpy as np
import pytest
import torch

from mtlkit.data import Table, check_disjoint, split_random, split_time
from mtlkit.data.splits import _meet
from mtlkit.schema import Schema, SchemaError, Task


def table(rows: int = 100) -> Table:
    generator = np.random.default_rng(0)
    return Table.from_columns(
        Schema((Task("dwell", "regression"),)),
        {
            "dwell": generator.normal(5, 2, rows),
            "user": generator.integers(0, 12, rows),
            "week": np.arange(rows) // 10,
        },
        keys=["user", "week"],
    )


def test_a_random_split_uses_each_row_once_in_the_asked_shares():
    split = split_random(table(), (0.5, 0.3, 0.2), seed=4)
    assert [len(t) for t in split] == [50, 30, 20]
    rows = torch.cat([t.row_id for t in split])
    assert sorted(rows.tolist()) == list(range(100))


def test_a_random_split_is_fixed_by_its_seed():
    rows = [split_random(table(), seed=s).test.row_id.tolist() for s in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_a_grouped_split_keeps_each_user_on_one_side():
    split = split_random(table(), group="user", seed=1)
    check_disjoint(*split, key="user")
    plain = split_random(table(), seed=1)
    with pytest.raises(SchemaError, match=r"share .* by key 'user'"):
        check_disjoint(*plain, key="user")


def test_a_time_split_keeps_the_future_out_of_training():
    split = split_time(table(), "week", (6, 8))
    weeks = [(int(t.keys["week"].min()), int(t.keys["week"].max())) for t in split]
    assert weeks == [(0, 5), (6, 7), (8, 9)]


def test_one_task_keeps_its_labelled_rows_only():
    whole = Table.from_columns(
        Schema((Task("click"), Task("dwell", "regression", given="click"))),
        {"click": [1, 0, 1, 0, 1, 1], "dwell": [3.0, None, 5.0, None, 4.0, 8.0],
         "week": [0, 0, 0, 1, 1, 2]},
        keys=["week"],
    )  # fmt: skip
    split = split_time(whole, "week", (1, 2)).one_task("dwell")
    assert [part.schema.task_names for part in split] == [("dwell",)] * 3
    assert [part.row_id.tolist() for part in split] == [[0, 2], [4], [5]]
    assert all(bool(part.observed.all()) for part in split)


def test_regression_units_are_fitted_on_training_rows_alone():
    split = split_time(table(), "week", (6, 8))
    task = split.test.schema.task("dwell")
    labels = split.train.label("dwell").double()
    assert task.location == pytest.approx(float(labels.mean()))
    assert task.scale == pytest.approx(float(labels.std(correction=0)))


def test_tables_that_share_a_row_are_refused_with_the_row():
    whole = table()
    with pytest.raises(SchemaError, match=r"Tables 0 and 1 share 1 row.*row 0 of table 1, value 9"):
        check_disjoint(whole.take([3, 9]), whole.take([9, 10]))


def test_impossible_splits_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        split_random(table(), (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="boundaries must grow"):
        split_time(table(), "week", (8, 6))
    with pytest.raises(SchemaError, match="test part"):
        split_time(table(), "week", (6, 80))
    with pytest.raises(SchemaError, match="no key 'day'"):
        split_time(table(), "day", (1, 2))


def test_shared_rows_are_found_wherever_they_stand_among_millions():
    rows, piece = 600_000, 2**18
    ids = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    many, few = ids[:-1_000], ids[-1_000:]
    assert not _meet(many, few) and not _meet(few, many)
    assert not _meet(few[:0], many) and not _meet(many, few[:0])
    for at in (0, piece - 1, piece, 2 * piece, len(many) - 1):  # the edges of the pieces
        for value in (few[0], few[-1], few.min(), few.max()):
            changed = many.clone()
            changed[at] = value
            assert _meet(changed, few) and _meet(few, changed)
