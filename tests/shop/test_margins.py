"""Margins in euro: a share of the price by category, and a draw that moves nothing else."""

import numpy as np

from mtlkit.shop.margins import ITEM_SD, SHARES, margins
from mtlkit.shop.market import Market


def test_a_margin_is_a_share_of_the_price_by_category():
    market = Market("small", seed=3)
    margin, price = margins(market), market.items["price"]
    assert margin.dtype == np.float32 and margin.shape == (market.dials.items,)
    share = margin / price
    category = market.items["category"]
    means = np.array([share[category == c].mean() for c in range(10)])
    assert SHARES[0] - 0.02 < means.min() and means.max() < SHARES[1] + 0.02
    assert np.ptp(means) > 0.1
    cents = 0.01 / price
    assert (np.abs(share - means[category]) < 2 * ITEM_SD + 0.02 + cents).all()
    assert 0.7 * ITEM_SD < (share - means[category]).std() < 1.1 * ITEM_SD
    assert np.abs(margin * 100 - np.round(margin * 100)).max() < 1e-3
    assert (margin > 0).all()


def test_margins_belong_to_the_seed_alone():
    one = margins(Market("small", seed=3))
    assert np.array_equal(one, margins(Market("small", seed=3, noise=0.0)))
    assert not np.array_equal(one, margins(Market("small", seed=4)))
