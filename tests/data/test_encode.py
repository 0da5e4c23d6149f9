import numpy as np
import polars as pl
import pytest

from mtlkit.data import Encoder
from mtlkit.schema import SchemaError, Task


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "brand": ["b", "a", "b", "c", None],
            "price": [1.0, None, 3.0, 5.0, 7.0],
            "viewed": [["a", "b"], [], ["zzz", "c"], None, ["b"]],
            "place": ["feed", "ads", "feed", "ads", "ads"],
            "click": [1, 0, 1, 0, 1],
            "dwell": [3.0, None, 8.0, None, 0.0],
            "user": [7, 7, 8, 9, 9],
        }
    )


def encoder(**changes) -> Encoder:
    options = {
        "categorical": ["brand"],
        "dense": ["price"],
        "sequences": {"viewed": "brand"},
        "scenario": "place",
        "keys": ["user"],
    }
    tasks = [Task("click"), Task("dwell", "regression", given="click", log1p=True)]
    return Encoder(tasks, **(options | changes))


def test_ids_start_at_one_in_sorted_order_and_gaps_are_zero():
    table = encoder().fit(frame()).transform(frame())
    assert table.categorical[:, 0].tolist() == [2, 1, 2, 3, 0]
    assert table.schema.categorical[0].size == 4


def test_a_value_not_seen_in_training_becomes_id_zero():
    fitted = encoder().fit(frame().head(3))
    table = fitted.transform(frame())
    assert table.categorical[:, 0].tolist() == [2, 1, 2, 0, 0]


def test_rare_values_fall_under_min_count():
    fitted = encoder(min_count=2).fit(frame())
    assert fitted.values("brand") == ["b"]


def test_dense_columns_are_standardised_with_training_statistics_only():
    train, test = frame().head(4), frame().tail(1)
    fitted = encoder().fit(train)
    filled = np.array([1.0, 3.0, 3.0, 5.0])  # the gap becomes the median, 3
    expected = (filled - filled.mean()) / filled.std()
    table = fitted.transform(train)
    assert table.dense[:, 0].numpy() == pytest.approx(expected, abs=1e-6)
    assert table.dense[:, 1].tolist() == [0, 1, 0, 0]
    later = fitted.transform(test)
    assert later.dense[0, 0].item() == pytest.approx((7 - filled.mean()) / filled.std())


def test_sequences_share_the_ids_of_their_field():
    values, offsets = encoder().fit(frame()).transform(frame()).sequences["viewed"]
    assert values.tolist() == [1, 2, 0, 3, 2] and offsets.tolist() == [0, 2, 2, 4, 4, 5]


def test_sequences_keep_the_newest_entries():
    values, _ = encoder(max_length=1).fit(frame()).transform(frame()).sequences["viewed"]
    assert values.tolist() == [2, 3, 2]


def test_scenarios_are_named_and_an_unseen_one_is_unknown():
    fitted = encoder().fit(frame())
    assert fitted.schema.scenario_names == ("ads", "feed")
    assert fitted.transform(frame()).scenario.tolist() == [1, 0, 1, 0, 0]
    strange = fitted.transform(frame().with_columns(place=pl.lit("mars")))
    assert strange.scenario.tolist() == [fitted.schema.unknown_scenario] * 5


def test_regression_tasks_are_fitted_on_training_labels():
    task = encoder().fit(frame()).schema.task("dwell")
    logs = np.log1p([3.0, 8.0, 0.0])
    assert task.location == pytest.approx(logs.mean()) and task.scale == pytest.approx(logs.std())


def test_log1p_is_taken_before_standardising():
    table = encoder(log1p=["price"]).fit(frame()).transform(frame())
    raw = np.log1p([1.0, np.nan, 3.0, 5.0, 7.0])
    raw[1] = np.nanmedian(raw)
    assert table.dense[:, 0].numpy() == pytest.approx((raw - raw.mean()) / raw.std(), abs=1e-6)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: encoder().transform(frame()), "fit"),
        (lambda: encoder(log1p=["brand"]), "'brand'"),
        (lambda: encoder().fit(frame().drop("price")), "'price' is missing"),
        (lambda: encoder(dense=["brand"], categorical=[], sequences={}).fit(frame()), "'brand'"),
        (lambda: encoder(categorical=["price"], sequences={}).fit(frame()), "'price' holds floats"),
        (
            lambda: encoder(log1p=["price"]).fit(frame().with_columns(price=pl.lit(-1.0))),
            "'price', row 0: -1.0 is below 0",
        ),
        (
            lambda: encoder().fit(frame().with_columns(price=pl.lit(float("inf")))),
            "'price', row 0: infinity",
        ),
        (
            lambda: encoder().fit(frame().with_columns(price=pl.lit(None, pl.Float64))),
            "'price' is empty",
        ),
    ],
)
def test_a_column_that_cannot_be_encoded_is_refused_by_name(act, words):
    with pytest.raises(SchemaError, match=words):
        act()


@pytest.mark.parametrize("role", ["categorical", "dense", "keys"])
def test_one_name_is_a_column_and_not_its_letters(role):
    column = {"categorical": "brand", "dense": "price", "keys": "user"}[role]
    one, several = encoder(**{role: column}), encoder(**{role: [column]})
    assert getattr(one, role) == [column]
    if role != "categorical":  # whose ids a sequence shares
        assert one.fit(frame()).schema == several.fit(frame()).schema
    with pytest.raises(ValueError, match=rf'{role} is a list of columns, {role}=\["name"\], not 3'):
        encoder(**{role: 3})
    with pytest.raises(ValueError, match=f"{role} is a list of columns"):
        encoder(**{role: {"brand": 1}})


@pytest.mark.parametrize("dtype", [pl.Null, pl.String, pl.Int64, pl.Float32, pl.Boolean])
def test_a_column_without_one_value_is_all_gaps_whatever_its_type(dtype):
    fitted = encoder().fit(frame())
    bare = frame().with_columns(price=pl.lit(None, dtype=dtype))
    wanted = fitted.transform(frame().with_columns(price=pl.lit(None, dtype=pl.Float64)))
    assert fitted.transform(bare).dense.equal(wanted.dense)
    assert (wanted.dense[:, 1] == 1).all()  # missing
    with pytest.raises(SchemaError, match=r"'price' is empty in the training.*drop=\[\"price"):
        encoder().fit(bare)
    text = frame().with_columns(price=pl.lit("dear"))
    with pytest.raises(SchemaError, match="'price' has type String; a dense column needs numbers"):
        fitted.transform(text)


def test_floats_that_gaps_made_of_whole_numbers_are_told_how_to_become_ids():
    rows = frame().with_columns(shop=pl.Series([1.0, None, 3.0, 1.0, 2.0]))
    with pytest.raises(SchemaError, match=r'pl.col\("shop"\).cast\(pl.Int64\)'):
        encoder(categorical=["brand", "shop"]).fit(rows)


@pytest.mark.parametrize(("task", "values", "words"), [
    (Task("y"), [0.0, 1, 28.38, 0, 1], r'row 2: 28.38; label of a binary task is 0 or 1\. An am'),
    (Task("y", "count"), [0.0, 1, 2, 0.5, 1], r'row 3: 0.5; .* count task is 0, 1, .*regression"'),
    (Task("y", "multiclass", classes=3), [0.0, 1, 1.5, 0, 1], "row 2: 1.5; .* number of a class"),
    (Task("y", "multiclass", classes=3), [0, 2, 3, 1, 2], "row 2: 3 is not a class: they are 0"),
    (Task("y"), ["no", "yes", "no", "no", None], r'for example pl.col\("y"\) == "yes"'),
    (Task("y", "multiclass", classes=3), list("abcab"), r'pl.col\("y"\).rank\("dense"\) - 1'),
    (Task("y", "count"), list("12345"), r'pl.col\("y"\).cast\(pl.Float64\)'),
    (Task("y"), [0.0, float("nan"), 1.0, 0.0, 1.0], "row 1: nan .* a missing label is null in a f"),
    (Task("y", "count"), [1, 2, 2**24 + 1, 1, 1], "would be rounded"),
])  # fmt: skip
def test_a_label_that_is_none_is_refused_with_what_would_be_one(task, values, words):
    rows = frame().with_columns(y=pl.Series(values))
    fitted = Encoder([task], categorical=["brand"]).fit(rows)
    with pytest.raises(SchemaError, match=words):
        fitted.transform(rows)


@pytest.mark.parametrize("example", ['== "yes"', "rank"])
def test_the_ways_that_a_refusal_proposes_are_ways(example):
    rows = frame().with_columns(y=pl.Series(["no", "yes", "no", "no", None]))
    task = Task("y") if example != "rank" else Task("y", "multiclass", classes=2)
    way = pl.col("y") == "yes" if example != "rank" else pl.col("y").rank("dense") - 1
    table = (
        Encoder([task], categorical=["brand"])
        .fit(rows.with_columns(way))
        .transform(rows.with_columns(way))
    )
    assert table.label("y").tolist() == [0, 1, 0, 0, 0] and not table.mask("y")[4]
