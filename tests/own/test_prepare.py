"""prepare: the cut comes first, and all else is what one would write by hand."""

from datetime import date, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mtlkit
from mtlkit import Encoder, Task, prepare
from mtlkit.data.splits import split_random, split_time
from mtlkit.own.finding import LEGEND
from mtlkit.schema import SchemaError
from tests.own.frames import OPTIONS, TASKS, raw

CUTS = [{}, {"group": "user"}, {"time": "day"}, {"time": "day", "boundaries": ("2026-01-20",
        date(2026, 1, 25))}, {"seed": 3, "fractions": (0.5, 0.2, 0.3)}]  # fmt: skip
PARTS = ("train", "validation", "test")


def ready(frame, **cut):
    """The frame prepared; days are no input, and a key only where they cut."""
    return prepare(frame, TASKS, **OPTIONS, **cut, drop=[] if "time" in cut else ["day"])


def same_tables(one, other):
    assert one.schema == other.schema
    for name in ("categorical", "dense", "labels", "observed", "scenario"):
        assert getattr(one, name).equal(getattr(other, name)), name
    for name, (values, offsets) in one.sequences.items():
        assert values.equal(other.sequences[name][0]) and offsets.equal(other.sequences[name][1])
    assert list(one.keys) == list(other.keys)
    assert all(value.equal(other.keys[name]) for name, value in one.keys.items())


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(60, 300), seed=st.integers(0, 99), cut=st.sampled_from(CUTS))
def test_it_equals_the_way_by_hand(rows, seed, cut):
    frame = raw(rows, seed)
    data = ready(frame, **cut)
    parts = [frame[table.row_id.numpy()] for table in data.split]
    keys = list(dict.fromkeys(["user", *(v for k, v in cut.items() if k in ("group", "time"))]))
    encoder = Encoder(
        TASKS, categorical=["brand", "shop", "new"], dense=["price", "age"], log1p=["price"],
        sequences={"words": None}, scenario="place", keys=keys,
    )  # fmt: skip

    def by_hand(part):
        met = (pl.col("click") == 1).fill_null(False)
        return part.with_columns(pl.when(met).then(pl.col("buy", "dwell")))

    encoder.fit(by_hand(parts[0]))
    for table, part in zip(data.split, parts):
        same_tables(table, encoder.transform(by_hand(part), row_id=table.row_id))
    assert sorted(torch.cat([t.row_id for t in data.split]).tolist()) == list(range(rows))


@pytest.mark.parametrize("cut", CUTS[:3])
def test_rows_are_cut_as_tables_are(cut):
    frame = raw()
    data = ready(frame, **cut)
    whole = Encoder(TASKS[:1], dense=["age"], keys=["user", "day"]).fit(frame)
    whole = whole.transform(frame, row_id=np.arange(len(frame)))
    if "time" in cut:
        days = [min(frame[t.row_id.numpy()]["day"]) for t in (data.validation, data.test)]
        other = split_time(whole, "day", tuple(days))
    else:
        other = split_random(whole, group=cut.get("group"))
    for one, two in zip(data.split, other):
        assert sorted(one.row_id.tolist()) == sorted(two.row_id.tolist())


@settings(max_examples=60, deadline=None)
@given(
    days=st.lists(st.integers(0, 12), min_size=5, max_size=80).filter(lambda d: len(set(d)) > 2),
    shares=st.sampled_from([(0.6, 0.2, 0.2), (0.98, 0.01, 0.01), (0.01, 0.01, 0.98)]),
)
def test_a_time_cut_keeps_moments_whole_and_in_order_and_no_part_empty(days, shares):
    rows = len(days)
    frame = pl.DataFrame({"x": np.arange(rows) / rows, "day": days, "click": [0, 1] * (rows // 2)
                          + [0] * (rows % 2)})  # fmt: skip
    data = prepare(frame, ["click"], time="day", fractions=shares)
    spans = [(int(t.keys["day"].min()), int(t.keys["day"].max())) for t in data.split]
    assert spans[0][1] < spans[1][0] <= spans[1][1] < spans[2][0]


def test_a_time_cut_comes_as_near_to_the_shares_as_whole_moments_allow():
    frame = raw(3000)
    data = ready(frame, time="day")
    shares = [len(table) / 3000 for table in data.split]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


@pytest.mark.parametrize("cut", CUTS)
def test_nothing_is_learned_of_later_rows(cut):
    frame = raw()
    data = ready(frame, **cut)
    later = pl.Series(data.cut.part > 0)
    strange = frame.with_columns(
        brand=pl.when(later).then(pl.lit("zzz")).otherwise(pl.col("brand")),
        place=pl.when(later).then(pl.lit("mars")).otherwise(pl.col("place")),
        shop=pl.when(later).then(pl.lit(77)).otherwise(pl.col("shop")),
        age=pl.when(later).then(pl.lit(1e6)).otherwise(pl.col("age")),
        dwell=pl.when(later).then(pl.lit(1e6)).otherwise(pl.col("dwell")),
    )
    again = ready(strange, **cut)
    assert again.schema == data.schema
    same_tables(again.train, data.train)
    places = [data.schema.categorical_names.index(name) for name in ("brand", "shop")]
    for table in (again.validation, again.test):
        assert (table.categorical[:, places] == 0).all()
        assert (table.scenario == data.schema.unknown_scenario).all()


def test_every_door_gives_the_same_tables(tmp_path):
    frame = raw()
    frame.write_parquet(tmp_path / "rows.parquet")
    doors = [frame.to_dict(as_series=False), frame.lazy(), tmp_path / "rows.parquet",
             frame.to_arrow() if has("pyarrow") else frame]  # fmt: skip
    wanted = ready(frame, time="day")
    for door in doors:
        for one, other in zip(ready(door, time="day").split, wanted.split):
            same_tables(one, other)


def has(module):
    import importlib.util

    return importlib.util.find_spec(module) is not None


def test_labels_fall_down_the_whole_chain_and_are_counted():
    tasks = [Task("pay", given="cart"), Task("cart", given="click"), Task("click")]
    frame = pl.DataFrame({
        "x": np.arange(8.0), "click": [1, 1, 0, 0, None, 1, 1, 1],
        "cart": [1, 0, 1, 0, 1, None, 1, 1], "pay": [1, 1, 1, 0, 1, 0, None, 0],
    })  # fmt: skip
    data = prepare(pl.concat([frame] * 5), tasks)
    assert data.frame["cart"][:8].to_list() == [1, 0, None, None, None, None, 1, 1]
    assert data.frame["pay"][:8].to_list() == [1, None, None, None, None, None, None, 0]
    assert data.unmet == {"cart": (15, 10), "pay": (25, 15)}
    assert frame["pay"].to_list() == [1, 1, 1, 0, 1, 0, None, 0]
    assert "25 labels of pay are not read, because cart is not 1 there; 15 of them" in repr(data)


def test_a_role_is_that_of_the_type_unless_it_is_told():
    data = ready(raw(), group="user")
    assert data.schema.categorical_names == ("brand", "shop", "new")
    assert [d.name for d in data.schema.dense] == ["price", "price_missing", "age"]
    assert [s.name for s in data.schema.sequences] == ["words"]
    told = prepare(raw(), TASKS, categorical=["user", "place"], drop=["day"], keys=["user"],
                   sequences={"words": "brand"}, scenario="place")  # fmt: skip
    assert told.schema.categorical_names == ("user", "place", "brand", "new")
    assert "shop" in [d.name for d in told.schema.dense]
    assert told.schema.sequences[0].shares == "brand" and told.schema.num_scenarios == 3
    assert list(told.train.keys) == ["user"]


@pytest.mark.parametrize("bad", [5, 17, 298])
@pytest.mark.parametrize("cut", CUTS[:3])
@pytest.mark.parametrize(("column", "value", "words"), [
    ("price", float("inf"), "'price', row {}: infinity"), ("price", -2.0, "'price', row {}: -2.0"),
    ("age", float("-inf"), "'age', row {}: infinity"), ("click", 7, "'click', row {}: 7 is not"),
    ("kind", 3, "'kind', row {}: 3 is not a class"), ("units", -1, "'units', row {}: -1 is not"),
    ("dwell", -3.0, "'dwell', row {}: -3 is below 0"), ("dwell", float("nan"), "'dwell', row {}"),
    ("seller", None, "Key 'seller', row {}: the value is missing"),
    ("times", -1.0, "'times', row {}: -1 is below 0"), ("times", None, "'times', row {}: the v"),
    ("sold_out", 2, "'sold_out', row {}: 2 does not say"),
    ("sold_out", None, "'sold_out', row {}: None does not say"),
])  # fmt: skip
def test_what_a_row_cannot_hold_is_told_by_its_place_in_the_frame(column, value, words, cut, bad):
    frame = raw().with_columns(
        pl.col("price", "age").cast(pl.Float64), click=pl.lit(1), units=pl.col("units").cast(int),
        seller=pl.int_range(300), times=pl.lit(1.0), sold_out=pl.lit(0), sold=pl.col("units"),
    )  # fmt: skip
    here = pl.int_range(300) == bad
    frame = frame.with_columns(pl.when(here).then(pl.lit(value)).otherwise(column).alias(column))
    tasks = [*TASKS, Task("sold", "censored_count")]
    options = OPTIONS | {"keys": ["user", "seller"]}
    with pytest.raises(SchemaError, match=words.format(bad)):
        prepare(
            frame, tasks, **options, **cut, weight="times", censored={"sold": "sold_out"},
            drop=[] if "time" in cut else ["day"],
        )  # fmt: skip


def test_weights_and_censored_counts_are_those_of_the_way_by_hand():
    rng = np.random.default_rng(0)
    frame = raw().with_columns(
        times=pl.Series(rng.integers(0, 3, 300)), sold=pl.Series(rng.poisson(2.0, 300)),
        gone=pl.Series(rng.random(300) < 0.3),
    )  # fmt: skip
    frame = frame.with_columns(sold=pl.when(pl.int_range(300) % 9 > 0).then("sold"))
    tasks = [Task("click"), Task("dwell", "regression"), Task("sold", "censored_count")]
    rest = {"drop": ["day", "buy", "kind", "units"], **OPTIONS}
    data = prepare(frame, tasks, weight="times", censored={"sold": "gone"}, **rest)
    assert "times" not in data.roles.names and "gone" not in data.roles.names
    encoder = Encoder(
        tasks, categorical=["brand", "shop", "new"], dense=["price", "age"], log1p=["price"],
        sequences={"words": None}, scenario="place", keys=["user"], weight="times",
    )  # fmt: skip
    parts = [frame[table.row_id.numpy()] for table in data.split]
    encoder.fit(parts[0])
    for table, part in zip(data.split, parts):
        gone = (part["gone"] & part["sold"].is_not_null()).to_numpy()
        other = encoder.transform(part, row_id=table.row_id, censored={"sold": gone})
        same_tables(table, other)
        assert table.weight.equal(other.weight) and table.weight.max() == 2
        assert table.censored.equal(other.censored) and table.censored.any()
    rates = data.train.label("click")[data.train.mask("click")].double()
    weight = data.train.weight[data.train.mask("click")].double()
    told = float((rates * weight).sum() / weight.sum())
    assert "Rows count as times says" in repr(data) and f"{told:.3f}" in repr(data)
    assert f"{float(rates.mean()):.3f}" not in repr(data)
    assert "Rows count" not in repr(ready(raw()))
    model = mtlkit.SharedBottom(data.schema, embedding_dim=4, hidden=(8,), tower=())
    mtlkit.fit(model, data.train, data.validation, epochs=1, progress=False)
    named = prepare(
        frame, tasks, weight="times", censored={"sold": "gone"}, dense=["times"], **rest
    )
    assert "times" in named.roles.dense and named.train.weight.equal(data.train.weight)


@pytest.mark.parametrize(("options", "words"), [
    ({}, 'nothing says which rows are censored: name a column .* censored={"units": "sold_out"}'),
    ({"censored": {"click": "new"}}, "censored names 'click', which is no censored_count"),
    ({"censored": {"sales": "new"}}, "censored names 'sales', which is no censored_count"),
    ({"censored": {"units": "sold_out"}}, "censored names 'sold_out', which is no column"),
    ({"censored": {"units": "brand"}}, "'brand', row 0: '.' does not say whether units is cens"),
    ({"censored": {"units": "click"}}, "'click' is a task, and also .*, weight or flag"),
    ({"censored": {"units": "new"}, "weight": "click"}, "'click' is a task, and also"),
    ({"censored": {"units": "new"}, "weight": "mass"}, "weight names 'mass', which is no column"),
    ({"censored": {"units": "new"}, "weight": "age", "drop": ["age"]}, "'age' is dropped, and nam"),
    ({"censored": {"units": "new"}, "weight": "brand"}, "'brand' has type String; numbers are"),
])  # fmt: skip
def test_weights_and_flags_that_are_none_are_refused_by_name(options, words):
    frame = raw().with_columns(brand=pl.col("brand").fill_null("a"))
    with pytest.raises(SchemaError, match=words):
        prepare(frame, [Task("click"), Task("units", "censored_count")], time="day", **options)


def test_one_name_is_a_list_of_one():
    frame = raw()
    one = prepare(frame, "click", keys="user", categorical="shop", dense="age", log1p="price",
                  sequences="words", drop="day", scenario="place")  # fmt: skip
    several = prepare(
        frame, ["click"], keys=["user"], categorical=["shop"], dense=["age"], log1p=["price"],
        sequences={"words": None}, drop=["day"], scenario="place",
    )  # fmt: skip
    assert one.schema == several.schema and one.roles == several.roles
    assert list(one.train.keys) == ["user"] and "sequence" not in one.roles.dense
    for name in ("keys", "categorical", "dense", "log1p", "sequences", "drop"):
        with pytest.raises(ValueError, match=f"{name} is a list of columns"):
            prepare(frame, "click", **({"drop": "day"} | {name: 5}))


def test_all_columns_without_a_role_are_named_at_once_with_the_ways_that_their_type_allows():
    frame = raw().with_columns(
        birth=pl.col("day"), since=pl.lit(timedelta(1)), sent=pl.col("day").cast(pl.Datetime)
    )
    with pytest.raises(SchemaError) as caught:
        prepare(frame, TASKS, **OPTIONS)
    said = str(caught.value)
    for name, kind in (("day", "dates"), ("birth", "dates"), ("since", "durations"),
                       ("sent", "moments")):  # fmt: skip
        assert f"olumn {name!r} holds {kind}" in said
    assert 'time="day"' in said and said.endswith('drop=["day", "birth", "since", "sent"].')
    with pytest.raises(SchemaError) as caught:
        prepare(frame, TASKS, time="day", **OPTIONS)
    assert "time=" not in str(caught.value) and "'day'" not in str(caught.value)
    odd = {"x": [1.0] * 9, "odd": np.array([1, "a", None] * 3, dtype=object), "y": [0, 1, 0] * 3}
    with pytest.raises(SchemaError, match=r"'odd' holds values of type Object.*str\(value\)"):
        prepare(odd, "y")


@pytest.mark.parametrize(("text", "way"), [
    ("2026-01-{:02d}", "to_date"), ("2026-01-{:02d} 08:30", "to_datetime"),
])  # fmt: skip
def test_a_time_that_is_text_is_refused_with_a_way_that_works(tmp_path, text, way):
    rows = {"x": np.arange(90.0), "day": [text.format(1 + i // 3) for i in range(90)],
            "y": [0, 1, 1] * 30}  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "rows.csv")
    with pytest.raises(SchemaError, match=rf'pl.col\("day"\).str.{way}\(\)\).*try_parse_dates'):
        prepare(tmp_path / "rows.csv", "y", time="day")
    made = pl.DataFrame(rows).with_columns(getattr(pl.col("day").str, way)())
    read = pl.read_csv(tmp_path / "rows.csv", try_parse_dates=True)
    for frame in (made, read):
        assert prepare(frame, "y", time="day").cut.by == "time"


@pytest.mark.parametrize("tasks", [{"click": "binary"}, 3, None])
def test_tasks_that_are_no_list_are_refused(tasks):
    with pytest.raises(
        SchemaError, match="tasks are a list of tasks and names of binary ones, not"
    ):
        prepare(FRAME, tasks, time="day")


def test_a_regression_without_labels_in_training_says_so():
    late = raw().with_columns(dwell=pl.when(pl.col("day") > date(2026, 1, 25)).then("dwell"))
    with pytest.raises(SchemaError, match=r"'dwell' has 0 label\(s\) in the training rows.*cut el"):
        ready(late, time="day")


def test_a_part_without_rows_is_told_with_the_rows_that_there_are():
    with pytest.raises(
        SchemaError, match=r"test part .* no rows\. The frame has 300 rows, cut by ch"
    ):
        ready(FRAME, fractions=(0.7, 0.3, 0.0))


FRAME = raw()
EMPTY = {"time": "day", "boundaries": (date(1900, 1, 1), date(2026, 1, 5))}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "'day' holds dates, which are neither ids nor amounts"),
        ({"time": "day", "group": "user"}, "time or group, not both"),
        ({"boundaries": (1, 2), "drop": ["day"]}, "name its column, time"),
        ({"time": "day", "boundaries": (1, 2, 3)}, "boundaries are two"),
        ({"time": "day", "boundaries": ("2026-02-01", "2026-01-01")}, "boundaries must grow"),
        ({"time": "day", "fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"drop": ["day"], "fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        (EMPTY, "training part of the split has no rows"),
        ({"time": "place", "drop": ["day"]}, "'place' holds text; a time is"),
        ({"time": "price", "drop": ["day"]}, "'price' holds floats; a time is"),
        ({"time": "new", "drop": ["day"]}, "'new' holds truth values; a time is"),
        ({"group": "brand", "drop": ["day"]}, "Key 'brand', row .* missing"),
        ({"drop": ["dya"]}, "drop names 'dya', which is no column; the frame has user, day"),
        ({"scenario": "tab"}, "scenario names 'tab'"),
        ({"keys": ["session"]}, "keys, group or time names 'session'"),
        ({"dense": ["size"]}, "dense names 'size'"),
        ({"log1p": ["size"]}, "log1p names 'size'"),
        ({"sequences": {"sizes": None}}, "sequences names 'sizes'"),
        ({"time": "day", "dense": ["shop"], "categorical": ["shop"]}, "'shop' is named twice"),
        ({"time": "day", "drop": ["day"]}, "'day' is dropped, and named elsewhere"),
        ({"time": "day", "drop": ["age"], "dense": ["age"]}, "'age' is dropped"),
        ({"time": "day", "drop": ["click"]}, "'click' is dropped"),
        ({"time": "day", "keys": ["click"]}, "'click' is a task, and also scenario, key"),
        ({"time": "day", "keys": ["user"], "fractions": (3, 1, 1)}, "sum to 1"),
        ({"time": "day", "scenario": "click"}, "'click' is a task, and also scenario, key"),
        ({"time": "day", "categorical": ["click"]}, "categorical names 'click', which is a task"),
        ({"time": "day", "categorical": ["age", "price"]}, "'price' holds floats"),
        ({"drop": [c for c in FRAME.columns if c not in [t.name for t in TASKS]]}, "No column is"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        prepare(FRAME, TASKS, **options)


def test_too_few_moments_and_missing_labels_are_refused():
    with pytest.raises(SchemaError, match="'day' has 2 different moment"):
        prepare({"x": [1.0] * 9, "day": [1, 2, 2] * 3, "click": [0, 1, 0] * 3}, "click", time="day")
    with pytest.raises(SchemaError, match="tasks names 'view', which is no column"):
        prepare(FRAME, ["view"])
    with pytest.raises(SchemaError, match="needs at least one task"):
        prepare(FRAME, [], time="day")
    with pytest.raises(SchemaError, match=r"Column 'age', row .* is not 0 or 1"):
        prepare(FRAME, "age", time="day")


@pytest.mark.parametrize("what", ["records", "durations", "bytes", "lists of floats"])
def test_a_type_without_a_role_is_refused_with_two_ways_out(what):
    column = {
        "records": [{"a": 1}] * 9, "durations": [timedelta(1)] * 9, "bytes": [b"a"] * 9,
        "lists of floats": [[0.5]] * 9,
    }[what]  # fmt: skip
    frame = {"x": [1.0] * 9, "odd": column, "click": [0, 1, 0] * 3}
    with pytest.raises(SchemaError, match=r"'odd' holds .* neither ids nor amounts.*drop=\[\"odd"):
        prepare(frame, "click")
    assert len(prepare(frame, "click", drop=["odd"]).schema.dense) == 1


def test_a_model_trains_on_it():
    data = ready(raw(), time="day")
    model = mtlkit.SharedBottom(data.schema, embedding_dim=4, hidden=(8,), tower=(4,))
    mtlkit.fit(model, data.train, data.validation, epochs=1, progress=False)
    assert set(mtlkit.evaluate(model, data.test)) == {task.name for task in TASKS}


def test_the_summary_says_rows_rates_scenarios_and_the_cut():
    data = ready(raw(), time="day")
    labels = data.train.label("click")[data.train.mask("click")]
    for shown in (repr(data), data._repr_html_()):
        assert f"{len(data.train)} training" in shown and "training before 2026-01-" in shown
        assert f"{float(labels.mean()):.3f}" in shown
        for name in ("search", "feed", "ads", "unknown", "dwell", "brand", "age", "words"):
            assert name in shown


def test_names_are_escaped_in_html():
    frame = raw().rename({"brand": "<b>", "click": "a & b"})
    tasks = [Task("a & b")]
    page = prepare(frame, tasks, time="day", scenario="place")._repr_html_()
    assert "&lt;b&gt;" in page and "a &amp; b" in page and "<b>" not in page


def test_many_scenarios_are_counted_and_not_listed():
    frame = pl.DataFrame({"x": np.arange(300.0), "place": [f"p{i % 30}" for i in range(300)],
                          "click": [0, 1] * 150})  # fmt: skip
    assert "and 18 more" in repr(prepare(frame, "click", scenario="place"))
    strange = frame.with_columns(place=pl.when(pl.int_range(300) % 7 > 0).then("place"))
    lines = repr(prepare(strange, "click", scenario="place")).splitlines()
    assert lines[-2].startswith("and 18 more") and lines[-1].startswith("unknown  ")


class Cells(HTMLParser):
    """The cells of a page: (tag, attributes, text)."""

    def __init__(self, page):
        super().__init__()
        self.found, self.inside = [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside = [tag, dict(attrs), ""] if tag in ("td", "th") else self.inside

    def handle_data(self, text):
        if self.inside:
            self.inside[2] += text

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[0]:
            self.found.append(tuple(self.inside))
            self.inside = None


@pytest.mark.parametrize("what", ["summary", "audit"])
def test_a_page_scrolls_in_its_tables_and_numbers_stand_under_their_names(what):
    long = "a very long name of a place that some warehouse gave it & nobody ever changed"
    frame = raw().with_columns(pl.col("place").replace("feed", long))
    data = ready(frame, time="day")
    page = (data if what == "summary" else data.audit())._repr_html_()
    assert page.count("<table>") == page.count('<div style="overflow-x:auto') > 0
    assert "color" not in page  # reads on light and on dark
    cells = Cells(page).found
    heads = [(text, a["style"]) for _, a, text in cells if a.get("scope") == "col"]
    assert not any("nowrap" in style for _, style in heads)
    numbers = [a["style"] for tag, a, text in cells if tag == "td" and text[:1].isdigit()]
    assert numbers and all("text-align:right" in style for style in numbers)
    left = [name for name, style in heads if "text-align:right" not in style]
    assert left == (["task", "kind", "scenario"] if what == "summary" else ["task", "metric"])
    if what == "summary":
        (cut,) = [a for _, a, text in cells if text == long]
        assert cut["title"] == long and "text-overflow:ellipsis" in cut["style"]
    else:
        assert "list-style:none" in page and LEGEND in page
