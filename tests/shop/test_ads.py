"""Bids of sellers for their products."""

import numpy as np
import pytest

from mtlkit.shop.ads import bids
from mtlkit.shop.market import Market


@pytest.fixture(scope="module")
def market():
    return Market("page", seed=4)


def test_every_item_has_a_bid_and_their_mean_is_the_dial(market):
    frame = market.ads()
    assert frame.columns == ["item", "seller", "bid", "quality"]
    bid = frame["bid"].to_numpy()
    assert frame["item"].to_list() == list(range(market.dials.items))
    assert bid.mean() == pytest.approx(market.dials.ad_bid, abs=0.01) and bid.min() >= 0.01
    assert np.abs(bid * 100 - np.round(bid * 100)).max() < 1e-3
    shown = market.impressions_frame(200)
    seller = frame["seller"].to_numpy()[shown["item"].to_numpy()]
    assert (seller == shown["seller"].to_numpy()).all()


def test_bids_follow_the_margin_and_the_seller(market):
    bid, seller = np.log(bids(market)), market.items["seller"]
    assert np.corrcoef(bid, np.log(market.margins))[0, 1] > 0.3
    rest = bid - 0.5 * np.log(market.margins)
    counts = np.bincount(seller)
    means = np.bincount(seller, rest) / np.maximum(counts, 1)
    within = (rest - means[seller]).std()
    assert within == pytest.approx(0.3, abs=0.05) and means[counts > 3].std() > 0.25


def test_quality_is_the_tenth_of_past_clicks(market):
    quality = market.ads()["quality"].to_numpy()
    assert np.bincount(quality).tolist() == [0] + [40] * 10
    past = market.items["past_clicks"]
    assert all(past[quality == q].max() <= past[quality == q + 1].min() for q in range(1, 10))


def test_without_the_dial_nobody_bids_and_a_bid_is_never_free():
    with pytest.raises(ValueError, match="ad_bid"):
        Market("tiny").ads()
    assert (bids(Market("tiny", ad_bid=0.001)) == np.float32(0.01)).all()
    with pytest.raises(ValueError, match="ad_bid"):
        Market("tiny", ad_bid=-1.0)
