"""Margins in euro: one for the whole shop, whoever asks."""

import numpy as np

from mtlkit.shop.margins import margins
from mtlkit.shop.market import Market
from mtlkit.shop.session_decisions import SessionDecisions


def test_a_margin_is_price_less_unit_cost_of_the_weekly_demand():
    market = Market("small", seed=3)
    weeks, margin = market.demand(2), margins(market)
    item = weeks.keys["item"].numpy()
    euro = (weeks.keys["price_cents"] - weeks.keys["cost_cents"]).numpy() / 100
    assert margin.shape == (market.dials.items,)
    assert np.array_equal(margin[item], euro)
    share = margin / market.items["price"]
    assert 0.34 < share.min() < 0.36 and 0.64 < share.max() < 0.66


def test_every_decision_of_the_shop_reads_the_same_margins():
    market = Market("page", seed=3)
    assert np.array_equal(market.margins, margins(market))
    table = market.sessions(50)
    assert np.array_equal(SessionDecisions(market, table).item_margin, margins(market))


def test_margins_belong_to_the_seed_alone():
    one = margins(Market("small", seed=3))
    assert np.array_equal(one, margins(Market("small", seed=3, noise=0.0)))
    assert not np.array_equal(one, margins(Market("small", seed=4)))
