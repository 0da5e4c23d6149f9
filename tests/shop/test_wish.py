"""The wish list: a second way to the till, and nothing else about the shop changes."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.shop.dials import TILL_SHARE
from mtlkit.shop.impression_frame import clean_impressions, frame_truth, impression_encoder
from mtlkit.shop.market import Market
from mtlkit.shop.oracle import best_predictions
from mtlkit.shop.probability import sigmoid

RATE = 0.3


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=11, wish_rate=RATE, noise=0.8)


@pytest.fixture(scope="module")
def table(market):
    return market.impressions(300_000)


def clicked(table, task):
    mask = table.mask(task)
    return table.label(task)[mask].double().numpy(), table.truth[task][mask].double().numpy()


def test_without_the_dial_nobody_wishes():
    table = Market("tiny").impressions(100)
    assert "wish" not in table.schema.task_names
    assert not [name for name in table.truth if "wish" in name]


def test_visits_clicks_and_carts_are_those_of_the_shop_without_a_list(table):
    without = Market("small", seed=11, noise=0.8).impressions(300_000)
    assert torch.equal(table.categorical, without.categorical)
    for task in ("click", "cart", "rating"):
        assert torch.equal(table.truth[task], without.truth[task])
    for task in ("click", "cart"):
        assert torch.equal(table.label(task), without.label(task))
    assert not torch.equal(table.label("purchase"), without.label("purchase"))


def test_wishes_and_purchases_have_the_rates_of_the_dials(market, table):
    assert table.mask("wish").equal(table.label("click").bool())
    assert clicked(table, "wish")[0].mean() == pytest.approx(RATE, rel=0.05)
    assert clicked(table, "purchase")[0].mean() == pytest.approx(
        market.dials.purchase_rate, rel=0.1
    )


@pytest.mark.parametrize("task", ["wish", "purchase"])
def test_labels_agree_with_the_true_probabilities_in_every_decile(table, task):
    label, truth = clicked(table, task)
    for part in np.array_split(np.argsort(truth, kind="stable"), 10):
        spread = math.sqrt((truth[part] * (1 - truth[part])).sum())
        assert abs((label - truth)[part].sum()) / spread < 4


def test_purchases_with_and_without_a_wish_follow_the_graph(market, table):
    """P(till | cart, wish) = 1 with a cart; otherwise wished products add their own way."""
    mask = table.mask("wish")
    wish, cart, bought = (
        table.label(name)[mask].bool().numpy() for name in ("wish", "cart", "purchase")
    )
    checkout = table.truth["checkout"][mask].double().numpy()
    now = market.dials.buy_now
    for chosen, till in (
        (cart, 1.0),
        (~cart & wish, 1 - (1 - now) * (1 - TILL_SHARE)),
        (~cart & ~wish, now),
    ):
        mean = checkout[chosen] * till
        spread = math.sqrt((mean * (1 - mean)).sum())
        assert abs((bought[chosen] - mean).sum()) / spread < 4


def test_what_pleases_is_wished(table):
    """In this utility the click's and the rating's own correlate with the wish's alike."""
    wish = torch.logit(table.truth["wish"].double()).numpy()
    rating = table.truth["rating"].numpy()
    assert np.corrcoef(wish, rating)[0, 1] > 0.4
    assert np.corrcoef(wish, table.truth["score_click"].numpy())[0, 1] > 0.4


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.6])
def test_the_utility_of_a_wish_has_variance_one(correlation):
    market = Market("small", seed=3, wish_rate=RATE, task_correlation=correlation,
                    exposure="random", signal=1.0)  # fmt: skip
    score = market.impressions(100_000).truth["score_wish"]
    assert score.var().item() == pytest.approx(1, abs=0.15)


def test_averaging_over_the_luck_agrees_with_many_draws_of_it(market, table):
    rows = table.take(np.arange(0, 200, 29))
    found = best_predictions(market, rows, "features", selected=False)
    rng = np.random.default_rng(0)
    for row in range(len(rows)):
        score = {n: float(rows.truth[f"score_{n}"][row]) for n in ("cart", "checkout", "wish")}
        own = market.dials.noise * rng.standard_normal((3, 300_000))
        cart, wish = sigmoid(score["cart"] + own[0]), sigmoid(score["wish"] + own[1])
        appeal = market.dials.selection_bias * rng.standard_normal(300_000)
        checkout = sigmoid(score["checkout"] + own[2] + appeal)
        by_hand = checkout * (1 - (1 - cart) * (1 - TILL_SHARE * wish) * (1 - market.dials.buy_now))
        assert found["wish"][row] == pytest.approx(wish.mean(), rel=0.02)
        assert found["purchase"][row] == pytest.approx(by_hand.mean(), rel=0.02)
    assert set(market.oracle(table)) == set(table.schema.task_names)


def test_rows_are_the_same_from_wherever_a_table_starts(market, table):
    piece = market.impressions(3000, start=10_000, chunk=700)
    assert torch.equal(piece.label("wish"), table.label("wish")[10_000:13_000])
    assert torch.equal(piece.truth["wish"], table.truth["wish"][10_000:13_000])


def test_the_raw_frame_leads_to_the_same_wishes(market):
    frame = clean_impressions(market.impressions_frame(3000, truth=True))
    encoder = impression_encoder(wish_list=True).fit(frame)
    table = encoder.transform(frame, truth=frame_truth(frame), row_id=frame["row"])
    direct = market.impressions(3000)
    assert torch.equal(table.label("wish"), direct.label("wish"))
    assert torch.equal(table.mask("wish"), direct.mask("wish"))
    assert torch.equal(table.truth["wish"], direct.truth["wish"])
    assert frame.filter(pl.col("click") == 0)["wish"].null_count() == (frame["click"] == 0).sum()


def test_live_visitors_wish_as_well(market):
    live, without = market.live(3), Market("small", seed=11, noise=0.8).live(3)
    visitors, others = live.visitors(3000), without.visitors(3000)
    pages = np.stack([live.candidates(v, 8) for v in visitors])
    served, plain = live.serve_many(visitors, pages), without.serve_many(others, pages)
    for a, b in zip(served, plain, strict=True):
        assert np.array_equal(a.click, b.click) and np.array_equal(a.cart, b.cart)
    bought = np.array([o.purchase for o in served])
    expected = np.array([o.expected_purchase for o in served])
    spread = math.sqrt((expected * (1 - expected)).sum())
    assert abs((bought - expected).sum()) / spread < 4
    best = live.best_page(visitors[0], pages[0])
    visit = {n: np.array([getattr(visitors[0], n)]) for n in (
        "user", "scenario", "day", "hour", "region", "device")}  # fmt: skip
    scores, _ = market.behaviour.scores(visit, best[None], np.zeros(8))
    click, cart, checkout, wish = (
        sigmoid(scores[name][0]) for name in ("click", "cart", "checkout", "wish")
    )
    no_till = (1 - cart) * (1 - market.dials.buy_now) * (1 - TILL_SHARE * wish)
    value = click * checkout * (1 - no_till)
    assert (np.diff(value) <= 1e-7).all() and value.max() > 2 * value.min()


def test_a_rate_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="wish_rate"):
        Market("tiny", wish_rate=-0.1)
