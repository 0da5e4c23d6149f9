"""Shards on disk are the table that was written, whatever is asked of them."""

import pickle

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit.data import (
    ShardedTable,
    ShardWriter,
    Split,
    Table,
    check_disjoint,
    split_random,
    split_time,
    write_shards,
)  # fmt: skip
from mtlkit.data.batch import stack_batches
from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError, Sequence, Task

ROWS = 103


def make_table(rows: int = ROWS) -> Table:
    generator = np.random.default_rng(0)
    schema = Schema(
        (Task("click"), Task("units", "censored_count"), Task("dwell", "regression"),
         Task("buy", given="click")),
        (Categorical("user", 1000), Categorical("item", 7)),
        (Dense("pixel", width=3), Dense("price")),
        (Sequence("history", size=9), Sequence("items", shares="item")),
        (Scenario("feed"), Scenario("ads")),
    )  # fmt: skip
    click = [None if i % 5 == 0 else i % 2 for i in range(rows)]
    return Table.from_columns(
        schema,
        {
            "user": np.arange(rows),
            "item": generator.integers(0, 7, rows),
            "pixel": generator.random((rows, 3), dtype=np.float32),
            "price": generator.random(rows),
            "history": [list(range(i % 4)) for i in range(rows)],
            "items": pl.Series([[]] * rows, dtype=pl.List(pl.Int64)),
            "place": generator.integers(0, 3, rows),
            "click": pl.Series(click),
            "units": generator.integers(0, 5, rows),
            "dwell": generator.normal(5, 2, rows),
            "buy": pl.Series([i % 3 == 0 if c == 1 else None for i, c in enumerate(click)]),
            "time": np.arange(rows) // 2,
            "shopper": generator.integers(0, 9, rows),
        },
        scenario="place",
        censored={"units": np.arange(rows) % 7 == 0},
        truth={"click": generator.random(rows), "chances": generator.random((rows, 2))},
        keys=["time", "shopper"],
        row_id=generator.permutation(rows) + 2**40,
    )


@pytest.fixture(scope="module")
def table() -> Table:
    return make_table()


@pytest.fixture(scope="module")
def shards(table, tmp_path_factory) -> ShardedTable:
    folder = tmp_path_factory.mktemp("made") / "shards"
    return ShardedTable(write_shards(table, folder, rows_per_shard=20))


BATCH = ("categorical", "dense", "labels", "observed", "scenario", "censored")


def assert_equal_batches(ours, theirs):
    for name in BATCH:
        if getattr(theirs, name) is None:
            assert getattr(ours, name) is None
            continue
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    for name, parts in theirs.sequences.items():
        for a, b in zip(ours.sequences[name], parts, strict=True):
            assert torch.equal(a, b), name


def assert_equal_tables(ours, theirs):
    """Every column of two tables; one of them may lie on the disk."""
    assert ours.schema == theirs.schema and len(ours) == len(theirs)
    for name in ("labels", "observed", "scenario", "row_id"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert (ours.censored is None) == (theirs.censored is None)
    for task in theirs.schema.task_names:
        assert torch.equal(ours.label(task), theirs.label(task))
        assert torch.equal(ours.mask(task), theirs.mask(task))
    for kind in ("keys", "truth"):
        mine, its = getattr(ours, kind), getattr(theirs, kind)
        assert set(mine) == set(its)
        assert all(torch.equal(mine[name], its[name]) for name in its), kind
    for size in (16, 1000):
        assert ours.batch_count(size) == theirs.batch_count(size)
        for one, other in zip(ours.batches(size), theirs.batches(size), strict=True):
            assert_equal_batches(one, other)


def test_shards_are_the_table_column_by_column(table, shards):
    assert_equal_tables(shards, table)
    assert_equal_tables(shards.in_memory(), table)
    assert_equal_tables(shards.load(1), table.take(range(20, 40)))
    assert "103 rows in 6 shard(s)" in repr(shards) and shards.nbytes > 1000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 1.0])),
        st.tuples(st.just("numbers"), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.9])),
        st.tuples(st.just("tasks"), st.integers(0, 2**32 - 1), st.just(0.5)),
        st.tuples(st.just("scale"), st.integers(1, 9), st.just(0.5)),
        st.tuples(st.just("one"), st.integers(0, 2**32 - 1), st.just(0.5)),
    ),
    max_size=5,
)


def step(table, what, seed, share):
    """One thing that the interface can do, the same for both kinds of tables."""
    random, names = np.random.default_rng(seed), table.schema.task_names
    if what == "rows":
        return table.take(torch.from_numpy(random.random(len(table)) < share))
    if what == "numbers":
        return table.take(np.flatnonzero(random.random(len(table)) < share))
    if what == "tasks":
        return table.select_tasks(random.permutation(names)[: random.integers(1, 5)].tolist())
    if what == "one":
        return Split(table, table, table).one_task(str(random.choice(names))).train
    tasks = [
        Task(t.name, t.kind, scale=float(seed)) if t.kind == "regression" else t
        for t in table.schema.tasks
    ]
    return table.with_tasks(tasks)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_any_chain_of_selections_gives_the_rows_and_tasks_of_the_table(table, shards, steps):
    ours, theirs = shards, table
    for what, seed, share in steps:
        ours, theirs = step(ours, what, seed, share), step(theirs, what, seed, share)
    assert_equal_tables(ours, theirs)
    assert_equal_tables(ours.in_memory(), theirs)


@pytest.mark.parametrize(
    "split",
    [
        lambda t: split_random(t, seed=3), lambda t: split_random(t, seed=3, group="shopper"),
        lambda t: split_time(t, "time", (30, 40)),
    ],
)  # fmt: skip
def test_every_split_of_shards_is_that_of_the_table(table, shards, split):
    ours, theirs = split(shards), split(table)
    for mine, its in zip(ours, theirs, strict=True):
        assert_equal_tables(mine, its)
    assert ours.train.schema.task("dwell").location != 0  # fitted on the training rows
    check_disjoint(*ours)
    with pytest.raises(SchemaError, match=r"Tables 0 and 1 share 103 row\(s\)"):
        check_disjoint(shards, table)


@pytest.mark.parametrize("every", [1, 3])
def test_a_shuffled_stream_covers_each_row_once_and_resumes_exactly(shards, every):
    shards = shards.take(range(0, len(shards), every))
    wanted = sorted(shards.in_memory().categorical[:, 0].tolist())

    def users(size=8, **options):
        batches = shards.batches(size, shuffle=True, seed=2, **options)
        return [b.categorical[:, 0].tolist() for b in batches]

    for size in (1, 8, 33, 1000):
        whole = users(size, epoch=1)
        order = [user for batch in whole for user in batch]
        assert sorted(order) == wanted and order != wanted
        assert [len(batch) for batch in whole[:-1]] == [size] * (len(whole) - 1)
        assert users(size, epoch=2) != whole
        full = [batch for batch in whole if len(batch) == size]
        assert users(size, epoch=1, drop_last=True) == full
        for start in range(len(whole) + 1):
            assert users(size, epoch=1, start=start) == whole[start:]


def test_shuffling_leaves_every_column_with_its_row(table, shards):
    by_user = {int(user): row for row, user in enumerate(table.categorical[:, 0])}
    for batch in shards.batches(30, shuffle=True, seed=5):
        rows = torch.tensor([by_user[int(user)] for user in batch.categorical[:, 0]])
        assert_equal_batches(batch, table.batch(rows))


def test_the_order_of_a_whole_table_stays_what_it_was(shards):
    # (seed, epoch) is the whole state of a run that is to be resumed: no version may move it
    first = next(shards.batches(6, shuffle=True, seed=2, epoch=1)).categorical[:, 0]
    _, second, _ = (b.categorical[:8, 0] for b in shards.batches(50, shuffle=True, seed=2, epoch=1))
    assert first.tolist() == [27, 37, 23, 24, 35, 32]
    assert second.tolist() == [59, 47, 44, 57, 54, 40, 46, 49]


def test_rows_in_any_order_come_as_a_batch(table, shards):
    index = torch.tensor([90, 3, 3, 55, 102, 0])
    assert_equal_batches(shards.batch(index), table.batch(index))
    nothing = torch.zeros(0, dtype=torch.int64)
    assert len(shards.batch(nothing)) == 0 and len(shards.take([]).in_memory()) == 0
    with pytest.raises(SchemaError, match="give a mask or row numbers that grow"):
        shards.take(index)
    for wrong in ([103], [-1]):
        with pytest.raises(SchemaError, match=r"is not in 0 .. 102"):
            shards.take(wrong)


def test_inputs_are_no_columns_in_memory_and_the_sentence_says_what_to_do(shards):
    for name in ("categorical", "dense", "sequences"):
        with pytest.raises(AttributeError, match=f"no {name}: .* some rows: table.take"):
            getattr(shards, name)
    with pytest.raises(AttributeError, match="no colour"):
        shards.colour
    with pytest.raises(KeyError, match="nobody"):
        shards.keys["nobody"]


def test_a_table_sent_to_another_process_is_the_same(table, shards):
    part = shards.take(table.mask("click"))
    part.keys["time"]
    copy = pickle.loads(pickle.dumps(part))
    assert_equal_tables(copy, part)
    assert len(pickle.dumps(part)) < 20_000  # no rows travel


def test_what_determines_the_rows_and_tasks_is_told_apart_and_nothing_else(table, shards, tmp_path):
    folder = write_shards(table, tmp_path / "elsewhere", rows_per_shard=20)
    every = torch.ones(len(table), dtype=torch.bool)
    same = [shards, ShardedTable(folder), shards.take(every), pickle.loads(pickle.dumps(shards))]
    assert len({one.content_hash() for one in same}) == 1
    wrong = table.take(range(len(table)))
    wrong.dense[50, 1] += 1
    other = [
        shards, shards.take(every[:-1].tolist() + [False]), shards.take(range(20)),
        shards.take(range(1, 103)), shards.take(range(20, 40)), shards.take(range(0, 103, 2)),
        shards.select_tasks(["click", "units"]), shards.select_tasks(["units", "click"]),
        ShardedTable(write_shards(wrong, tmp_path / "other", rows_per_shard=20)),
        ShardedTable(write_shards(table, tmp_path / "cut", rows_per_shard=21)),
    ]  # fmt: skip
    assert len({one.content_hash() for one in other}) == len(other)


def test_only_shards_with_rows_are_read(shards, monkeypatch):
    late = shards.take(shards.keys["time"] >= 45)
    read = []
    load = ShardedTable.load
    monkeypatch.setattr(ShardedTable, "load", lambda self, n: read.append(n) or load(self, n))
    assert sum(map(len, late.batches(4, shuffle=True))) == len(late) == 13
    assert sorted(read) == [4, 5]


def test_a_stream_of_tables_is_cut_into_shards_of_one_size(table, tmp_path):
    for sizes in ([103], [1] * 103, [50, 3, 0, 50], [19, 1, 20, 21, 42]):
        folder = tmp_path / f"of {len(sizes)}"
        with ShardWriter(table.schema, folder, rows_per_shard=20) as writer:
            begin = 0
            for size in sizes:
                assert writer.add(table.take(range(begin, begin + size))) is writer
                begin += size
            assert not folder.exists()
        written = ShardedTable(folder)
        assert [shard.rows for shard in written.manifest.shards] == [20] * 5 + [3]
        assert_equal_tables(written, table)


def test_a_table_without_flags_stays_without_and_with_one_of_them_has_them(table, tmp_path):
    plain = Table(**{k: v for k, v in vars(table).items() if k not in ("censored", "keys")})
    bare = ShardedTable(write_shards(plain, tmp_path / "bare", 20))
    assert bare.censored is None and next(bare.batches(50)).censored is None and not bare.keys
    with ShardWriter(table.schema, tmp_path / "mixed", 70) as writer:
        first = table.take(range(40))
        first.censored = None
        writer.add(first).add(table.take(range(40, 103)))
    mixed = ShardedTable(tmp_path / "mixed")
    assert torch.equal(mixed.censored[40:], table.censored[40:]) and not mixed.censored[:40].any()


def test_a_folder_of_no_rows_is_a_table(table, tmp_path):
    with ShardWriter(table.schema, tmp_path / "none"):
        pass
    nothing = ShardedTable(write_shards(table.take([]), tmp_path / "empty"))
    assert_equal_tables(nothing, table.take([]))
    assert len(ShardedTable(tmp_path / "none")) == 0


def other(table, **changes):
    return Table(**(vars(table) | changes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: "rows", "not a str"),
        (lambda t: t.take([3]), "Row id .* was written before"),
        (lambda t: t.select_tasks("click"), "no task 'units'"),
        (lambda t: t.with_tasks([Task("dwell", "regression", scale=2.0) if x.name == "dwell" else x
                                 for x in t.schema.tasks]), "other scale|scale or weight"),
        (lambda t: other(t, keys={"time": t.keys["time"]}, row_id=t.row_id + 999),
         "has keys time; the tables before it have shopper, time"),
        (lambda t: other(t, truth={}, row_id=t.row_id + 999), "has truth none; .* chances, click"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_those_before_is_refused_and_nothing_is_left(
    table, tmp_path, change, words
):
    with (
        pytest.raises(SchemaError, match=words),
        ShardWriter(table.schema, tmp_path / "shards") as writer,
    ):
        writer.add(table)
        writer.add(change(table))
    assert list(tmp_path.iterdir()) == []


def test_a_table_whose_checks_were_left_out_is_checked_before_it_is_written(table, tmp_path):
    wrong = table.take(range(9))
    wrong.dense[4, 1] = torch.nan
    with pytest.raises(SchemaError, match="'pixel', row 4: nan"):
        write_shards(wrong, tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_never_closed_leaves_nothing_and_a_closed_one_takes_nothing(
    table, tmp_path
):
    writer = ShardWriter(table.schema, tmp_path / "shards").add(table)
    assert len(list(tmp_path.iterdir())) == 1
    del writer
    assert list(tmp_path.iterdir()) == []
    writer = ShardWriter(table.schema, tmp_path / "shards").add(table)
    assert writer.close() == tmp_path / "shards"
    for again in (writer.close, lambda: writer.add(table)):
        with pytest.raises(ValueError, match="is closed"):
            again()
    with pytest.raises(FileExistsError, match="exists already"):
        write_shards(table, tmp_path / "shards")
    assert_equal_tables(ShardedTable(tmp_path / "shards"), table)


def test_of_two_writers_of_one_folder_the_second_is_refused(table, tmp_path):
    first, second = (ShardWriter(table.schema, tmp_path / "shards").add(table) for _ in range(2))
    first.close()
    with pytest.raises(FileExistsError, match="exists already"):
        second.close()
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_a_failed_write_leaves_nothing_behind(table, tmp_path, monkeypatch):
    calls = []
    write = pl.DataFrame.write_parquet

    def failing(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("disk full")
        write(self, *arguments, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", failing)
    with pytest.raises(OSError, match="disk full"):
        write_shards(table, tmp_path / "shards", rows_per_shard=20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "a", None, True])
def test_a_wrong_number_of_rows_is_refused(table, tmp_path, wrong):
    with pytest.raises(ValueError, match="rows_per_shard must be 1 or more, not"):
        write_shards(table, tmp_path / "shards", rows_per_shard=wrong)
    assert list(tmp_path.iterdir()) == []


def test_batches_stack_in_order(table):
    parts = [table.batch(torch.arange(a, b)) for a, b in ((0, 7), (7, 7), (7, 103))]
    assert_equal_batches(stack_batches(parts), table.batch(torch.arange(103)))


@pytest.mark.parametrize("bits", [7, 8, 15, 16, 31, 32, 62])
@pytest.mark.parametrize("sign", [1, -1])
def test_keys_come_back_exact_however_few_bytes_hold_them(tmp_path, bits, sign):
    ends = [sign * 2**bits + step for step in (-1, 0, 1)]
    plain = make_table(3)
    columns = {**vars(plain), "keys": {"time": torch.tensor(ends), "flag": torch.tensor([0, 1, 2])}}
    shards = ShardedTable(write_shards(Table(**columns), tmp_path / "s"))
    for _ in range(2):  # read, and held
        assert shards.keys["time"].tolist() == ends and shards.keys["time"].dtype == torch.int64
    fits = [b for b in (1, 2, 4, 8) if all(-(256**b) <= 2 * end < 256**b for end in ends)]
    assert shards._known["k:time"].element_size() == fits[0]  # no wider type than it needs
    shards.keys["flag"]
    assert shards._known["k:flag"].element_size() == 1
