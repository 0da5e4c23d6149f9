"""Whatever comes in is read rightly or refused by a sentence that names the column: a grid."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from mtlkit import Encoder, Table, Task
from mtlkit.data.splits import split_time
from mtlkit.data.vocabulary import family, ids, learn
from mtlkit.schema import Categorical, Dense, Schema, SchemaError
from mtlkit.schema import Sequence as SequenceField

MOMENT = datetime(2026, 11, 29, 12, 30)
SAMPLES = {
    "int8": pl.Series([1, 2, 1, 0], dtype=pl.Int8),
    "int64": pl.Series([1, 2, 1, -(2**62)], dtype=pl.Int64),
    "int128": pl.Series([1, 2, 1, 2**100], dtype=pl.Int128),
    "uint8": pl.Series([1, 2, 1, 255], dtype=pl.UInt8),
    "uint64": pl.Series([1, 2, 1, 2**64 - 1], dtype=pl.UInt64),
    "float32": pl.Series([1.0, 2.5, 1.0, 0.0], dtype=pl.Float32),
    "float64": pl.Series([1.0, 2.5, 1.0, 1e300], dtype=pl.Float64),
    "NaN": pl.Series([1.0, float("nan"), 1.0, 2.0]),
    "infinity": pl.Series([1.0, float("inf"), 1.0, 2.0]),
    "decimal": pl.Series([Decimal("1.10"), Decimal("2.20"), Decimal("1.10"), None]),
    "truth values": pl.Series([True, False, True, None]),
    "text": pl.Series(["a", "", "a", None]),
    "categories": pl.Series(["a", "b", "a", None], dtype=pl.Categorical),
    "enum": pl.Series(["a", "b", "a", None], dtype=pl.Enum(["b", "a", "c"])),
    "dates": pl.Series([date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 1), None]),
    "moments": pl.Series([MOMENT, MOMENT + timedelta(1), MOMENT, MOMENT], dtype=pl.Datetime("ms")),
    "moments with zone": pl.Series([MOMENT.replace(tzinfo=timezone.utc)] * 4),
    "times": pl.Series([time(1), time(2), time(1), None]),
    "durations": pl.Series([timedelta(1), timedelta(2), timedelta(1), None]),
    "bytes": pl.Series([b"a", b"b", b"a", None]),
    "nothing": pl.Series([None] * 4, dtype=pl.Null),
    "lists": pl.Series([[1], [2, 1], [], None]),
    "lists of text": pl.Series([["a"], ["b", None], [], None]),
    "arrays": pl.Series([[1, 2]] * 4, dtype=pl.Array(pl.Int64, 2)),
    "lists of lists": pl.Series([[[1]], [[2]], [], None]),
    "records": pl.Series([{"a": 1}, {"a": 2}, {"a": 1}, None]),
    "objects": pl.Series([object(), object(), object(), object()], dtype=pl.Object),
}
ROLES = ("categorical", "dense", "log1p", "sequence", "scenario", "key", "label", "amount", "count")


def encoder(role):
    """An encoder for a frame whose column "x" has this role."""
    tasks = [Task("click")]
    if role in ("label", "amount", "count"):
        kind = {"label": "binary", "amount": "regression", "count": "count"}[role]
        return Encoder([Task("x", kind)], categorical=["a"])
    options = {
        "categorical": {"categorical": ["a", "x"]}, "dense": {"dense": ["x"]},
        "log1p": {"dense": ["x"], "log1p": ["x"]}, "sequence": {"sequences": {"x": None}},
        "scenario": {"scenario": "x"}, "key": {"keys": ["x"]},
    }[role]  # fmt: skip
    return Encoder(tasks, **({"categorical": ["a"]} | options))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", SAMPLES)
def test_every_type_in_every_role_is_read_or_refused_by_a_sentence(kind, role):
    frame = pl.DataFrame({"a": [1, 2, 3, 4], "click": [0, 1, 0, 1], "x": SAMPLES[kind]})
    try:
        table = encoder(role).fit(frame).transform(frame)
    except SchemaError as refusal:
        assert "'x'" in str(refusal) and str(refusal).endswith((".", "yet"))
    else:
        assert len(table) == 4


@pytest.mark.parametrize("role", ("categorical", "dense", "sequence", "label", "key"))
@pytest.mark.parametrize("kind", SAMPLES)
def test_every_type_of_a_tables_own_columns_is_read_or_refused(kind, role):
    task = Task("x" if role == "label" else "click")
    inputs = {
        "categorical": {"categorical": (Categorical("x", 5),)}, "dense": {"dense": (Dense("x"),)},
        "sequence": {"sequences": (SequenceField("x", size=5),)},
    }.get(role, {"dense": (Dense("price"),)})  # fmt: skip
    schema = Schema((task,), **inputs)
    columns = {"x": SAMPLES[kind], "click": [0, 1, 0, 1], "price": [1.0, 2.0, 3.0, 4.0]}
    try:
        table = Table.from_columns(schema, columns, keys=["x"] if role == "key" else ())
    except SchemaError as refusal:
        assert "'x'" in str(refusal) and str(refusal).endswith(".")
    else:
        assert len(table) == 4


@pytest.mark.parametrize("kind", SAMPLES)
def test_ids_of_the_training_rows_are_those_of_their_values(kind):
    series = SAMPLES[kind].alias("x")
    try:
        vocabulary = learn(series)
    except SchemaError:
        return
    found = ids(series, vocabulary).to_list()
    values = series.to_list()
    for one, other in ((0, 2), (0, 1)):
        assert (found[one] == found[other]) == (values[one] == values[other])
    assert all((number == 0) == (value is None) for number, value in zip(found, values))


@pytest.mark.parametrize("new", [pl.UInt64, pl.Int128, pl.Int8, pl.UInt8])
@pytest.mark.parametrize("old", [pl.Int8, pl.UInt16, pl.Int64, pl.UInt64])
def test_an_unseen_number_of_any_width_is_id_zero(old, new):
    vocabulary = learn(pl.Series("x", [7, 3, 100], dtype=old))
    highest = {pl.Int8: 127, pl.UInt8: 255, pl.UInt64: 2**64 - 1, pl.Int128: 2**100}[new]
    series = pl.Series("x", [3, highest, None, 100, 7], dtype=new)
    assert ids(series, vocabulary).to_list() == [1, 0, 0, 3, 2]


def test_numbers_beyond_64_signed_bits_keep_ids_of_their_own():
    values = pl.Series("x", [2**63, 2**64 - 1, 5], dtype=pl.UInt64)
    assert ids(values, learn(values)).to_list() == [2, 3, 1]
    assert ids(pl.Series("x", [2**100, 2**63], dtype=pl.Int128), learn(values)).to_list() == [0, 2]


@pytest.mark.parametrize("new", [pl.String, pl.Categorical, pl.Enum(["z", "b", "a"])])
@pytest.mark.parametrize("old", [pl.String, pl.Categorical, pl.Enum(["b", "a", "c"])])
def test_text_is_text_whatever_its_form(old, new):
    vocabulary = learn(pl.Series("x", ["b", "a", None], dtype=old))
    assert vocabulary.to_list() == ["a", "b"]
    assert ids(pl.Series("x", ["z", "a", None, "b"], dtype=new), vocabulary).to_list() == [
        0,
        1,
        0,
        2,
    ]


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_moments_are_equal_across_units_and_never_rounded(unit):
    vocabulary = learn(pl.Series("x", [MOMENT], dtype=pl.Datetime("ms")))
    later = pl.Series("x", [MOMENT, MOMENT + timedelta(microseconds=1)], dtype=pl.Datetime(unit))
    assert ids(later, vocabulary).to_list()[0] == 1
    if unit != "ms":
        assert ids(later, vocabulary).to_list() == [1, 0]


def test_a_column_that_was_empty_in_training_gives_id_zero():
    frame = pl.DataFrame({"x": pl.Series([None] * 3, dtype=pl.Null), "click": [0, 1, 0]})
    fitted = Encoder([Task("click")], categorical=["x"]).fit(frame)
    later = fitted.transform(pl.DataFrame({"x": ["a", "b"], "click": [0, 1]}))
    assert later.categorical[:, 0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("learned", "later"),
    [
        (pl.Series([1, 2]), pl.Series([1.0, 2.5])),
        (pl.Series([1, 2]), pl.Series(["1", "2"])),
        (pl.Series(["1", "2"]), pl.Series([1, 2])),
        (pl.Series([True, False]), pl.Series([1, 0])),
        (pl.Series([date(2026, 1, 1)] * 2), pl.Series([MOMENT] * 2)),
        (pl.Series([MOMENT] * 2), pl.Series([MOMENT.replace(tzinfo=timezone.utc)] * 2)),
    ],
)
def test_values_of_another_family_are_refused_and_not_cut(learned, later):
    with pytest.raises(SchemaError, match=r"Column 'x' holds .* in training it held .* Cast it"):
        ids(later.alias("x"), learn(learned.alias("x")))
    assert family(learned.dtype) != family(later.dtype)


def keyed(column):
    frame = pl.DataFrame(
        {"x": column, "a": range(len(column)), "click": [0, 1] * (len(column) // 2)}
    )
    return Encoder([Task("click")], categorical=["a"], keys=["x"]).fit(frame).transform(frame)


@pytest.mark.parametrize(
    "dtype", [pl.Date, pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")]
)
@pytest.mark.parametrize(
    "boundaries",
    [
        (date(2026, 1, 3), date(2026, 1, 5)), ("2026-01-03", "2026-01-05"),
        (datetime(2026, 1, 3), datetime(2026, 1, 5, tzinfo=timezone.utc)),
    ],
)  # fmt: skip
def test_time_is_split_by_dates(dtype, boundaries):
    days = pl.Series([date(2026, 1, d) for d in (1, 2, 3, 4, 5, 6)]).cast(dtype)
    split = split_time(keyed(days), "x", boundaries)
    assert [table.categorical[:, 0].tolist() for table in split] == [[1, 2], [3, 4], [5, 6]]


def test_text_keys_have_equal_numbers_where_they_are_equal_and_on_every_machine():
    numbers = keyed(pl.Series(["u1", "u2", "u1", "ü"])).keys["x"].tolist()
    assert numbers[0] == numbers[2] and len(set(numbers)) == 3
    assert numbers[0] == -7883184562601301291  # a hash of its own, not Python's


def test_a_key_with_a_gap_or_beyond_64_bits_is_refused_by_row():
    with pytest.raises(SchemaError, match=r"Key 'x', row 1: the value is missing \(1 in all\)"):
        keyed(pl.Series(["a", None]))
    with pytest.raises(SchemaError, match="row 1: 18446744073709551615 needs over 64 bits"):
        keyed(pl.Series([1, 2**64 - 1], dtype=pl.UInt64))


def test_gauc_groups_by_text_keys_as_by_numbers():
    from mtlkit import SharedBottom, evaluate, fit

    rng = np.random.default_rng(0)
    user = rng.integers(0, 20, 400)
    frame = pl.DataFrame({"number": user, "a": rng.integers(0, 9, 400)})
    frame = frame.with_columns(text="user " + pl.col("number").cast(pl.String))
    frame = frame.with_columns(click=pl.Series(rng.integers(0, 2, 400)))
    both = Encoder([Task("click")], categorical=["a"], keys=["number", "text"]).fit(frame)
    table = both.transform(frame)
    model = SharedBottom(table.schema, embedding_dim=4, hidden=(8,), tower=())
    fit(model, table, epochs=1, progress=False)
    by_number, by_text = (evaluate(model, table, group=k)["click"] for k in ("number", "text"))
    assert by_number == by_text and "gauc" in by_text


def test_rows_to_score_need_no_labels_and_half_of_them_is_refused():
    frame = pl.DataFrame({"a": [1, 2, 3], "click": [0, 1, 1], "buy": [0, 0, 1]})
    fitted = Encoder([Task("click"), Task("buy")], categorical=["a"]).fit(frame)
    table = fitted.transform(frame.drop("click", "buy"))
    assert not table.observed.any() and table.labels.shape == (3, 2)
    with pytest.raises(SchemaError, match="Column 'buy' is missing"):
        fitted.transform(frame.drop("buy"))


def test_rows_of_several_transforms_are_told_apart_and_the_same_rows_are_not():
    from mtlkit import SharedBottom, Split, compare

    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.integers(0, 9, 600), "click": rng.integers(0, 2, 600)})
    fitted = Encoder([Task("click")], categorical=["a"]).fit(frame[:200])
    parts = [fitted.transform(frame[begin : begin + 200]) for begin in (0, 200, 400)]
    assert parts[0].row_id.equal(fitted.transform(frame[:200]).row_id)

    def build(seed):
        return SharedBottom(fitted.schema, embedding_dim=4, hidden=(8,), tower=())

    options = {"seeds": [0], "on": "test", "fit_options": {"epochs": 1}, "progress": False}
    compare({"shared": build}, Split(*parts), **options)
    with pytest.raises(SchemaError, match="share 200 row"):
        compare({"shared": build}, Split(parts[0], parts[1], parts[0]), **options)
