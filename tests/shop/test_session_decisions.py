"""Decisions: expected euros are exact, hidden ones average to them, nothing beats the best."""

import math

import numpy as np
import pytest
import torch

from mtlkit.data.table import Table
from mtlkit.shop.market import Market
from mtlkit.shop.session_decisions import SessionDecisions
from mtlkit.shop.session_process import INTENTS, PARTNER

ROWS = 12_000


@pytest.fixture(scope="module")
def market():
    return Market("shopper", seed=50)


@pytest.fixture(scope="module")
def table(market):
    return market.sessions(ROWS)


@pytest.fixture(scope="module")
def made(market, table):
    return SessionDecisions(market, table)


def z(difference):
    return difference.mean() / difference.std() * math.sqrt(len(difference))


def taken(worth, action):
    return worth[np.arange(len(worth)), action]


def test_beliefs_are_those_of_the_table(table, made):
    assert np.allclose(made.posterior, table.truth["intent"].numpy(), atol=1e-6)
    assert np.allclose(made.next_category, table.truth["next_category"].numpy(), atol=1e-6)
    bought = (made.posterior * made.buys).sum(axis=1)
    assert np.allclose(bought, table.truth["purchase"].numpy(), atol=2e-6)


def test_margins_are_price_less_cost_as_often_as_a_thing_is_viewed(market, made):
    demand = market.demand(1)
    assert np.allclose(
        made.item_margin, (demand.keys["price_cents"] - demand.keys["cost_cents"]).numpy() / 100
    )
    viewed = market.session_events(ROWS)
    items = viewed["item"].drop_nulls().to_numpy()
    for c in range(10):
        seen = made.item_margin[items[market.items["category"][items] == c]]
        assert abs(seen.mean() - made.margin[c]) < 4 * seen.std() / math.sqrt(len(seen))


def test_the_hidden_worth_averages_to_the_expected_one_for_any_action(table, made):
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(10), (ROWS, 1)), axis=1)
    by_banner = np.argsort(-made.banner_value(), axis=1)
    for chosen in (orders, by_banner):
        assert abs(z(made.lead_value(chosen, "hidden") - made.lead_value(chosen))) < 4
        banner = chosen[:, 0]
        both = [taken(made.banner_value(by), banner) for by in ("truth", "hidden")]
        assert abs(z(both[1] - both[0])) < 4
    best = made.coupon_value().argmax(axis=1)
    for action in (0 * best, 0 * best + 1, best):
        both = [taken(made.coupon_value(by), action) for by in ("truth", "hidden")]
        assert abs(z(both[1] - both[0])) < 4
    for score in (made.search_score(), rng.random((ROWS, 40))):
        pages = made.best_pages(score)
        assert abs(z(made.search_value(pages, "hidden") - made.search_value(pages))) < 4
    peeked = made.best_pages(made.search_score(by="hidden"))  # earns more than can be expected
    assert z(made.search_value(peeked, "hidden") - made.search_value(peeked)) > 4


def test_the_score_of_a_coupon_from_the_truth_is_near_the_best(table, made):
    parts = (table.truth[name].numpy() for name in ("intent", "purchase", "next_category"))
    score = made.coupon_score(*parts)
    assert score.shape == (ROWS, 2)
    earned = taken(made.coupon_value(), score.argmax(axis=1)).mean()
    assert 0.985 * made.best("coupon").mean() < earned <= made.best("coupon").mean()
    sure = np.eye(5)[np.full(ROWS, 4)]
    certain = made.coupon_score(sure, np.full(ROWS, 0.2), np.eye(10)[np.full(ROWS, 4)])
    odds = 0.25 * math.exp(1.2)
    euro = [0.2 * made.margin[4], odds / (1 + odds) * (made.margin[4] - 6.0)]
    assert np.allclose(certain, euro)


def test_expected_euros_are_those_of_a_simulation_from_labels(market, table, made):
    rng = np.random.default_rng(1)
    intent, follows = (table.label(t).long().numpy() for t in ("intent", "next_category"))
    without = table.label("purchase").numpy() * made.margin[follows]
    assert abs(z(without - made.coupon_value()[:, 0])) < 4
    pushes = np.array([0.4, 0.15, 0.3, 0.0, 1.2])  # browse, compare, outfit, gift, bargain
    odds = taken(made.buys / (1 - made.buys), intent) * np.exp(pushes[intent])
    buys = rng.random(ROWS) < odds / (1 + odds)
    assert abs(z(buys * (made.margin[follows] - 6.0) - made.coupon_value()[:, 1])) < 4
    pages = made.best_pages(made.search_score())
    euro = np.zeros(ROWS)
    items = market.items
    popular = np.log(items["popularity"])
    popular = (popular - popular.mean()) / popular.std()
    rating = (items["past_rating"] - items["past_rating"].mean()) / items["past_rating"].std()
    last = table.categorical[:, 2].numpy() - 1
    for place in range(8):
        item = pages[:, place]
        category, dear = items["category"][item], items["price_z"][item]
        push = np.select(
            [intent == INTENTS.index(name) for name in INTENTS],
            [0.8 * popular[item], 1.8 * (category == last) + 0.8 * rating[item],
             2.4 * (category == PARTNER[last]), 0.9 * dear, -1.3 * dear],
        )  # fmt: skip
        chance = 0.8**place / (1 + np.exp(5.0 - push))
        euro += (rng.random(ROWS) < chance) * made.item_margin[item]
    assert abs(z(euro - made.search_value(pages))) < 4


def test_a_few_rows_by_hand(made):
    for row in range(0, 200, 20):
        worth = [
            sum(
                made.posterior[row, i] * made.search_chance[row, i, j] for i in range(len(INTENTS))
            ) * made.item_margin[made.candidates[row, j]]
            for j in range(40)
        ]  # fmt: skip
        shown = np.argsort(worth)[::-1][:8]
        best = sum(0.8**k * worth[j] for k, j in enumerate(shown))
        assert math.isclose(made.best("search")[row], best)
        banners = made.next_category[row] * made.margin
        lead = sum(0.1 * 0.8**k * v for k, v in enumerate(sorted(banners)[::-1]))
        assert math.isclose(made.best("lead")[row], lead)
        assert math.isclose(made.best("banner")[row], 0.1 * banners.max())


def test_nothing_beats_the_best_and_knowing_pays(market, table, made):
    banner, coupon = made.banner_value(), made.coupon_value()
    last = table.categorical[:, 2].numpy() - 1
    best = {name: made.best(name) for name in ("banner", "lead", "coupon", "search")}
    blind = np.tile(made.posterior.mean(axis=0), (ROWS, 1))
    blind_pages = made.best_pages(made.search_score(blind))
    fixed = np.argsort(-banner.mean(axis=0))
    rules = {
        "banner": [banner.mean(axis=0).max(), taken(banner, last).mean()],
        "lead": [made.lead_value(np.tile(fixed, (ROWS, 1))).mean()],
        "coupon": coupon.mean(axis=0).tolist(),
        "search": [made.search_value(blind_pages).mean()],
    }
    for name, worths in rules.items():
        for worth in worths:
            assert best[name].mean() > 1.05 * worth
    assert 0.2 < (coupon[:, 1] > coupon[:, 0]).mean() < 0.7
    rng = np.random.default_rng(2)
    order = rng.permuted(np.tile(np.arange(10), (ROWS, 1)), axis=1)
    assert (made.lead_value(order) <= best["lead"] + 1e-12).all()
    pages = made.best_pages(rng.random((ROWS, 40)))
    assert (made.search_value(pages) <= best["search"] + 1e-12).all()


def test_candidates_are_near_the_session_and_the_same_in_any_table(market, table, made):
    assert made.candidates.shape == (ROWS, 40) and made.search_chance.shape == (ROWS, 5, 40)
    assert (np.diff(np.sort(made.candidates, axis=1), axis=1) > 0).all()
    category, last = (
        market.items["category"][made.candidates],
        table.categorical[:, 2:3].numpy() - 1,
    )
    for near in (last, PARTNER[last]):
        assert (category == near).mean() > 0.2
    some = torch.tensor([9_000, 3, 4_097])
    few = SessionDecisions(market, table.take(some))
    assert np.array_equal(few.candidates, made.candidates[some])
    assert np.array_equal(few.coupon_value(), made.coupon_value()[some])
    assert np.array_equal(
        SessionDecisions(market, market.sessions(5, start=4_095)).best("search"),
        made.best("search")[4_095:4_100],
    )


def test_near_categories_come_by_their_odds(market, table, made):
    """The first to ring of 400 clocks is of a category by its odds times its number of items."""
    items = market.items["category"]
    count = np.bincount(items, minlength=10)
    path, offsets = table.sequences["history_category"]
    last, before = (path[offsets[1:] - back].numpy() - 1 for back in (1, 2))
    first = items[made.candidates[:, 0]]
    apart = (before != last) & (before != PARTNER[last]) & (PARTNER[last] != last)
    odds = np.ones((ROWS, 10))
    for near, odd in ((before, 4.0), (PARTNER[last], 8.0), (last, 8.0)):
        odds[np.arange(ROWS), near] = odd
    chance = odds * count / (odds * count).sum(axis=1, keepdims=True)
    for near in (before, PARTNER[last], last):
        p = taken(chance, near)[apart]
        hits = (first == near)[apart]
        assert abs((hits - p).sum()) < 4 * math.sqrt((p * (1 - p)).sum())


def test_a_table_of_another_shop_is_refused(market, table):
    some = table.take(torch.arange(40))
    slow = Market("shopper", seed=50, gap_tells=1.7).sessions(40)
    assert torch.equal(slow.labels, some.labels)  # and yet its gaps are others
    no_clock = Market("shopper", seed=50, gap_tells=0).sessions(40)

    def changed(**columns):
        parts = {n: v for n, v in vars(some).items() if n != "schema"} | columns
        return Table(some.schema, **parts, check=False)

    values, offsets = some.sequences["query"]
    asked = some.sequences | {"query": (values.flip(0), offsets)}
    truth = some.truth | {"intent": some.truth["intent"].flip(1)}
    keys = {n: v for n, v in some.keys.items() if n != "user"}
    for other, words in [
        (slow, r"this market \(history_gap entries differs\)"),
        (no_clock, "its sequences fields are not those of .* this market"),
        (changed(sequences=asked), r"\(query entries differs\)"),
        (changed(labels=1 - some.labels), r"\(next_category label differs\)"),
        (changed(truth=truth), r"\(P.intent. differs\)"),
        (changed(keys=keys), 'no key "user"'),
        (table.take(torch.arange(0)), "0 rows"),
    ]:
        with pytest.raises(ValueError, match=f"table: .*{words}"):
            SessionDecisions(market, other)
    keys = {"user": some.keys["user"]}  # the one key that it asks for; truth need not be there
    worth = SessionDecisions(market, changed(keys=keys, truth={}))
    assert np.array_equal(worth.best("coupon"), SessionDecisions(market, some).best("coupon"))


def test_what_is_no_decision_is_refused(market, table):
    few = SessionDecisions(market, table.take(torch.arange(3)))
    page = few.best_pages(few.search_score())
    twice, strange = page.copy(), page.copy()
    twice[0, 0] = twice[0, 1]
    strange[0, 0] = np.setdiff1d(np.arange(400), few.candidates[0])[0]
    for act, words in [
        (lambda: few.banner_value("luck"), "by: 'luck'"),
        (lambda: few.coupon_value("luck"), "by: "),
        (lambda: few.search_value(twice), "pages: .* twice"),
        (lambda: few.search_value(strange), "pages: .* candidates"),
        (lambda: few.search_value(page[:2]), r"pages: .*\(3, 8\)"),
        (lambda: few.search_value(page.astype(float)), "pages: expected whole"),
        (lambda: few.lead_value(np.zeros((3, 10), int)), "orders: .* once"),
        (lambda: few.search_score(np.ones((3, 4))), "intents: "),
        (lambda: few.coupon_score(np.ones((3, 5)), np.ones(2), np.ones((3, 10))), "purchase: "),
        (lambda: few.best_pages(np.ones((3, 8))), "score: "),
        (lambda: few.best("page"), "decision: 'page'"),
        (lambda: SessionDecisions(market, market.impressions(8)), "table: "),
        (lambda: SessionDecisions(Market("shopper", seed=51), table), "table: .* this market"),
        (
            lambda: SessionDecisions(
                Market("tiny", items=30, page_size=3),
                Market("tiny", items=30, page_size=3).sessions(9),
            ),
            "market: 30 items",
        ),
        (lambda: SessionDecisions(None, table), "market: "),
    ]:
        with pytest.raises(ValueError, match=words):
            act()
