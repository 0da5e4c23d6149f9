"""The vocabulary of scenarios: names, numbers and what is unknown, whatever the column's type."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit import Encoder, Scenario, Schema, SchemaError, Table, Task
from mtlkit.data.scenarios import scenario_names

DAY = dt.datetime(2024, 3, 1, 12)
VALUES = {
    pl.Int8: st.integers(-128, 127),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt8: st.integers(0, 255),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Float32: st.floats(width=32, allow_nan=True, allow_infinity=True),
    pl.Float64: st.floats(allow_nan=True, allow_infinity=True),
    pl.Boolean: st.booleans(),
    pl.String: st.text(max_size=4).filter(lambda text: "\0" not in text and text.strip()),
    pl.Categorical: st.sampled_from(["search", "feed", "ads", "10", "9"]),
    pl.Enum(["search", "feed", "ads"]): st.sampled_from(["search", "feed", "ads"]),
    pl.Date: st.dates(),
    pl.Datetime: st.datetimes(min_value=dt.datetime(1700, 1, 1), max_value=dt.datetime(2200, 1, 1)),
    pl.Time: st.times(),
    pl.Duration: st.timedeltas(min_value=dt.timedelta(-900), max_value=dt.timedelta(900)),
    pl.Decimal(10, 2): st.decimals(-1000, 1000, places=2, allow_nan=False),
    pl.Binary: st.binary(max_size=3),
}


def encoder(column, **options):
    frame = pl.DataFrame({"place": column, "a": range(len(column)), "click": [0] * len(column)})
    options = {"tasks": [Task("click")], "categorical": ["a"], "scenario": "place"} | options
    return Encoder(**options).fit(frame), frame


def missing(value):
    return value is None or value != value


@pytest.mark.parametrize("dtype", VALUES, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_row_keeps_the_name_of_its_value_and_a_missing_one_is_unknown(dtype, data):
    entries = data.draw(st.lists(st.none() | VALUES[dtype], min_size=1, max_size=12))
    column = pl.Series(entries, dtype=dtype)
    if all(missing(value) for value in column.to_list()):
        with pytest.raises(SchemaError, match="'place' holds no scenario"):
            encoder(column)
        return
    fitted, frame = encoder(column)
    names = fitted.schema.scenario_names
    assert len(names) == fitted.schema.num_scenarios == len(set(names))
    numbers = fitted.transform(frame).scenario.tolist()
    for value, number in zip(column.to_list(), numbers, strict=True):
        if missing(value):
            assert number == fitted.schema.unknown_scenario
        else:
            assert names[number] == str(value)


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        (pl.Series([1, 2, 3]), pl.Series([4, 2, None])),
        (pl.Series([1, 2], dtype=pl.UInt8), pl.Series([-1, 2, 2**40])),
        (pl.Series(["feed", "ads"]), pl.Series(["feed", "Feed", ""])),
        (pl.Series([1, 2]), pl.Series(["1", "3", "one"])),
        (pl.Series([True, False]), pl.Series([True, None, None])),
        (pl.Series([DAY]), pl.Series([DAY, DAY + dt.timedelta(1), None])),
        (pl.Series([Decimal("1.50")]), pl.Series([Decimal("1.5"), Decimal("2.5"), None])),
    ],
)
def test_an_unseen_value_is_unknown_never_another_scenario(seen, unseen):
    fitted, frame = encoder(seen)
    table = fitted.transform(pl.DataFrame({"place": unseen, "a": [0, 1, 2], "click": [0, 0, 1]}))
    names = (*fitted.schema.scenario_names, "unknown")
    known = {str(value) for value in seen.to_list()}
    expected = [str(v) if str(v) in known else "unknown" for v in unseen.to_list()]
    assert [names[number] for number in table.scenario.tolist()] == expected


def test_numbers_are_in_their_own_order_and_text_in_that_of_its_letters():
    assert scenario_names(pl.Series([10, 9, 2])) == ["2", "9", "10"]
    assert scenario_names(pl.Series(["10", "9", "2"])) == ["10", "2", "9"]
    assert scenario_names(pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"]))) == ["a", "b"]
    assert scenario_names(pl.Series([True, False])) == ["False", "True"]


@pytest.mark.parametrize(
    ("learned", "given", "expected"),
    [
        ([1, 2], [1.0, None, 2.0], ["1", "unknown", "2"]),  # whole numbers that met gaps elsewhere
        ([1, 2], [1.5, 2.0, float("nan")], ["unknown", "2", "unknown"]),
        ([1.0, 2.0], [1, 2, 3], ["1.0", "2.0", "unknown"]),
        ([1, 2], ["2", "1", "x"], ["2", "1", "unknown"]),
        (["1", "2"], [2, 1, 3], ["2", "1", "unknown"]),
        ([True, False], [None, None, None], ["unknown"] * 3),
    ],
)
def test_equal_values_of_another_type_keep_their_name(learned, given, expected):
    fitted, _ = encoder(pl.Series(learned))
    frame = pl.DataFrame({"place": given, "a": [0, 1, 2], "click": [0, 0, 1]})
    names = (*fitted.schema.scenario_names, "unknown")
    assert [names[i] for i in fitted.transform(frame).scenario.tolist()] == expected


@pytest.mark.parametrize(
    ("learned", "given"),
    [
        ([True, False], [0, 1]),
        ([DAY.date()], [DAY]),
        ([1, 2], [True, False]),
        (["search"], [1.0]),
        ([Decimal("1")], [1]),
    ],
)
def test_a_type_in_which_no_value_can_be_known_is_refused(learned, given):
    fitted, _ = encoder(pl.Series(learned))
    frame = pl.DataFrame({"place": given}).with_columns(a=pl.lit(0), click=pl.lit(1))
    with pytest.raises(SchemaError, match=r"'place' has type .*; in training it was"):
        fitted.transform(frame)


@pytest.mark.parametrize("column", [[0.0, 1.0], [True, False], [DAY, DAY]])
def test_a_column_that_holds_no_name_of_a_given_schema_is_refused_by_its_type(column):
    schema = Schema((Task("click"),), scenarios=(Scenario("search"), Scenario("feed")))
    with pytest.raises(SchemaError, match=r"'place' has type .* none of its values is the name"):
        Table.from_columns(schema, {"place": column, "click": [0, 1]}, scenario="place")


def test_blank_text_and_values_that_read_alike_are_no_scenarios_of_their_own():
    assert scenario_names(pl.Series(["", " ", "feed", None])) == ["feed"]
    fitted, frame = encoder(pl.Series(["", "feed"]))
    assert fitted.transform(frame).scenario.tolist() == [1, 0]
    moments = pl.Series([1, 2, 3000]).cast(pl.Datetime("ns"))  # Python knows no nanoseconds
    fitted, frame = encoder(moments)
    names = fitted.schema.scenario_names
    assert len(names) == 2
    assert [names[i] for i in fitted.transform(frame).scenario.tolist()] == [
        str(value) for value in moments.to_list()
    ]


@pytest.mark.parametrize("column", [[[1]], [{"a": 1}]])
def test_lists_and_records_are_refused_by_name(column):
    with pytest.raises(SchemaError, match=r"'place' has type .* one value a row"):
        encoder(pl.Series(column))


@pytest.mark.parametrize(
    ("names", "column", "expected"),
    [
        (("search", "feed"), [0, 1, 2], [0, 1, 2]),  # numbers; 2 is the unknown one
        (("search", "feed"), ["feed", "ads", None], [1, 2, 2]),
        (("1", "2"), [1, 2, 3], [0, 1, 2]),  # names that are numbers: by name
        (("1", "2"), ["2", "x", "1"], [1, 2, 0]),
    ],
)
def test_columns_of_a_given_schema_are_read_by_name_or_by_number(names, column, expected):
    schema = Schema((Task("click"),), scenarios=tuple(Scenario(name) for name in names))
    columns = {"place": pl.Series(column), "click": [0, 1, 0]}
    assert Table.from_columns(schema, columns, scenario="place").scenario.tolist() == expected


def test_a_number_beyond_the_unknown_one_is_refused():
    schema = Schema((Task("click"),), scenarios=(Scenario("search"), Scenario("feed")))
    with pytest.raises(SchemaError, match=r"row 1: 3 is not in 0 .. 1 \(2: unknown\)"):
        Table.from_columns(schema, {"place": [0, 3], "click": [0, 1]}, scenario="place")
    alone = Schema((Task("click"),))
    empty = torch.zeros(1, 0)
    with pytest.raises(SchemaError, match=r"1 is not in 0 .. 0\."):
        Table(
            alone, empty.long(), empty, {}, torch.zeros(1, 1), torch.ones(1, 1).bool(),
            torch.ones(1, dtype=torch.int64),
        )  # fmt: skip


def test_the_unknown_scenario_has_a_name_that_no_scenario_has():
    schema = Schema((Task("click"),), scenarios=(Scenario("unknown"), Scenario("(unknown)")))
    assert schema.unknown_scenario == 2
    assert schema.unknown_scenario_name == "((unknown))"
    assert Schema((Task("click"),)).unknown_scenario_name == "unknown"
