"""Several tables as one training set: names, shares, order, and what is shared by declaration."""

import pytest
import torch

from mtlkit import Market, SchemaError
from mtlkit.data import Join, JoinedSchema, Split, check_disjoint, join_splits, split_random
from mtlkit.schema import Schema
from tests import tiny


@pytest.fixture(scope="module")
def tables():
    market = Market("tiny")
    return {
        "log": market.impressions(300).select_tasks(["click", "purchase", "dwell"]),
        "products": market.products(),
        "demand": market.demand(6),
    }


@pytest.fixture(scope="module")
def joined(tables):
    return Join(tables)


def test_tasks_and_scenarios_carry_their_table(joined, tables):
    schema = joined.schema
    assert schema.task_names[:3] == ("log.click", "log.purchase", "log.dwell")
    assert schema.task("log.purchase").given == "log.click"
    assert schema.num_tasks == sum(table.schema.num_tasks for table in tables.values())
    places = [f"log/{name}" for name in tables["log"].schema.scenario_names]
    assert list(schema.scenario_names[: len(places)]) == places
    assert "products/all" in schema.scenario_names
    assert len(joined) == sum(map(len, tables.values()))


def test_a_batch_has_one_tables_inputs_and_no_other_tables_labels(joined, tables):
    for batch in joined.batches(64, shuffle=True, seed=3):
        part = tables[batch.table].schema
        assert batch.categorical.shape[1] == len(part.categorical)
        assert batch.dense.shape[1] == part.dense_width
        assert batch.labels.shape == (len(batch), joined.schema.num_tasks)
        for i, name in enumerate(joined.schema.task_names):
            if not name.startswith(f"{batch.table}."):
                assert not batch.observed[:, i].any() and not batch.labels[:, i].any()
        names = [joined.schema.scenario_names[s] for s in batch.scenario.tolist()]
        assert all(name.startswith(f"{batch.table}/") for name in names)


def test_without_shuffling_every_row_comes_once_table_after_table(joined, tables):
    batches = list(joined.batches(50))
    assert [b.table for b in batches] == sorted((b.table for b in batches), key=list(tables).index)
    for name, table in tables.items():
        own = [b for b in batches if b.table == name]
        assert torch.equal(torch.cat([b.dense for b in own]), table.dense)
        columns = [joined.schema.task_index(f"{name}.{t}") for t in table.schema.task_names]
        assert torch.equal(torch.cat([b.labels for b in own])[:, columns], table.labels)
    assert len(batches) == joined.batch_count(50)


@pytest.mark.parametrize("shares", [None, {"log": 1, "products": 2, "demand": 3}])
def test_the_order_depends_on_seed_and_epoch_alone_and_goes_on_from_any_batch(tables, shares):
    joined = Join(tables, shares)

    def order(**options):
        return [
            (b.table, b.dense.sum().item(), len(b))
            for b in joined.batches(32, shuffle=True, **options)
        ]

    whole = order(seed=1, epoch=2)
    assert whole == order(seed=1, epoch=2)
    assert whole != order(seed=1, epoch=3) and whole != order(seed=2, epoch=2)
    for start in (0, 1, 5, len(whole) - 1, len(whole)):
        assert order(seed=1, epoch=2, start=start) == whole[start:]


def test_shares_are_kept_and_rows_go_on_where_they_ended(tables):
    joined = Join(tables, shares={"log": 6, "products": 3, "demand": 1})
    size = 20
    total = joined.batch_count(size)
    seen = {name: [] for name in tables}
    for epoch in range(4):
        batches = list(joined.batches(size, shuffle=True, seed=0, epoch=epoch))
        assert len(batches) == total
        counts = {n: sum(b.table == n for b in batches) for n in tables}
        for name, share in (("log", 0.6), ("products", 0.3), ("demand", 0.1)):
            assert abs(counts[name] - share * total) <= 1
        for batch in batches:
            seen[batch.table] += [tuple(row) for row in batch.categorical.tolist()]
    for name, table in tables.items():  # whole passes have every row, before any comes again
        first = seen[name][: len(table)]
        if len(first) == len(table):
            assert sorted(first) == sorted(tuple(row) for row in table.categorical.tolist())


def test_row_ids_carry_their_table_and_splits_are_told_apart(tables):
    whole = Join(tables)
    assert len(whole.row_id.unique()) == len(whole)
    split = join_splits({name: split_random(table, seed=1) for name, table in tables.items()})
    assert isinstance(split, Split) and isinstance(split.train, Join)
    check_disjoint(*split)
    with pytest.raises(SchemaError, match="share"):
        check_disjoint(whole, split.test)


def test_labels_and_masks_stand_over_all_rows(joined, tables):
    label, mask = joined.label("products.category"), joined.mask("products.category")
    start, rows = len(tables["log"]), len(tables["products"])
    assert torch.equal(label[start : start + rows], tables["products"].label("category"))
    assert mask.sum() == tables["products"].mask("category").sum()
    assert not mask[:start].any() and not mask[start + rows :].any()


def test_selected_tasks_keep_all_inputs_and_drop_tables_without_one(joined):
    chosen = joined.select_tasks(["products.category", "log.click"])
    assert chosen.schema.task_names == ("products.category", "log.click")
    assert list(chosen.tables) == ["log", "products"]
    assert chosen.schema.parts == joined.schema.parts
    assert {batch.table for batch in chosen.batches(64)} == {"log", "products"}
    assert chosen.label("log.click").shape == (len(chosen),)


def test_keys_of_all_tables_and_devices(tables):
    same = Join({"a": tables["log"], "b": tables["log"]})
    assert torch.equal(same.keys["user"], torch.cat([tables["log"].keys["user"]] * 2))
    assert "user" not in Join(tables).keys
    assert same.to("cpu").device.type == "cpu" and same.nbytes == 2 * tables["log"].nbytes


def test_the_schema_survives_json(joined):
    again = JoinedSchema.from_dict(joined.schema.to_dict())
    assert again == joined.schema
    assert not isinstance(again.part("log"), JoinedSchema)
    assert isinstance(joined.schema.with_tasks(joined.schema.tasks[:2]), JoinedSchema)


SMALL = tiny.schema("click", sequences=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({},), "at least one table"),
        (({"a.b": SMALL},), "without dots and slashes, not 'a.b'"),
        (({"a": SMALL}, {"item": ["a.item"]}), "two or more tables"),
        (({"a": SMALL, "b": SMALL}, {"item": ["a.item", "b.price"]}), "'b.price'"),
        (({"a": SMALL, "b": SMALL}, {"item": ["a.item", "b.user"]}), "6 ids, 'b.user' 11"),
        (({"a": SMALL, "b": SMALL}, {"item": ["a.item", "a.user"]}), "one each"),
        (
            ({"a": SMALL, "b": SMALL}, {"x": ["a.item", "b.item"], "y": ["b.item", "a.user"]}),
            "shared already",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(arguments, words):
    from mtlkit.data.joined_schema import join_schemas

    with pytest.raises(SchemaError, match=words):
        join_schemas(*arguments)


def test_shares_and_row_ids_that_do_not_fit_are_refused(tables):
    for shares in ({"log": 1.0}, {**dict.fromkeys(tables, 1.0), "log": 0.0}):
        with pytest.raises(SchemaError, match="number above 0 for each of log, products, demand"):
            Join(tables, shares)
    odd = tiny.table(SMALL, 3)
    odd.row_id = odd.row_id + 2**58
    with pytest.raises(SchemaError, match="'odd' has row ids outside"):
        Join({"odd": odd})
    assert isinstance(SMALL, Schema)


@pytest.mark.parametrize("shares", [(1000, 1, 1), (1, 1, 1), (1, 2, 300), (0.5, 0.1, 7)])
@pytest.mark.parametrize("size", [7, 40, 90])
def test_an_epoch_has_the_batches_that_it_promises_whatever_the_shares(tables, shares, size):
    joined = Join(tables, dict(zip(tables, shares, strict=True)))
    for epoch in range(3):
        found = [b.table for b in joined.batches(size, shuffle=True, seed=1, epoch=epoch)]
        assert len(found) == joined.batch_count(size) and set(found) == set(tables)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("shares", [None, (3, 1, 2)])
def test_dropped_batches_come_from_nowhere_else_and_do_not_move_a_start(tables, shares, shuffle):
    joined = Join(tables, None if shares is None else dict(zip(tables, shares, strict=True)))
    options = {"shuffle": shuffle, "seed": 2, "drop_last": True}
    whole = list(joined.batches(16, **options))
    assert all(len(batch) == 16 for batch in whole)
    assert len(whole) == sum(len(table) // 16 for table in tables.values())
    for start in (1, 2, 7, len(whole) - 1):
        rest = list(joined.batches(16, start=start, **options))
        assert [b.table for b in rest] == [b.table for b in whole[start:]]
        for a, b in zip(rest, whole[start:], strict=True):
            assert torch.equal(a.dense, b.dense)
    if not shuffle or shares is None:
        rows = sum(len({tuple(r) for r in t.dense.tolist()}) for t in tables.values())
        seen = {(b.table, tuple(r)) for b in whole for r in b.dense.tolist()}
        assert len(seen) <= rows and sum(map(len, whole)) <= len(joined)


def test_a_table_without_a_batch_is_passed_over_or_cannot_have_a_share(tables):
    small = {"log": tables["log"], "few": tables["log"].take([0, 1, 2])}
    assert {b.table for b in Join(small).batches(8, drop_last=True)} == {"log"}
    empty = {"log": tables["log"], "none": tables["log"].take([])}
    assert {b.table for b in Join(empty).batches(8, shuffle=True)} == {"log"}
    shared = Join(empty, shares={"log": 1, "none": 1})
    with pytest.raises(SchemaError, match="'none' has no batch of 8 rows"):
        shared.batch_count(8)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        list(Join(tables).batches(0))


def test_row_ids_stay_when_tasks_are_selected(joined, tables):
    chosen = joined.select_tasks(["products.category"])
    assert torch.isin(chosen.row_id, joined.row_id).all()
    start = len(tables["log"])
    assert torch.equal(chosen.row_id, joined.row_id[start : start + len(tables["products"])])


def test_a_table_on_disk_and_shares_that_are_no_numbers_are_refused(tables, tmp_path):
    from mtlkit.data import ShardedTable, write_shards

    shards = ShardedTable(write_shards(tables["log"], tmp_path / "log"))
    with pytest.raises(SchemaError, match="'log' is a ShardedTable; a join takes tables in memory"):
        Join({"log": shards})
    with pytest.raises(SchemaError, match="number above 0"):
        Join(tables, dict.fromkeys(tables, "x"))
