"""Policies on the live shop: pairing, the oracle, models with a fusion."""

import numpy as np
import pytest

from mtlkit import SharedBottom, predict
from mtlkit.online import (
    ExpectedValue,
    ModelPolicy,
    Product,
    WeightedSum,
    best_policy,
    money,
    play,
    policies,
)
from mtlkit.shop.market import Market
from mtlkit.train import seeded


@pytest.fixture(scope="module")
def shop():
    market = Market("small", seed=9)
    live = market.live(4)
    return market, live, live.visitors(60)


def at_random(visitors, items, table):
    return np.random.default_rng(0).random(items.shape)


def by_price(live):
    return lambda visitors, items, table: live.world.items["price"][items]


def test_play_is_serve_one_visitor_after_the_other(shop, monkeypatch):
    _, live, visitors = shop
    monkeypatch.setattr(policies, "VISITORS", 25)  # blocks of unequal size
    policy, price = by_price(live), live.world.items["price"]
    euro, expected = (
        play(live, policy, visitors, 20),
        play(live, policy, visitors, 20, expected=True),
    )
    clicks = play(live, policy, visitors, 20, "clicks", size=5)
    for i, visitor in enumerate(visitors):
        items = live.candidates(visitor, 20)
        ranked = items[np.argsort(-price[items], kind="stable")]
        outcome = live.serve(visitor, ranked[: live.world.dials.page_size])
        assert euro[i] == pytest.approx(outcome.revenue)
        assert expected[i] == pytest.approx(outcome.expected_revenue)
        assert clicks[i] == live.serve(visitor, ranked[:5]).click.sum()


@pytest.mark.parametrize(("goal", "aim"), [("revenue", "revenue"), ("clicks", "click")])
def test_the_best_policy_is_the_shops_best_page(shop, goal, aim):
    _, live, visitors = shop
    best = play(live, best_policy(live, goal), visitors, 30, goal, expected=True)
    for i, visitor in enumerate(visitors[:20]):
        page = live.best_page(visitor, live.candidates(visitor, 30), goal=aim)
        outcome = live.serve(visitor, page)
        told = outcome.expected_revenue if goal == "revenue" else outcome.expected_click.sum()
        assert best[i] == pytest.approx(told)


def test_the_best_policy_has_no_regret_and_chance_has_some(shop):
    _, live, visitors = shop
    best, chance = (
        play(live, policy, visitors, expected=True) for policy in (best_policy(live), at_random)
    )
    assert money(best, best).regret == (0, 0, 0)
    found = money(chance, best, chance)
    assert found.regret.low > 0 and found.share.high < 1 and found.difference == (0, 0, 0)


def test_expectations_agree_with_what_happens(shop):
    market, _, _ = shop
    live = market.live(11)
    visitors = live.visitors(1500)
    happened, expected = (
        play(live, at_random, visitors, goal="clicks", expected=e) for e in (0, 1)
    )
    gap = happened - expected
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))
    assert expected.std() < happened.std()


def test_a_model_ranks_by_its_fused_predictions(shop):
    market, live, visitors = shop
    table = market.impressions(200)
    with seeded(1):
        model = SharedBottom(table.schema, embedding_dim=4, hidden=(8,), tower=(4,))
    few = visitors[:7]
    items = np.stack([live.candidates(visitor, 12) for visitor in few])
    found = predict(model, live.table(few, items))
    clicks, sales = (found[name].reshape(7, 12) for name in ("click", "purchase"))
    price = live.world.items["price"]
    rules = {
        Product({"click": 1.0, "purchase": 2.0}): clicks * sales**2,
        WeightedSum({"click": 1.0}, relative=True): clicks / clicks.mean(1, keepdims=True),
    }
    for fusion, expected in rules.items():
        scores = ModelPolicy(model, fusion)(few, items, live.table(few, items))
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
    rule = ModelPolicy(model, ExpectedValue("price"), {"price": price})
    scores = rule(few, items, live.table(few, items))
    np.testing.assert_allclose(scores, clicks * sales * price[items], rtol=1e-5)
    assert play(live, rule, few, 12).shape == (7,)


def test_margins_are_played_where_the_shop_knows_them(shop, monkeypatch):
    _, live, visitors = shop
    served = live.serve_many

    def with_margins(many, pages):
        outcomes = served(many, pages)
        for outcome in outcomes:
            object.__setattr__(outcome, "margin", 0.25 * outcome.revenue)
            object.__setattr__(outcome, "expected_margin", 0.25 * outcome.expected_revenue)
        return outcomes

    policy = by_price(live)
    euro = play(live, policy, visitors)
    monkeypatch.setattr(live, "serve_many", with_margins)
    assert play(live, policy, visitors, goal="margin") == pytest.approx(euro / 4)


def test_bad_input_is_refused_by_name(shop):
    _, live, visitors = shop
    with pytest.raises(ValueError, match="goal: 'profit' is not one of revenue, margin, clicks"):
        play(live, at_random, visitors, goal="profit")
    with pytest.raises(ValueError, match="goal: 'profit'"):
        best_policy(live, "profit")
    with pytest.raises(ValueError, match=r"visitors: none given; draw some with live\.visitors"):
        play(live, at_random, [])
    with pytest.raises(ValueError, match="size: a page of 9 does not fit 8 candidates"):
        play(live, at_random, visitors, 8, size=9)
    for wrong in (lambda v, i, t: np.zeros(3), lambda v, i, t: np.full(i.shape, np.nan)):
        with pytest.raises(ValueError, match="policy: expected finite scores of shape"):
            play(live, wrong, visitors)
