"""audit: a planted fault of every kind is found where it is, and a clean frame is left alone."""

import numpy as np
import polars as pl
import pytest

import mtlkit
from mtlkit import Task, audit, prepare
from mtlkit.own import FINDERS, alone, finding
from mtlkit.own.finding import LEVELS
from mtlkit.own.quick import blanked
from mtlkit.schema import SchemaError

TASKS = {
    "click": Task("click"), "buy": Task("buy", given="click"),
    "kind": Task("kind", "multiclass", classes=3), "dwell": Task("dwell", "regression"),
    "units": Task("units", "count"),
}  # fmt: skip
LIGHT = [*(TASKS[n] for n in TASKS if n != "units"), Task("units", "count", weight=0.02)]
CUTS = {"rows": {}, "group": {"group": "session"}, "time": {"time": "day"}}


def clean(rows=1500, seed=0):
    """Every task depends on several columns a little, scenarios have equal rates."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    brand, city = rng.integers(0, 6, rows), rng.integers(0, 12, rows)
    z = 0.6 * x.sum(1) + 0.3 * (brand - 2.5) + 0.1 * (city - 5.5)
    click = (rng.random(rows) < 1 / (1 + np.exp(-z))).astype(int)
    return pl.DataFrame({
        **{f"x{i}": x[:, i] for i in range(4)},
        "brand": [f"b{v}" for v in brand], "city": [f"c{v}" for v in city],
        "words": [[f"w{v}" for v in rng.integers(0, 5, rng.integers(0, 4))] for _ in range(rows)],
        "place": rng.choice(["search", "feed", "ads"], rows), "new": rng.random(rows) < 0.5,
        "session": np.arange(rows) // 3, "day": np.arange(rows) // 10,
        "click": click, "buy": click * (rng.random(rows) < 1 / (1 + np.exp(-z[::-1]))),
        "kind": np.digitize(z + rng.logistic(size=rows), [-1, 1]),
        "dwell": z + rng.normal(size=rows) * 2, "units": rng.poisson(2 * np.exp(0.2 * z)),
    }).with_columns(pl.col("buy").cast(pl.Int64))  # fmt: skip


def prepared(frame, cut="rows", **options):
    kept = {"group": "session", "time": "day"}
    aside = [name for way, name in kept.items() if way != cut]
    drop = [n for n in aside if n not in options.get("keys", ())]
    tasks = options.pop("tasks", TASKS.values())
    dropped = [*drop, *(n for n in TASKS if n not in [t.name for t in tasks])]
    return prepare(frame, tasks, scenario="place", drop=dropped, **CUTS[cut], **options)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("cut", CUTS)
def test_a_clean_frame_is_left_alone(cut, seed):
    report = prepared(clean(seed=seed), cut).audit()
    assert report.findings == ()
    assert repr(report).startswith("Nothing found of: tells a label, label below")


def put(name, values):
    return lambda frame, rng: frame.with_columns(pl.Series(name, values(frame, rng)))


def copies(frame, rng):
    """Sixty rows stand twice; the copy is anywhere."""
    both = pl.concat([frame, frame[rng.permutation(len(frame))[:60].tolist()]])
    return both[rng.permutation(len(both)).tolist()].with_columns(session=pl.int_range(len(both)))


def later(frame, column, value, share=0.75):
    """The column with another value in the last rows."""
    late = pl.int_range(len(frame)) >= int(share * len(frame))
    return frame.select(pl.when(late).then(pl.lit(value)).otherwise(pl.col(column))).to_series()


def gap(frame, rng):
    rates = frame["place"].replace_strict({"search": 0.9, "feed": 0.5, "ads": 0.1}).to_numpy()
    click = (rng.random(len(frame)) < rates).astype(int)
    return frame.with_columns(click=click, buy=pl.Series(click) * frame["buy"])


def level_shift(frame, rng):
    shift = frame["place"].replace_strict({"search": 20.0, "feed": 0.0, "ads": -20.0})
    return frame.with_columns(dwell=pl.col("dwell") + shift)


# name -> (kind, level, cut, options, plant, column, task)
PLANTED = {
    "a copy of click": ("tells a label", "fault", "rows", {},
        put("leak", lambda f, r: f["click"].to_numpy() + r.normal(size=len(f)) * 0.1),
        "leak", "click"),
    "a copy of click in words": ("tells a label", "fault", "group", {},
        put("leak", lambda f, r: ["yes" if c else "no" for c in f["click"]]), "leak", "click"),
    "a gap where there is a click": ("tells a label", "fault", "time", {},
        put("leak", lambda f, r: [None if c else 1.0 * i for i, c in enumerate(f["click"])]),
        "leak_missing", "click"),
    "a copy that does not rise": ("tells a label", "fault", "rows", {},
        put("leak", lambda f, r: np.where(f["click"] == 1, 0, r.choice([-5.0, 5.0], len(f)))
            + r.normal(size=len(f))), "leak", "click"),
    "a copy of buy": ("tells a label", "fault", "rows", {},
        put("leak", lambda f, r: f["buy"].to_numpy() + r.normal(size=len(f)) * 0.1),
        "leak", "buy"),
    "a copy of kind": ("tells a label", "fault", "rows", {},
        put("leak", lambda f, r: f["kind"].to_numpy() + r.normal(size=len(f)) * 0.1),
        "leak", "kind"),
    "a copy of dwell": ("tells a label", "fault", "time", {},
        put("leak", lambda f, r: -f["dwell"].exp().to_numpy()), "leak", "dwell"),
    "a copy of units": ("tells a label", "fault", "rows", {},
        put("leak", lambda f, r: f["units"].to_numpy() * 2.5), "leak", "units"),
    "a hint at click": ("tells a label", "look", "rows", {},
        put("leak", lambda f, r: f["click"].to_numpy() + r.normal(size=len(f)) * 0.55),
        "leak", "click"),
    "a hint at dwell": ("tells a label", "look", "group", {},
        put("leak", lambda f, r: f["dwell"].to_numpy() + r.normal(size=len(f)) * 1.5),
        "leak", "dwell"),
    "a purchase without a click": ("label below an unmet parent", "look", "time", {},
        put("buy", lambda f, r: [1, *f["buy"][1:]] if not f["click"][0] else
            f["buy"].to_numpy() | (np.arange(len(f)) == int((f["click"] == 0).arg_max()))),
        None, "buy"),
    "copies of rows": ("duplicates across the cut", "fault", "rows", {}, copies, None, None),
    "sessions on both sides": ("groups across the cut", "fault", "rows", {"keys": ["session"]},
        lambda f, r: f, "session", None),
    "users that come back": ("groups across the cut", "note", "time", {"keys": ["user"]},
        put("user", lambda f, r: r.integers(0, 40, len(f))), "user", None),
    "a number for each row": ("unknown ids", "fault", "rows", {},
        put("ticket", lambda f, r: [f"t{i}" for i in range(len(f))]), "ticket", None),
    "a new brand": ("unknown ids", "look", "time", {},
        put("brand", lambda f, r: later(f, "brand", "neu", 0.85)), "brand", None),
    "new words": ("unknown ids", "look", "time", {},
        put("words", lambda f, r: later(f, "words", ["neu"], 0.85)), "words", None),
    "a new place": ("unknown ids", "look", "time", {},
        put("place", lambda f, r: later(f, "place", "mars", 0.9)), "place", None),
    "a constant amount": ("constant column", "look", "rows", {},
        put("one", lambda f, r: [1.5] * len(f)), "one", None),
    "a constant text": ("constant column", "look", "time", {},
        put("one", lambda f, r: later(f, "brand", "b0", 0)), "one", None),
    "a constant list": ("constant column", "look", "group", {},
        put("one", lambda f, r: [["a"]] * len(f)), "one", None),
    "nothing in a column": ("constant column", "look", "rows", {},
        put("one", lambda f, r: [None] * len(f)), "one", None),
    "ids as numbers": ("ids read as amounts", "look", "rows", {},
        put("product_id", lambda f, r: r.integers(0, 50, len(f))), "product_id", None),
    "ids in camels": ("ids read as amounts", "look", "rows", {},
        put("productId", lambda f, r: r.integers(0, 50, len(f))), "productId", None),
    "no label in test": ("nothing to learn", "look", "time", {},
        put("dwell", lambda f, r: later(f, "dwell", None)), None, "dwell"),
    "one label in training": ("nothing to learn", "fault", "time", {},
        put("kind", lambda f, r: [2 * (i >= 1000) for i in range(len(f))]), None, "kind"),
    "a large count": ("loss scales apart", "look", "rows", {},
        put("units", lambda f, r: f["units"].to_numpy() * 40), None, "units"),
    "a gap between places": ("gap between scenarios", "look", "rows", {}, gap, "place", "click"),
    "levels of places": ("gap between scenarios", "look", "rows", {}, level_shift, "place",
        "dwell"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_where_it_is_and_nothing_else_is(name):
    seed = len(name)  # another frame for each
    kind, level, cut, options, plant, column, task = PLANTED[name]
    frame = plant(clean(seed=seed), np.random.default_rng(seed))
    report = prepared(frame, cut, **options).audit()
    found = [(f.level, f.column, f.task) for f in report.of(kind)]
    assert (level, column, task) in found
    assert {f.kind for f in report.findings} == {kind}
    assert all(f.text.endswith((".", "?")) for f in report.findings)
    columns = {f.column and f.column.removesuffix("_missing") for f in report.of(kind)}
    assert columns == {column and column.removesuffix("_missing")}


def test_every_kind_is_planted():
    assert {kind for kind, *_ in PLANTED.values()} == set(FINDERS)
    assert {level for _, level, *_ in PLANTED.values()} == set(LEVELS)


@pytest.mark.parametrize(("name", "options"), [
    ("ids as numbers", {"dense": ["product_id"]}),
    ("ids as numbers", {"categorical": ["product_id"]}),
    ("a number for each row", {"min_count": 2}), ("a large count", {"tasks": LIGHT}),
    ("copies of rows", {"cut": "group", "tasks": [TASKS["click"]]}),
])  # fmt: skip
def test_what_mends_a_fault_silences_the_audit(name, options):
    kind, _, cut, own, plant, column, _ = PLANTED[name]
    frame = plant(clean(), np.random.default_rng(0))
    if name == "copies of rows":
        inputs = [n for n in frame.columns if n not in ("session", "day", "words")]
        same = frame.select(inputs).hash_rows() // 2
        frame = frame.with_columns(session=same.cast(pl.Int64))
    report = prepared(frame, **({"cut": cut} | own | options)).audit()
    assert not report.of(kind)


@pytest.mark.parametrize("gap", [None, "", " "])
def test_rows_without_a_scenario_are_no_rows_of_a_new_one(gap):
    odd = pl.when(pl.int_range(1500) % 10 == 0).then(pl.lit(gap, dtype=pl.String))
    frame = clean().with_columns(place=odd.otherwise("place"))
    assert prepared(frame).audit().findings == ()
    late = frame.with_columns(
        place=pl.when(pl.int_range(1500) >= 1490).then(pl.lit("mars")).otherwise("place")
    )
    (found,) = prepared(late, "time").audit().of("unknown ids")
    assert found.column == "place" and found.value == pytest.approx(9 / 300, abs=0.004)
    assert "a value of 'place' that no training row has" in found.text


@pytest.mark.parametrize("kind", ["binary", "multiclass", "count", "censored_count"])
def test_a_rare_outcome_is_not_a_quiet_task_but_a_small_weight_is(kind):
    rng = np.random.default_rng(0)
    rare = (rng.random(4000) < 0.004).astype(int)
    rows = {"x": rng.normal(size=4000), "click": rng.integers(0, 2, 4000), "rare": rare,
            "gone": np.zeros(4000, dtype=int)}  # fmt: skip
    options = {"censored": {"rare": "gone"}} if kind == "censored_count" else {"drop": ["gone"]}
    classes = 3 if kind == "multiclass" else None
    for weight, expected in ((1.0, 0), (0.01, 1)):
        task = Task("rare", kind, classes=classes, weight=weight)
        report = prepare(rows, ["click", task], **options).audit()
        assert len(report.of("loss scales apart")) == expected
        assert report.losses["rare"] < 0.06


def test_the_marks_are_explained_where_there_are_any():
    fault = repr(audit(prepared(put("leak", lambda f, r: f["click"])(clean(), None))))
    assert "▲" in fault and finding.LEGEND in fault and all(m in finding.LEGEND for m in "▲●·")
    assert finding.LEGEND not in repr(audit(prepared(clean())))


def test_coarse_rows_that_are_equal_by_nature_are_no_copies():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"a": rng.integers(0, 5, 2000), "b": rng.choice(["x", "y"], 2000),
                          "click": rng.integers(0, 2, 2000)})  # fmt: skip
    assert prepare(frame, "click").audit().findings == ()


def test_labels_of_test_rows_are_not_read():
    frame = gap(clean(), np.random.default_rng(0))
    data = prepared(frame, tasks=[TASKS["click"], TASKS["dwell"]])
    test = pl.Series(data.cut.part == 2)
    rng = np.random.default_rng(1)
    other = frame.with_columns(
        click=pl.when(test).then(pl.Series(rng.integers(0, 2, len(frame)))).otherwise("click"),
        dwell=pl.when(test).then(pl.Series(rng.normal(size=len(frame)))).otherwise("dwell"),
    )
    one, two = data.audit(), prepared(other, tasks=[TASKS["click"], TASKS["dwell"]]).audit()
    assert one.findings == two.findings and one.findings
    assert one.scenarios.equals(two.scenarios) and one.alone.equals(two.alone)


def test_pooled_stands_beside_within_for_every_task_and_for_a_model_of_ones_own():
    data = prepared(gap(clean(), np.random.default_rng(0)))
    report = data.audit()
    assert report.scenarios["task"].to_list() == ["click", "buy", "dwell", "units"]
    pooled, within, only = report.scenarios.row(0)[2:]
    assert pooled > 0.7 and within < 0.62 and abs(pooled - only) < 0.08
    model = mtlkit.SharedBottom(data.schema, embedding_dim=4, hidden=(8,), tower=())
    own = data.audit(model).scenarios
    scores = mtlkit.evaluate(model, data.validation)
    places = mtlkit.evaluate(model, data.validation, by_scenario=True)
    assert own.row(0)[2] == pytest.approx(scores["click"]["auc"])
    counts = np.bincount(data.validation.scenario.numpy(), minlength=3)
    inside = sum(n * places[p]["click"]["auc"] for n, p in zip(counts, places)) / counts.sum()
    assert own.row(0)[3] == pytest.approx(inside)
    assert own.row(2)[2] == pytest.approx(scores["dwell"]["r2"])
    with pytest.raises(SchemaError, match="other"):
        data.audit(mtlkit.SharedBottom(prepared(clean(seed=1)).schema, embedding_dim=4))


def test_one_scenario_has_no_gap():
    frame = gap(clean(), np.random.default_rng(0)).drop("place", "session", "day")
    report = prepare(frame, ["click"], drop=["buy", "kind", "dwell", "units"]).audit()
    assert len(report.scenarios) == 0 and report.findings == ()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "count"])
def test_strength_is_one_for_the_label_and_about_zero_for_luck(kind):
    rng = np.random.default_rng(0)
    task = Task("y", kind, classes=3 if kind == "multiclass" else None)
    y = rng.integers(0, 2 if kind == "binary" else 3, 4000).astype(float)
    told = alone.told_by(task, y, y, y)
    luck = alone.told_by(task, rng.integers(0, 9, 4000), y, rng.integers(0, 9, 4000))
    assert alone.strength(task, y, told) == pytest.approx(1)
    floor = 0.5 if kind == "binary" else 0
    assert alone.strength(task, y, luck) == pytest.approx(floor, abs=0.03)
    assert np.isnan(alone.strength(task, y[:5], told[:5]))
    assert np.isnan(alone.strength(task, np.zeros(99), told[:99]))


def test_blanked_columns_are_gone_and_the_others_stay():
    table = prepared(clean(100)).train
    other = blanked(table, {"brand", "x1"})
    for place, name in enumerate(table.schema.categorical_names):
        changed = not other.categorical[:, place].equal(table.categorical[:, place])
        assert changed == (name == "brand")
    for name, part in table.schema.dense_slices.items():
        assert other.dense[:, part].equal(table.dense[:, part]) == (name != "x1")
    assert table.labels.equal(other.labels) and blanked(table, ()) is table


def test_the_report_is_shown_as_text_html_and_table():
    frame = put("a<b", lambda f, r: f["click"].to_numpy() * 1.0)(clean(), None)
    report = audit(prepared(frame))
    page = report._repr_html_()
    assert "a&lt;b" in page and "<b>tells a label</b>" in page and "inside scenarios" in page
    assert "Nothing found of: label below" in page
    assert repr(report).startswith(
        "▲ tells a label: Column 'a<b' alone gives click an AUC of 1.000"
    )
    assert report.table().row(0, named=True)["column"] == "a<b"
    assert set(report.losses) == set(TASKS)
    with pytest.raises(ValueError, match="No audit looks for 'luck'; it looks for: tells"):
        report.of("luck")
    with pytest.raises(SchemaError, match="audit needs what prepare returned, not a Split"):
        audit(prepared(frame).split)


def test_large_frames_are_sampled_and_the_answer_stays(monkeypatch):
    from mtlkit.own import audited, find_labels, quick

    frame = gap(clean(6000), np.random.default_rng(0)).with_columns(leak=pl.col("dwell") * 2)
    data = prepared(frame)
    for module in (audited, find_labels):
        monkeypatch.setattr(module, "sample", lambda table, most=0: quick.sample(table, 500))
    report = data.audit()
    assert {f.kind for f in report.findings} == {"tells a label", "gap between scenarios"}
    assert len(quick.sample(data.train, 500)) == 500
