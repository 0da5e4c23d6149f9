"""Every wrong thing for every argument of a table: a sentence that names it, no other error."""

import numpy as np
import pytest
import torch

from mtlkit.data import Table
from mtlkit.schema import SchemaError
from tests.data.test_shards import make_table

TABLE = make_table(12)
PARTS = dict(vars(TABLE))
COLUMNS = ("categorical", "dense", "labels", "observed", "scenario", "censored", "row_id")
MAPS = {"sequences": "history", "truth": "click", "keys": "time"}


def rebuilt(name, value):
    return Table(**(PARTS | {name: value}))


def refused(name, value, *, of=None):
    """The sentence that refuses a value; it names the argument or the column."""
    with pytest.raises(SchemaError) as refusal:
        rebuilt(name, value)
    told = str(refusal.value)
    fields = ("user", "item", "pixel", "price", "history")
    named = [name, of or name, *TABLE.schema.task_names, *fields]
    assert any(word in told for word in named) and told.endswith("."), told
    return told


def wrong_kinds(column):
    """What is not this tensor, by name."""
    other = torch.float64 if column.is_floating_point() else torch.int32
    yield "None", None
    yield "number", 3
    yield "text", "abc"
    yield "list", column.tolist()
    yield "array", column.numpy()
    yield "type", column.to(other)
    yield "complex", column.to(torch.complex64)
    yield "half", column.to(torch.bfloat16)
    yield "no dimension", column.flatten()[0]
    yield "a dimension more", column.unsqueeze(-1)
    yield "flat", column.flatten() if column.dim() > 1 else column.unsqueeze(0)
    yield "short", column[:-1]
    yield "long", torch.cat([column, column[:1]])
    yield "empty", column[:0]
    yield "sparse", column.to_sparse()
    yield "on no device", column.to("meta")
    yield "nested", torch.nested.nested_tensor([column, column[:3]])
    if column.is_floating_point():
        yield "with gradient", column.clone().requires_grad_()
    if column.dim() == 2:
        yield "narrow", column[:, :-1]
        yield "wide", torch.cat([column, column[:, :1]], dim=1)


SAME = {"censored": ("None",), "row_id": ("None",), "truth": ("a dimension more",)}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_column_of_another_kind_is_refused(name):
    for what, value in wrong_kinds(PARTS[name]):
        if what in SAME.get(name, ()):
            continue
        if name == "scenario" and what in ("short", "long", "empty"):
            refused(name, value, of="categorical")  # rows are counted by it
        else:
            refused(name, value)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_entry_of_another_kind_is_refused(name):
    entries, key = PARTS[name], MAPS[name]
    columns = [entries[key]] if name != "sequences" else list(entries[key])
    for place, column in enumerate(columns):
        for what, value in wrong_kinds(column):
            if what in SAME.get(name, ()):
                continue
            pair = tuple(value if i == place else c for i, c in enumerate(columns))
            refused(name, entries | {key: pair if name == "sequences" else value}, of=key)
    for wrong in (3, "abc", [1], entries[key], [(key, entries[key])]):
        assert "dictionary" in refused(name, wrong)
    for wrong in (3, None, ("a",)):
        assert "a column's name is a text" in refused(name, entries | {wrong: entries[key]})


def test_sequences_are_those_of_the_schema_and_pairs():
    entries = PARTS["sequences"]
    assert "'items' is missing" in refused("sequences", {"history": entries["history"]})
    assert "'new' is not in the schema" in refused(
        "sequences", entries | {"new": entries["items"]}, of="new"
    )
    values, offsets = entries["history"]
    for wrong in (values, (values,), (values, offsets, offsets), [values, offsets], None, 3, {}):
        assert "must be a pair" in refused("sequences", entries | {"history": wrong})


@pytest.mark.parametrize(
    ("place", "value"), [(0, 1), (0, -1), (-1, 3), (-1, 10**6), (4, -5), (4, 99), (3, 2**62)]
)
def test_offsets_that_lead_nowhere_are_refused(place, value):
    values, offsets = PARTS["sequences"]["history"]
    ragged = offsets.clone()
    ragged[place] = value
    told = refused("sequences", PARTS["sequences"] | {"history": (values, ragged)})
    assert "history" in told


def at(name, place, value):
    column = PARTS[name].clone()
    column[place] = value
    return column


NAN, INF = float("nan"), float("inf")
OUTSIDE = [
    ("categorical", (4, 0), 1000, "'user', row 4: 1000"),
    ("categorical", (4, 1), -1, "'item', row 4"),
    ("categorical", (4, 1), 2**62, "'item', row 4"), ("scenario", 4, 3, "'scenario', row 4: 3"),
    ("scenario", 4, -1, "'scenario', row 4: -1"), ("row_id", 4, int(PARTS["row_id"][5]), "row_id"),
    *[("dense", (4, i), v, "row 4") for i in (1, 3) for v in (NAN, INF, -INF)],
    *[("labels", (4, i), v, "row 4") for i in range(4) for v in (NAN, INF, -INF)],
    ("labels", (4, 0), 0.5, "'click', row 4"), ("labels", (4, 0), 2, "'click', row 4"),
    ("labels", (4, 1), -1, "'units', row 4"), ("labels", (4, 1), 0.5, "'units', row 4"),
    ("labels", (5, 0), 1, "not observed"), ("observed", (4, 3), True, "'buy', row 4"),
    ("censored", (4, 0), True, "'click', row 4"), ("censored", (4, 2), True, "'dwell', row 4"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "place", "value", "words"), OUTSIDE)
def test_a_value_outside_is_refused_with_its_row(name, place, value, words):
    assert words in refused(name, at(name, place, value))


def test_ids_in_sequences_are_held_against_their_field():
    values, offsets = PARTS["sequences"]["history"]
    for wrong in (9, -1, 2**62):
        damaged = values.clone()
        damaged[3] = wrong
        told = refused("sequences", PARTS["sequences"] | {"history": (damaged, offsets)})
        assert f"'history', row 3: {wrong}" in told


@pytest.mark.parametrize("wrong", [None, 3, "abc", {}, TABLE, TABLE.schema.to_dict()])
def test_what_is_no_schema_is_refused(wrong):
    with pytest.raises(SchemaError, match="A table needs a Schema, not a"):
        rebuilt("schema", wrong)


def test_rows_that_are_none_of_the_table_are_refused():
    for wrong in ([12], [-1], [0, 99], 3, "abc", None, [0.5], [[1, 2]], [True], np.ones((2, 2)),
                  torch.tensor(3), [1 + 2j], ["a"], [[1], [2, 3]], {"a": 1}, [2**70]):  # fmt: skip
        with pytest.raises(SchemaError, match=r"Row|index|mask"):
            TABLE.take(wrong)
    assert len(TABLE.take([])) == len(TABLE.take(torch.zeros(12, dtype=torch.bool))) == 0
    assert len(TABLE.take(range(3))) == len(TABLE.take(np.arange(12) < 3)) == 3


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "a", None, True, [1]])
def test_a_batch_size_that_is_none_is_refused(wrong):
    for act in (lambda: next(TABLE.batches(wrong)), lambda: TABLE.batch_count(wrong)):
        with pytest.raises(ValueError, match="batch_size must be"):
            act()
    if wrong != 0 or wrong is False:
        with pytest.raises(ValueError, match="start must be"):
            next(TABLE.batches(3, start=-1 if wrong is True else wrong))


@pytest.mark.parametrize(
    "wrong", [None, 3, "buy it", ["click", "buy it"], [], ["click"] * 2, [3], [[]]]
)
def test_tasks_that_are_none_are_refused(wrong):
    with pytest.raises(SchemaError, match=r"task"):
        TABLE.select_tasks(wrong)
    with pytest.raises(SchemaError, match=r"task"):
        TABLE.with_tasks(wrong)
