"""The page of rows: carried by all that makes a table of a table, and whole in batches."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from mtlkit.comparison.fingerprint import Fingerprints
from mtlkit.data import (
    Join,
    ShardedTable,
    Table,
    WholePages,
    concatenate,
    split_random,
    split_time,
    write_shards,
)
from mtlkit.data.batch import Batch, free_rows, stack_batches
from mtlkit.data.content import content_hash
from mtlkit.data.splits import fit_units
from mtlkit.schema import SchemaError
from tests import tiny

ROWS = 40


def paged(rows=ROWS, seed=0, size=4):
    """A table whose key "session" is mixed up over the rows; key "row" holds the row's number."""
    table = tiny.table(tiny.schema(), rows, seed)
    generator = torch.Generator().manual_seed(seed)
    table.keys["row"] = torch.arange(rows)
    table.keys["session"] = (torch.randperm(rows, generator=generator) // size) * 7 - 20
    return table.with_group("session")


def right(table):
    return torch.equal(table.group, table.keys["session"]) and len(table) > 0


def tables_of(table):
    """{way: table}: all that a table can become."""
    yield "take", table.take([3, 1, 30])
    yield "mask", table.take(torch.arange(ROWS) % 3 == 0)
    yield "select_tasks", table.select_tasks(["rating", "click"])
    yield "with_tasks", table.with_tasks(table.schema.tasks)
    yield "to", table.to("cpu")
    split = split_time(table, "row", (20, 30))
    for what, parts in (
        ("split_random", split_random(table)), ("split_time", split),
        ("fit_units", fit_units(split)), ("one_task", split.one_task("click")),
        ("with_group", split.with_group(None).with_group("session")),
    ):  # fmt: skip
        for i, part in enumerate(parts):
            yield f"{what} {i}", part


def test_every_table_made_of_a_table_has_the_pages_of_its_rows():
    table = paged()
    ways = dict(tables_of(table))
    assert len(ways) > 15 and [way for way, made in ways.items() if not right(made)] == []
    assert table.with_group(None).group is None and "group" not in vars(table.with_group(None))
    with pytest.raises(SchemaError, match="no key 'nothing'; known are user, row, session"):
        table.with_group("nothing")


def test_batches_have_the_pages_of_their_rows():
    table = paged()
    batch = table.batch(torch.tensor([4, 2]))
    assert torch.equal(batch.group, table.group[[4, 2]])
    assert torch.equal(batch.to("cpu").group, batch.group)
    both = stack_batches([batch, table.batch(torch.tensor([7]))])
    assert torch.equal(both.group, table.group[[4, 2, 7]])
    seen = torch.cat([b.group for b in table.batches(7, shuffle=True, seed=3)])
    assert sorted(seen.tolist()) == sorted(table.group.tolist())
    leaves = pytree.tree_leaves(batch)
    assert any(leaf is batch.group for leaf in leaves)
    assert len(free_rows(batch)) == len(free_rows(table.with_group(None).batch(table.row_id))) + 1


def test_a_batch_without_pages_is_what_it_was():
    table = tiny.table(tiny.schema())
    batch = tiny.all_rows(table)
    assert batch.group is None and "group" not in vars(table.take([1, 2]).to("cpu"))
    old = Batch(**{name: value for name, value in vars(batch).items() if name != "group"})
    assert old == batch

    class Own:  # a table of a kind of its own, hashed by its batches
        def __init__(self, table):
            self.table = table

        def batches(self, size):
            return self.table.batches(size)

    class Whole:
        def __init__(self, batch):
            self.__dict__.update({k: v for k, v in vars(batch).items() if k != "group"})

    class Plain(Own):
        def batches(self, size):
            return map(Whole, self.table.batches(size))

    assert content_hash(Own(table)) == content_hash(Plain(table))
    grouped = table.with_group("user")
    assert content_hash(Own(grouped)) != content_hash(Own(table))
    assert content_hash(grouped) != content_hash(table) == content_hash(grouped.with_group(None))
    assert len({Fingerprints().of(t) for t in (table, grouped)}) == 2


def test_stacked_tables_keep_pages_where_all_have_them():
    one, two = paged(8), paged(6, seed=1)
    assert torch.equal(concatenate(one, two).group, torch.cat([one.group, two.group]))
    assert concatenate(one, two.with_group(None)).group is None
    join = Join({"a": one, "b": two})
    assert torch.equal(
        torch.cat([b.group for b in join.batches(3)]), torch.cat([one.group, two.group])
    )


def test_shards_keep_pages_and_those_without_are_the_same_files(tmp_path):
    table = paged(11)
    shards = ShardedTable(write_shards(table, tmp_path / "grouped", rows_per_shard=4))
    plain = ShardedTable(write_shards(table.with_group(None), tmp_path / "plain", rows_per_shard=4))
    keyed, none = plain.with_group("session"), shards.with_group(None)
    for of_pages in (shards, keyed):
        assert torch.equal(of_pages.group, table.group)
        assert torch.equal(torch.cat([b.group for b in of_pages.batches(3)]), table.group)
        assert torch.equal(of_pages.in_memory().group, table.group)
        assert torch.equal(of_pages.take(table.row_id > 4).in_memory().group, table.group[5:])
    for without in (plain, none):
        assert without.group is None and without.in_memory().group is None
    assert '"group"' not in (tmp_path / "plain" / "manifest.json").read_text()
    assert len({t.content_hash() for t in (shards, plain, keyed, none)}) == 4
    with pytest.raises(SchemaError, match="no key 'nothing'"):
        plain.with_group("nothing")


@pytest.mark.parametrize(
    ("group", "said"),
    [(torch.zeros(3, dtype=torch.int64), r"group must have shape \(4,\), not \(3,\)"),
     (torch.zeros(4), "group must have type torch.int64"),
     ([0] * 4, "group must be a tensor, not list"),
     (torch.zeros(4, dtype=torch.int64, device="meta"), "group is on meta, scenario on cpu")],
)  # fmt: skip
def test_a_group_of_another_kind_is_refused(group, said):
    table = tiny.table(tiny.schema("click"), 4)
    with pytest.raises(SchemaError, match=said):
        Table(table.schema, **(table._columns() | {"group": group}))


# --- the sampler ------------------------------------------------------------------------------


def read(sampler, table, **more):
    """Row numbers of every batch of an epoch."""
    rows = {id_: row for row, id_ in enumerate(table.keys["row"].tolist())}
    table.labels[:, 0] = table.keys["row"].float()  # told by what a batch has
    return [[rows[int(v)] for v in b.labels[:, 0]] for b in sampler.over(table).batches(8, **more)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_page_is_whole_in_one_batch_and_every_row_comes_once(rows, size, pages, epoch):
    table = paged(rows, size=size)
    sampler = WholePages(pages)
    batches = read(sampler, table, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    count = len(table.group.unique())
    assert len(batches) == sampler.over(table).batch_count(8) == -(-count // pages)
    whole = Counter(table.group.tolist())
    for batch in batches:
        here = Counter(table.group[batch].tolist())
        assert all(whole[page] == n for page, n in here.items())
        assert len(here) == pages or batch is batches[-1]
        runs = [table.group[batch][0].item()]  # rows of a page together, as the table has them
        runs += [
            b for a, b in zip(table.group[batch], table.group[batch][1:], strict=False) if a != b
        ]
        assert len(runs) == len(here)
        for page in here:
            mine = [row for row in batch if table.group[row] == page]
            assert mine == sorted(mine)


def test_the_order_depends_on_seed_and_epoch_and_any_batch_can_be_the_first():
    table, sampler = paged(60), WholePages(3)
    first = read(sampler, table, seed=1)
    assert read(sampler, table, seed=1) == first == read(sampler, table, seed=-1)
    others = [read(sampler, table, seed=2), read(sampler, table, seed=1, epoch=1)]
    assert all(other != first for other in others)
    for start in (1, 3, len(first) + 2):
        assert read(sampler, table, seed=1, start=start) == first[start:]
    in_order = read(sampler, table, shuffle=False)
    assert [row for batch in in_order for row in batch] == list(range(60))


def test_a_table_without_pages_and_wrong_numbers_are_refused():
    with pytest.raises(SchemaError, match=r"table\.with_group\(key\).* has user, row, session"):
        WholePages().over(paged().with_group(None))
    with pytest.raises(SchemaError, match="rows of one table in memory"):
        WholePages().over(Join({"a": paged()}))
    for wrong in (0, -1, 1.5, True, "64"):
        with pytest.raises(ValueError, match="pages must be a whole number of 1 or more"):
            WholePages(wrong)
