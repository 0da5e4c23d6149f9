"""Several sequences as one sequence of events."""

from dataclasses import replace
from functools import partial

import polars as pl
import pytest
import torch

import mtlkit
from mtlkit.data import Encoder, Join, ShardedTable, Table, concatenate, write_shards
from mtlkit.data.batch import free_rows
from mtlkit.data.gaps import GAP_IDS, gap_ids, gaps_before
from mtlkit.layers import (
    POOLINGS,
    FieldEmbedding,
    JoinedEmbedding,
    ShiftedEmbedding,
    SumPooling,
)
from mtlkit.models import SharedBottom
from mtlkit.models.export import export_served, served_inputs
from mtlkit.schema import Schema, SchemaError, Sequence, Task
from tests import tiny

SMALL = {"embedding_dim": 3, "hidden": (8,), "tower": (6,)}


def beside_schema(*names):
    """The tiny schema with a gap beside every viewed item, named before it."""
    plain = tiny.schema(*names)
    gap = Sequence("gap", size=9, beside="viewed")
    return replace(plain, sequences=(gap, *plain.sequences))


def beside_table(schema, rows=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    table = tiny.table(replace(schema, sequences=schema.sequences[1:]), rows, seed)
    values, offsets = table.sequences["viewed"]
    gaps = torch.randint(0, 9, (len(values),), generator=generator)
    columns = {n: v for n, v in vars(table).items() if n not in ("schema", "sequences")}
    return Table(schema, sequences={"gap": (gaps, offsets), **table.sequences}, **columns)


@pytest.mark.parametrize("inputs", [FieldEmbedding, ShiftedEmbedding])
@pytest.mark.parametrize("name", POOLINGS)
def test_an_event_is_the_sum_of_its_entries(name, inputs):
    schema = beside_schema()
    batch = tiny.all_rows(beside_table(schema))
    torch.manual_seed(0)
    layer = inputs(schema, 3, pooling=name)
    plain = replace(schema, sequences=schema.sequences[1:])
    assert layer.width == FieldEmbedding(plain, 3).width
    seen = []
    layer.layout.poolings[0].register_forward_pre_hook(lambda _, given: seen.append(given))
    assert layer(batch).shape == (12, layer.width)
    values, offsets = batch.sequences["viewed"]
    gap = layer.layout.sequence_starts[0] + batch.sequences["gap"][0]
    item = layer.layout.field_starts["item"] + values
    torch.testing.assert_close(seen[0][0], layer.table[gap] + layer.table[item])
    assert torch.equal(seen[0][1], offsets)


def test_a_pooling_is_named_for_the_sequence_of_events():
    with pytest.raises(ValueError, match=r"'gap', which stands beside 'viewed' .*: name 'viewed'"):
        FieldEmbedding(beside_schema(), 3, pooling={"gap": "sum"})
    layer = FieldEmbedding(beside_schema(), 3, pooling={"viewed": "gru"})
    assert type(layer.layout.poolings[0]) is POOLINGS["gru"] and len(layer.layout.poolings) == 2
    batch = tiny.all_rows(beside_table(beside_schema()))
    values, offsets = batch.sequences["gap"]
    batch.sequences["gap"] = (values[1:], offsets)
    with pytest.raises(ValueError, match=r"'gap' has \d+ entries in this batch, 'viewed', beside"):
        layer(batch)
    row = int((offsets.diff() > 0).nonzero()[1])  # as many in all, one too few in this row
    moved = offsets.clone()
    moved[row + 1 :] -= 1
    moved[-1] = offsets[-1]
    batch.sequences["gap"] = (values, moved)
    count = int(offsets[row + 1] - offsets[row])
    words = f"'gap' has {count - 1} entries in row {row} of this .*, 'viewed', .* stands, {count}:"
    with pytest.raises(ValueError, match=words):
        layer(batch)


def test_every_sequence_beside_one_is_added():
    """Two gaps and the item: the event is the sum of three rows, and each moves the answer."""
    plain = beside_schema()
    late = Sequence("late", size=4, beside="viewed")
    schema = replace(plain, sequences=(*plain.sequences, late))
    batch = tiny.all_rows(beside_table(plain))
    values, offsets = batch.sequences["viewed"]
    batch.sequences["late"] = (torch.arange(len(values)) % 4, offsets)
    torch.manual_seed(0)
    layer = FieldEmbedding(schema, 3, pooling="sum")
    places = dict(zip(layer.layout.sequence_names, layer.layout.sequence_starts, strict=True))
    seen = []
    layer.layout.poolings[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    before = layer(batch)
    parts = [layer.table[places[n] + batch.sequences[n][0]] for n in ("viewed", "gap", "late")]
    torch.testing.assert_close(seen[0], sum(parts))
    for name, size in (("gap", 9), ("late", 4)):
        ids, _ = batch.sequences[name]
        batch.sequences[name] = ((ids + 1) % size, offsets)
        assert not torch.equal(layer(batch), before), name
        batch.sequences[name] = (ids, offsets)


def test_every_table_of_a_join_pools_as_it_is_told():
    one = beside_table(beside_schema("click"))
    two = tiny.table(tiny.schema("purchase"), 9)
    join = Join({"a": one, "b": two})
    chosen = {"a.viewed": "transformer", "b.words": SumPooling()}
    layer = JoinedEmbedding(join.schema, 3, width=5, pooling=chosen)
    kinds = [[type(p).__name__ for p in layout.poolings] for layout in layer.layouts]
    assert kinds == [["CausalTransformer", "MeanPooling"], ["MeanPooling", "SumPooling"]]
    inputs = partial(JoinedEmbedding, pooling="gru")
    model = SharedBottom(join.schema, inputs=inputs, **SMALL)
    for batch in join.batches(8):
        assert all(logits.isfinite().all() for logits in model(batch).values())
    for name in ("viewed", "c.viewed"):
        with pytest.raises(ValueError, match=f"pooling names '{name}': a sequence of a join is"):
            JoinedEmbedding(join.schema, 3, pooling={name: "sum"})
    with pytest.raises(ValueError, match="'other', which is no sequence"):
        JoinedEmbedding(join.schema, 3, pooling={"a.other": "sum"})


@pytest.mark.parametrize(("sequences", "words"), [
    ([Sequence("gap", size=3, beside="seen")], "beside 'seen', which is no other .* known are no"),
    ([Sequence("gap", size=3, beside="gap")], "beside 'gap', which is no other sequence"),
    ([Sequence("a", size=3), Sequence("b", size=3, beside="a"), Sequence("c", size=3, beside="b")],
     "'c' stands beside 'b', which is no other sequence of events; known are a"),
    ([Sequence("a", size=3, max_length=7), Sequence("b", size=3, beside="a")],
     "'b' stands beside 'a' but keeps 50 entries, not 7: give both the same"),
])  # fmt: skip
def test_a_schema_refuses_what_cannot_stand_beside(sequences, words):
    with pytest.raises(SchemaError, match=words):
        Schema((Task("click"),), sequences=sequences)


def test_a_schema_keeps_what_stands_beside_and_one_without_reads_as_before():
    schema = beside_schema()
    assert Schema.from_dict(schema.to_dict()) == schema
    assert schema.extend(scenario="new").sequences == schema.sequences
    assert all("beside" not in s for s in tiny.schema().to_dict()["sequences"])
    moved = replace(schema, sequences=(replace(schema.sequences[0], beside="words"),
                                       *schema.sequences[1:]))  # fmt: skip
    with pytest.raises(SchemaError, match=r"'gap' of the table has beside words, .* has viewed"):
        mtlkit.data.agreement.require_inputs(schema, moved)


def test_tables_keep_events_together_and_refuse_other_lengths(tmp_path):
    table = beside_table(beside_schema("click"))
    some = concatenate(table.take([3, 0, 5]), table.take([7]))
    both = [some.sequences[name][1] for name in ("gap", "viewed")]
    assert torch.equal(*both) and some.schema == table.schema
    stored = ShardedTable(write_shards(table, tmp_path / "shards", rows_per_shard=5))
    assert stored.schema == table.schema
    values, offsets = table.sequences["gap"]
    row = int((offsets.diff() > 0).nonzero()[0])
    shorter = offsets.clone()
    shorter[row + 1 :] -= 1
    keep = torch.arange(len(values)) != offsets[row]
    columns = {n: v for n, v in vars(table).items() if n not in ("schema", "sequences")}
    sequences = {**table.sequences, "gap": (values[keep], shorter)}
    with pytest.raises(SchemaError, match=rf"Column 'gap', row {row}: .* of 'viewed'\. Give one"):
        Table(table.schema, sequences=sequences, **columns)


def frame():
    return pl.DataFrame({
        "click": [0, 1, 1, 0], "item": ["a", "b", "a", "b"],
        "viewed": [["a", None, "b", "a"], [], ["b"], None],
        "gap": [[1, 2, None, 4], None, [3], []],
    })  # fmt: skip


def encoder(**options):
    return Encoder(
        [Task("click")], categorical=["item"], sequences={"viewed": "item", "gap": None},
        beside={"gap": "viewed"}, **options,
    )  # fmt: skip


def test_an_encoder_gives_every_event_its_entries():
    fitted = encoder(max_length=3).fit(frame())
    table = fitted.transform(frame())
    assert fitted.schema.sequences[1] == Sequence("gap", size=5, max_length=3, beside="viewed")
    for name, ids in (("viewed", [0, 2, 1, 2]), ("gap", [2, 0, 4, 3])):
        values, offsets = table.sequences[name]
        assert values.tolist() == ids and offsets.tolist() == [0, 3, 3, 4, 4], name
    again = Encoder.from_state_dict(fitted.state_dict())
    assert again.schema == fitted.schema and dict(again.beside) == {"gap": "viewed"}
    apart = Encoder([Task("click")], categorical=["item"],
                    sequences={"viewed": "item", "gap": None}).fit(frame())  # fmt: skip
    assert apart.transform(frame()).sequences["viewed"][0].tolist() == [1, 2, 1, 2]
    assert apart.schema.encoding != fitted.schema.encoding
    wrong = frame().with_columns(gap=pl.Series([[1, 2, 3, 4], None, [3, 1], []]))
    with pytest.raises(SchemaError, match="Column 'gap', row 2: 2 entries stand beside 1 of"):
        fitted.transform(wrong)
    with pytest.raises(SchemaError, match="beside names 'time', which is not among the sequences"):
        Encoder([Task("click")], sequences={"gap": None}, beside={"gap": "time"})


def test_columns_of_arrays_are_read_as_lists():
    lists = pl.DataFrame({
        "click": [0, 1, 1], "item": ["a", "b", "a"],
        "viewed": [["a", None], ["b", "b"], None], "gap": [[1, 2], [None, 4], None],
        "seen": [[1, 2], [3, 4], None],
    })  # fmt: skip
    arrays = lists.with_columns(
        pl.col("viewed").cast(pl.Array(pl.String, 2)),
        pl.col("gap", "seen").cast(pl.Array(pl.Int64, 2)),
    )
    told = {"sequences": {"viewed": "item", "gap": None, "seen": None}, "beside": {"gap": "viewed"}}
    of_lists = Encoder([Task("click")], categorical=["item"], **told).fit(lists)
    for training in (arrays, arrays.lazy()):
        fitted = Encoder([Task("click")], categorical=["item"], **told).fit(training)
        assert fitted.schema == of_lists.schema
        found, right = fitted.transform(arrays).sequences, of_lists.transform(lists).sequences
        for name, parts in right.items():
            assert all(map(torch.equal, found[name], parts)), name


def test_lengths_are_compared_before_they_are_cut():
    schema = Schema((Task("click"),), sequences=(
        Sequence("a", size=3, max_length=2), Sequence("b", size=3, max_length=2, beside="a")
    ))  # fmt: skip
    columns = {"click": [0, 1], "a": [[1], [1, 2, 1]], "b": [[1], [1, 2]]}
    with pytest.raises(SchemaError, match="Column 'b', row 1: 2 entries stand beside 3 of 'a'"):
        Table.from_columns(schema, columns)


def test_prepare_and_a_saved_model_keep_events(tmp_path):
    rows = pl.concat([frame()] * 10)
    data = mtlkit.prepare(
        rows, "click", sequences={"viewed": "item", "gap": None}, beside={"gap": "viewed"}
    )
    assert [s.beside for s in data.schema.sequences] == [None, "viewed"]
    inputs = partial(FieldEmbedding, pooling="silu")
    model = SharedBottom(data.schema, inputs=inputs, **SMALL)
    mtlkit.save(tmp_path / "m", model, data)
    again = mtlkit.load(tmp_path / "m")
    assert again.model.schema == data.schema
    expected = model.eval().predict(tiny.all_rows(data.test))["click"]
    torch.testing.assert_close(again.model.eval().predict(tiny.all_rows(data.test))["click"],
                               expected)  # fmt: skip


def test_a_model_of_events_is_served():
    schema = beside_schema("click")
    model = SharedBottom(schema, inputs=partial(FieldEmbedding, pooling="target"), **SMALL).eval()
    served = export_served(model).module()
    batch = tiny.all_rows(beside_table(schema, 7))
    columns = {n: torch.from_numpy(c) for n, c in served_inputs(schema, batch).items()}
    torch.testing.assert_close(served(*columns.values())[0], model.predict(batch)["click"])
    columns["gap values"] = torch.cat([columns["gap values"]] * 2)
    with pytest.raises((RuntimeError, AssertionError)):  # the program says so itself
        served(*columns.values())
    shapes = free_rows(batch, {s.name: s.beside for s in schema.sequences})
    assert shapes[2]["gap"][0][0] is shapes[2]["viewed"][0][0] is not shapes[2]["words"][0][0]
    whole = torch.export.export(model, (batch,), dynamic_shapes=(shapes,)).module()
    other = tiny.all_rows(beside_table(schema, 5, seed=1))
    torch.testing.assert_close(whole(other)["click"], model(other)["click"])


def test_gaps_are_told_apart_by_powers_of_two():
    seconds = [float("nan"), 0, 0.99, 1, 1.9, 2, 3.9, 4, 31, 32, 3600, 2**29 - 1, 2**29, 1e15]
    assert gap_ids(seconds).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 6, 7, 13, 30, 31, 31]
    assert int(gap_ids(1e300)) == GAP_IDS - 1
    with pytest.raises(SchemaError, match=r"A gap is -1 seconds: events .* oldest first"):
        gap_ids([3, -1])


def test_gaps_before_events_are_as_long_as_the_moments():
    moments = pl.Series("t", [[10, 11, 15], [], None, [5], [1, None, 9, 10]])
    found = gaps_before(moments)
    assert found.to_list() == [[0, 2, 4], [], [], [0], [0, 0, 0, 2]]
    times = pl.Series("t", [[0, 3_600_000_000]]).cast(pl.List(pl.Datetime("us")))
    assert gaps_before(times).to_list() == [[0, 13]]
    nan = float("nan")
    fixed = pl.Series("t", [[1.0, 2.0, 4.5], [3.0, nan, 9.0], None], dtype=pl.Array(pl.Float64, 3))
    assert gaps_before(fixed).to_list() == [[0, 2, 3], [0, 0, 0], []]
    for gone in (None, nan):
        with pytest.raises(SchemaError, match="Column 't', row 1: events are out of order"):
            gaps_before(pl.Series("t", [[1.0], [3.0, gone, gone, 2.0]]))
    with pytest.raises(SchemaError, match="Column 't', row 1: events are out of order"):
        gaps_before(pl.Series("t", [[1], [3, 2]]))
    with pytest.raises(SchemaError, match=r"has type List.String.; lists of moments are needed"):
        gaps_before(pl.Series("t", [["a"]]))
