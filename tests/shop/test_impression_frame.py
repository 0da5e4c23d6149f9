"""The raw frame, its faults, and the way to a clean table."""

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.shop.impression_frame import clean_impressions, frame_truth, impression_encoder
from mtlkit.shop.market import Market

ROWS = 20_000


@pytest.fixture(scope="module")
def market():
    return Market("tiny", seed=3, dirt=0.04)


@pytest.fixture(scope="module")
def frame(market):
    return market.impressions_frame(ROWS, truth=True)


def test_without_dirt_the_encoded_frame_is_the_table():
    market = Market("tiny", dirt=0.0)
    frame = market.impressions_frame(3000, start=500, truth=True)
    table = market.impressions(3000, start=500)
    made = impression_encoder().fit(frame).transform(frame, truth=frame_truth(frame),
                                                     row_id=frame["row"])  # fmt: skip
    assert torch.equal(made.labels, table.labels) and torch.equal(made.observed, table.observed)
    assert torch.equal(made.row_id, table.row_id)
    for name in made.keys:
        assert torch.equal(made.keys[name], table.keys[name])
    for name in made.truth:
        assert torch.equal(made.truth[name], table.truth[name])
    names = [made.schema.scenario_names[i] for i in made.scenario.tolist()]
    assert names == [table.schema.scenario_names[i] for i in table.scenario.tolist()]
    price = table.schema.dense_slices["price"].start
    together = np.corrcoef(made.dense[:, 0], table.dense[:, price])[0, 1]
    assert together == pytest.approx(1, abs=0.01)  # log(1 + price) against log(price)


def test_the_frame_is_in_words_and_hides_the_truth_unless_asked(market):
    frame = market.impressions_frame(100)
    assert not [name for name in frame.columns if name.startswith(("true_", "score_"))]
    for name in ("scenario", "region", "category", "style", "price_band", "weekday"):
        assert frame[name].dtype == pl.String
    assert set(frame["scenario"]) <= set(market.scenarios)


def test_faults_come_as_often_as_the_dial_says(market, frame):
    dirt = market.dials.dirt
    price = market.items["price"][frame["item"].to_numpy()]
    late = frame.filter(pl.col("day") >= 0.75 * market.dials.days)
    early = frame.filter(pl.col("day") < 0.75 * market.dials.days)
    tidy = frame["device"].is_in([*market.devices, "tv"])
    rates = {
        "no age": (frame["age_band"].is_null().mean(), dirt),
        "device": (1 - tidy.mean(), dirt),
        "cents": ((frame["price_euro"].to_numpy() > 50 * price).mean(), dirt / 4),
        "double": (frame.height / ROWS - 1, dirt / 2),
        "tv": (late["device"].str.to_lowercase().str.contains("tv").mean(), 3 * dirt),
    }
    for name, (rate, wanted) in rates.items():
        assert rate == pytest.approx(wanted, rel=0.25), name
    assert not early["device"].str.to_lowercase().str.contains("tv").any()


def test_cleaning_mends_every_fault(market, frame):
    clean = clean_impressions(frame)
    assert clean["row"].to_list() == list(range(ROWS))
    assert np.allclose(clean["price_euro"], market.items["price"][clean["item"].to_numpy()])
    assert set(clean["device"]) == {*market.devices, "tv"}


def test_an_encoder_fitted_on_early_days_knows_no_tv(market, frame):
    clean = clean_impressions(frame)
    encoder = impression_encoder().fit(clean.filter(pl.col("day") < 40))
    table = encoder.transform(clean, truth=frame_truth(clean), row_id=clean["row"])
    names = encoder.schema.categorical_names
    device = table.categorical[:, names.index("device")].numpy()
    assert np.array_equal(device == 0, (clean["device"] == "tv").to_numpy())
    age = table.categorical[:, names.index("age_band")].numpy()
    assert np.array_equal(age == 0, clean["age_band"].is_null().to_numpy())
    assert market.oracle(table)["click"]["auc"] > 0.7


def test_a_short_frame_is_the_start_of_a_long_one(market, frame):
    short = market.impressions_frame(9000, truth=True)
    assert short.equals(frame.filter(pl.col("row") < 9000))
    later = market.impressions_frame(500, start=8100, truth=True)
    assert later.equals(frame.filter(pl.col("row").is_between(8100, 8599)))


def test_the_encoder_takes_optional_tasks_by_name_and_refuses_others():
    assert impression_encoder(optional=["wish"]).tasks == impression_encoder(wish_list=True).tasks
    assert "wish" not in [task.name for task in impression_encoder().tasks]
    with pytest.raises(ValueError, match=r"optional.*'fame'"):
        impression_encoder(optional=["fame"])
