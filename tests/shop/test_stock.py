"""Sales and stock as columns of the impressions; what is sold out is never bought."""

import math

import numpy as np
import pytest
import torch

from mtlkit.shop.demand_process import simulate_demand
from mtlkit.shop.impression_frame import clean_impressions, frame_truth, impression_encoder
from mtlkit.shop.market import Market
from mtlkit.shop.oracle import best_predictions
from mtlkit.shop.stock import Stock

ROWS = 200_000
SHOP = {"seed": 6, "noise": 0.8, "purchase_rate": 0.2}


@pytest.fixture(scope="module")
def market():
    return Market("small", stock_columns=1, **SHOP)


@pytest.fixture(scope="module")
def table(market):
    return market.impressions(ROWS)


@pytest.fixture(scope="module")
def without():
    return Market("small", **SHOP).impressions(ROWS)


def column(table, name):
    return table.dense[:, table.schema.dense_slices[name]].squeeze(1).double().numpy()


def test_all_but_the_purchases_of_what_is_sold_out_is_the_shop_without_the_dial(table, without):
    assert "stock" not in [field.name for field in without.schema.dense]
    assert torch.equal(table.categorical, without.categorical)
    assert torch.equal(table.dense[:, :-2], without.dense)
    left = table.truth["in_stock"].bool()
    assert 0.005 < float((~left).float().mean()) < 0.1
    for name, value in without.truth.items():
        if name in ("purchase", "checkout"):
            assert torch.equal(table.truth[name][left], value[left])
            assert (table.truth[name][~left] == 0).all() and (value[~left] > 0).all()
        else:
            assert torch.equal(table.truth[name], value), name
    for task in ("click", "cart", "dwell"):
        assert torch.equal(table.label(task), without.label(task))
    assert torch.equal(table.label("purchase")[left], without.label("purchase")[left])
    assert table.label("purchase")[~left].sum() == 0 < without.label("purchase")[~left].sum()
    assert not table.mask("return")[~left].any()


def test_the_columns_are_those_of_the_demand_of_the_same_weeks(market, table):
    panel = simulate_demand(market, 8)
    day, item = table.keys["day"].numpy(), table.keys["item"].numpy()
    week = day // 7
    later = week > 0
    sold = panel["units"][week[later] - 1, item[later]]
    assert np.allclose(column(table, "sales_7d")[later], np.log1p(sold) - 2, atol=1e-4)
    monday = day % 7 == 0
    stock = panel["stock"][week[monday], item[monday]]
    assert np.allclose(column(table, "stock")[monday], np.log1p(stock) - 2.5, atol=1e-4)
    pieces = np.expm1(column(table, "stock") + 2.5)
    assert np.array_equal(np.round(pieces) > 0, table.truth["in_stock"].numpy() == 1)
    popular = market.items["popularity"][item]
    assert np.corrcoef(column(table, "sales_7d"), np.log(popular))[0, 1] > 0.5


def test_shelves_empty_over_a_week_by_what_is_wanted_on_its_days(market):
    panel = simulate_demand(market, 12)
    day, item = np.arange(84)[:, None], np.arange(market.dials.items)
    morning = Stock(market).columns(day, item)["stock"].reshape(12, 7, -1)
    assert np.array_equal(morning[:, 0], panel["stock"])
    assert (np.diff(morning, axis=1) <= 0).all()
    assert (morning[:, 6] >= panel["stock"] - panel["units"]).all()
    gone = panel["stock"][:, None] - morning  # wanted before each morning where nothing ran out
    calm = panel["units"] < panel["stock"]
    share = gone.transpose(1, 0, 2)[:, calm].sum(axis=1) / panel["demand"][calm].sum()
    assert np.allclose(share, np.arange(7) / 7, atol=0.01)
    emptied = (morning[:, 6] == 0).any(axis=1).mean()
    assert emptied > 0


def test_a_day_is_the_same_whatever_was_asked_for_before(market):
    item = np.arange(market.dials.items)
    far, near = Stock(market), Stock(market)
    far.columns(np.array([400])[:, None], item)
    for day in (3, 60, 200):
        a, b = (stock.columns(np.array([day])[:, None], item) for stock in (far, near))
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_purchases_agree_with_their_truth_where_there_is_stock(table):
    mask = table.mask("purchase") & table.truth["in_stock"].bool()
    label = table.label("purchase")[mask].double().numpy()
    truth = table.truth["purchase"][mask].double().numpy()
    for part in np.array_split(np.argsort(truth, kind="stable"), 5):
        spread = math.sqrt((truth[part] * (1 - truth[part])).sum())
        assert abs((label - truth)[part].sum()) / spread < 4


@pytest.mark.parametrize("luck", [{}, {"noise": 0.0, "selection_bias": 0.0}])
def test_the_oracle_of_the_features_knows_what_is_sold_out(luck):
    market = Market("small", stock_columns=1, **{**SHOP, **luck})
    table = market.impressions(30_000)
    gone = table.truth["in_stock"].numpy() == 0
    for selected in (True, False):
        found = best_predictions(market, table, "features", selected)["purchase"]
        assert (found[gone] == 0).all() and (found[~gone] > 0).all()
    assert market.oracle(table, "features")["purchase"]["pcoc"] == pytest.approx(1, abs=0.12)


def test_rows_are_the_same_from_wherever_a_table_starts(market, table):
    piece = market.impressions(3000, start=20_000, chunk=700)
    assert torch.equal(piece.dense, table.dense[20_000:23_000])
    assert torch.equal(piece.labels, table.labels[20_000:23_000])
    assert torch.equal(piece.truth["in_stock"], table.truth["in_stock"][20_000:23_000])


def test_the_raw_frame_leads_to_the_same_columns(market):
    frame = clean_impressions(market.impressions_frame(3000, truth=True))
    encoder = impression_encoder(stock_columns=True).fit(frame)
    made = encoder.transform(frame, truth=frame_truth(frame), row_id=frame["row"])
    direct = market.impressions(3000)
    assert torch.equal(made.labels, direct.labels)
    assert torch.equal(made.truth["in_stock"], direct.truth["in_stock"])
    for name in ("sales_7d", "stock"):
        shown = np.log1p(frame[name].to_numpy()) - {"sales_7d": 2, "stock": 2.5}[name]
        assert np.allclose(shown, column(direct, name), atol=1e-4)
        assert np.corrcoef(column(made, name), column(direct, name))[0, 1] > 0.9999
    plain = Market("small", **SHOP).impressions_frame(10, truth=True)
    assert not {"sales_7d", "stock", "true_in_stock"} & set(plain.columns)


def test_live_visitors_read_the_columns_and_never_buy_what_is_sold_out(market):
    live = market.live(3, visitors_per_day=200)
    visitors = live.visitors(6000)
    pages = live.candidates(visitors, 8)
    table = live.table(visitors, pages)
    assert table.schema == market.impressions(8).schema
    day = np.repeat([visitor.day for visitor in visitors], 8)
    known = market.behaviour.stock.columns(day, pages.ravel())
    assert np.allclose(column(table, "stock"), np.log1p(known["stock"]) - 2.5, atol=1e-4)
    assert np.allclose(column(table, "sales_7d"), np.log1p(known["sales_7d"]) - 2, atol=1e-4)
    served = live.serve_many(visitors, pages)
    bought = np.array([o.purchase for o in served]).ravel()
    expected = np.array([o.expected_purchase for o in served]).ravel()
    gone = known["stock"] == 0
    assert gone.sum() > 100 and not bought[gone].any() and (expected[gone] == 0).all()
    assert (expected[~gone] > 0).all()
    spread = math.sqrt((expected * (1 - expected)).sum())
    assert abs((bought - expected).sum()) / spread < 4
    clicks = np.array([o.click for o in served]).ravel()
    assert clicks[gone].any()
    first = int(np.flatnonzero(gone)[0]) // 8
    best = live.best_page(visitors[first], pages[first], 8)
    empty = market.behaviour.stock.columns(np.full(8, visitors[first].day), best)["stock"] == 0
    assert empty.any() and (np.diff(empty.astype(int)) >= 0).all()
