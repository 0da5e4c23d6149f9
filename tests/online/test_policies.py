"""Policies on the live shop: pairing, the oracle, models with a fusion."""

import numpy as np
import pytest

from mtlkit import SharedBottom, predict
from mtlkit.comparison import paired_interval
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
from mtlkit.shop.margins import margins
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


AIMS = {"revenue": "revenue", "margin": "margin", "clicks": "click"}


@pytest.mark.parametrize("goal", AIMS)
def test_without_luck_the_best_policy_is_the_shops_best_page(goal):
    live = Market("small", seed=9, noise=0, selection_bias=0, stock_columns=1).live(4)
    visitors = live.visitors(20)
    best = play(live, best_policy(live, goal), visitors, 30, goal, expected=True)
    for i, visitor in enumerate(visitors):
        page = live.best_page(visitor, live.candidates(visitor, 30), goal=AIMS[goal])
        outcome = live.serve(visitor, page)
        told = outcome.expected_click.sum() if goal == "clicks" else None
        told = getattr(outcome, f"expected_{goal}") if told is None else told
        assert best[i] == pytest.approx(told, rel=1e-3)  # chances are rounded as the log keeps them


def averaged(live, goal, draws=300):
    """Ranks by the mean over drawn luck of what an item brings: the equations, no quadrature."""
    outcomes, rng = live.behaviour.outcomes, np.random.default_rng(5)
    stage = "click" if goal == "clicks" else "purchase"
    euro = {"clicks": np.ones(live.world.dials.items), "revenue": live.world.items["price"]}
    euro["margin"] = margins(live.world)

    def policy(visitors, items, table):
        names = ("user", "scenario", "day", "hour", "region", "device")
        visits = {name: np.array([getattr(v, name) for v in visitors]) for name in names}
        scores, _ = live.behaviour.scores(visits, items, np.zeros(items.shape[1]))
        total = np.zeros(items.shape)
        for _ in range(draws):
            appeal = 2.0 * rng.normal(size=items.shape)
            lucky = {name: score + 1.5 * rng.normal(size=items.shape) for name, score in
                     scores.items()}  # fmt: skip
            for name in ("click", "checkout"):
                lucky[name] = lucky[name] + appeal
            chances = {name: 1 / (1 + np.exp(-logit)) for name, logit in lucky.items()}
            total += outcomes.joint(stage, chances)
        return total / draws * euro[goal][items]

    return policy


def before_luck(live, goal):
    def policy(visitors, items, table):
        ranked = live.best_pages(visitors, items, items.shape[1], AIMS[goal])
        place = np.argsort(ranked, axis=1)
        scores = np.empty(items.shape)
        np.put_along_axis(scores, np.argsort(items, axis=1), -place.astype(float), axis=1)
        return scores

    return policy


@pytest.mark.parametrize("goal", AIMS)
def test_no_ranking_by_the_mean_over_luck_beats_the_best_policy(goal):
    live = Market("small", seed=9, noise=1.5, selection_bias=2.0).live(4)
    visitors = live.visitors(400)
    best, drawn = (
        play(live, make(live, goal), visitors, goal=goal, expected=True)
        for make in (best_policy, averaged)
    )
    assert paired_interval(drawn - best).low <= 0
    few = visitors[:100]
    items = live.candidates(few, 40)
    own, found = (make(live, goal)(few, items, None) for make in (averaged, best_policy))
    assert np.corrcoef(own.ravel(), found.ravel())[0, 1] > 0.98
    assert own.sum() == pytest.approx(found.sum(), rel=0.03)


def test_the_best_policy_earns_more_than_the_chances_before_luck():
    live = Market("small", seed=9, noise=1.5, selection_bias=2.0).live(4)
    visitors = live.visitors(3000)
    best, before = (
        play(live, make, visitors, expected=True)
        for make in (best_policy(live), before_luck(live, "revenue"))
    )
    assert paired_interval(best - before).low > 0


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


def test_columns_of_items_that_hide_a_task_or_have_another_shape_are_refused(shop):
    market, live, visitors = shop
    model = SharedBottom(market.impressions(50).schema, embedding_dim=4, hidden=(8,), tower=(4,))
    rule, price = ExpectedValue("price"), live.world.items["price"]
    with pytest.raises(ValueError, match="of_items: 'click' is a task"):
        ModelPolicy(model, rule, {"click": price})
    with pytest.raises(ValueError, match=r"of_items: 'price' has shape \(\d+, 1\)"):
        ModelPolicy(model, rule, {"price": price[:, None]})
    with pytest.raises(ValueError, match="of_items: 'price' has shape"):
        ModelPolicy(model, rule, {"price": 3.0})
    with pytest.raises(ValueError, match="of_items: 'price' has 5 numbers, and item"):
        play(live, ModelPolicy(model, rule, {"price": price[:5]}), visitors[:2], 10)


def test_margins_are_what_the_shop_earns_on_what_is_bought(shop):
    _, live, visitors = shop
    policy, own = by_price(live), margins(live.world)
    earned = play(live, policy, visitors, 20, "margin")
    expected = play(live, policy, visitors, 20, "margin", expected=True)
    scores = live.world.items["price"]
    for i, visitor in enumerate(visitors):
        items = live.candidates(visitor, 20)
        ranked = items[np.argsort(-scores[items], kind="stable")][: live.world.dials.page_size]
        outcome = live.serve(visitor, ranked)
        assert earned[i] == pytest.approx(own[ranked][outcome.purchase].sum())
        assert expected[i] == pytest.approx(own[ranked] @ outcome.expected_purchase)


def test_ties_keep_the_candidates_order(shop):
    _, live, visitors = shop
    size = live.world.dials.page_size
    alike = play(live, lambda v, items, t: np.zeros(items.shape), visitors, 20, expected=True)
    pages = live.candidates(visitors, 20)[:, :size]
    assert alike.tolist() == [o.expected_revenue for o in live.serve_many(visitors, pages)]


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
