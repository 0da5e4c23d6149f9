"""Live visitors: honest outcomes, and luck that stays with (visitor, item)."""

import math

import numpy as np
import pytest

from mtlkit.shop.luck import HashedLuck
from mtlkit.shop.margins import margins
from mtlkit.shop.market import Market


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=9)


def same(a, b):
    names = ("click", "cart", "purchase", "dwell", "expected_click", "expected_purchase")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


def test_the_same_seed_brings_the_same_visitors_and_outcomes(market):
    first, second = market.live(4), market.live(4)
    for _ in range(5):
        a, b = first.next(), second.next()
        assert a == b and np.array_equal(first.candidates(a), second.candidates(b))
        page = first.candidates(a)[:8]
        assert same(first.serve(a, page), second.serve(b, page))
    assert market.live(4).visitors(30) != market.live(5).visitors(30)


def test_what_was_served_before_changes_nothing(market):
    busy, calm = market.live(1), market.live(1)
    visitor = busy.next()
    for _ in range(3):
        busy.serve(visitor, busy.candidates(visitor)[:5])
    assert busy.next() == calm.visitors(2)[1]
    page = calm.candidates(visitor)[:8]
    assert same(busy.serve(visitor, page), calm.serve(visitor, page))


def test_a_products_luck_does_not_depend_on_its_neighbours(market):
    live = market.live(2)
    for visitor in live.visitors(50):
        items = live.candidates(visitor, 12)
        a = live.serve(visitor, items[:6])
        b = live.serve(visitor, np.concatenate([items[:1], items[7:]]))
        assert a.click[0] == b.click[0] and a.expected_click[0] == b.expected_click[0]


def test_moving_up_never_loses_a_click(market):
    live = market.live(3)
    visitors = live.visitors(300)
    pages = np.stack([live.candidates(v, 8) for v in visitors])
    ahead = np.array([o.click[1] for o in live.serve_many(visitors, pages[:, ::-1])])
    behind = np.array([o.click[6] for o in live.serve_many(visitors, pages)])
    assert (ahead | ~behind).all() and ahead.sum() > behind.sum()


def test_many_at_once_is_the_same_as_one_by_one(market):
    live = market.live(6)
    visitors = live.visitors(20)
    pages = np.stack([live.candidates(v, 8) for v in visitors])
    for visitor, page, outcome in zip(visitors, pages, live.serve_many(visitors, pages)):
        alone = live.serve(visitor, page)
        assert same(alone, outcome)
        assert alone.revenue == outcome.revenue
        assert alone.margin == outcome.margin
        assert alone.expected_revenue == pytest.approx(outcome.expected_revenue)


def test_candidates_and_best_pages_of_many_are_those_of_each(market):
    live = market.live(6)
    visitors = live.visitors(300)
    offers = live.candidates(visitors, 12)
    assert offers.shape == (300, 12)
    for goal in ("click", "margin"):
        best = live.best_pages(visitors, offers, 5, goal)
        for place in (0, 255, 256, 299):
            assert np.array_equal(live.candidates(visitors[place], 12), offers[place])
            alone = live.best_page(visitors[place], offers[place], 5, goal)
            assert np.array_equal(alone, best[place])


def test_outcomes_agree_with_their_expectations(market):
    live = market.live(7)
    visitors = live.visitors(8000)
    pages = np.stack([live.candidates(v, 8) for v in visitors])
    outcomes = live.serve_many(visitors, pages)
    for act, expected in (("click", "expected_click"), ("purchase", "expected_purchase")):
        y = np.concatenate([getattr(o, act) for o in outcomes]).astype(float)
        p = np.concatenate([getattr(o, expected) for o in outcomes]).astype(float)
        for part in np.array_split(np.argsort(p, kind="stable"), 5):
            assert abs((y - p)[part].sum()) / math.sqrt((p * (1 - p))[part].sum()) < 4
    outcome = outcomes[0]
    assert outcome.revenue == market.items["price"][outcome.items[outcome.purchase]].sum()
    margin = margins(market).astype(float)
    for o in outcomes[:2000]:
        assert o.margin == pytest.approx(margin[o.items[o.purchase]].sum())
        assert o.expected_margin == pytest.approx(margin[o.items] @ o.expected_purchase)
    assert sum(o.margin for o in outcomes) > 0
    assert all((o.click | ~o.cart).all() and (o.click | ~o.purchase).all() for o in outcomes)
    assert all((o.dwell[~o.click] == 0).all() for o in outcomes)


def test_the_live_shop_and_the_log_have_the_same_rates(market):
    """The log's own policy (popular, unsorted), served live, gives the log's click rate."""
    live = market.live(8)
    visitors = live.visitors(6000)
    pages = market.behaviour.pages.draw(np.random.default_rng(0), (6000, 8), popular=True)
    rate = np.mean([o.click.mean() for o in live.serve_many(visitors, pages)])
    assert rate == pytest.approx(float(market.impressions(80_000).label("click").mean()), rel=0.1)


def test_draws_are_uniform_and_normal():
    number, item = np.divmod(np.arange(200_000), 400)
    luck = HashedLuck(np.array([2**60], dtype=np.uint64), number, item)
    u = luck.uniform("click")
    assert np.abs(np.sort(u) - np.arange(200_000) / 200_000).max() < 1.95 / math.sqrt(200_000)
    other = luck.uniform("cart")
    assert abs(np.corrcoef(u, other)[0, 1]) < 4 / math.sqrt(200_000)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / math.sqrt(200_000)
    z = luck.normal("click")
    assert abs(z.mean()) < 4 / math.sqrt(200_000) and z.std() == pytest.approx(1, abs=0.01)
    assert (z**4).mean() == pytest.approx(3, abs=0.15)


def test_paired_tests_vary_less_than_independent_ones(market):
    """Two policies that differ in one slot: the difference per visitor, paired and not."""
    live, other = market.live(10), market.live(11)
    visitors, strangers = live.visitors(2000), other.visitors(2000)
    pages = np.stack([live.candidates(v, 8) for v in visitors])
    theirs = np.stack([other.candidates(v, 8) for v in strangers])

    def clicks(stream, people, shown):
        return np.array([o.click.sum() for o in stream.serve_many(people, shown)], dtype=float)

    swapped = pages[:, [1, 0, *range(2, 8)]]
    paired = (clicks(live, visitors, swapped) - clicks(live, visitors, pages)).var()
    apart = (clicks(live, visitors, swapped) - clicks(other, strangers, theirs)).var()
    assert paired < 0.2 * apart


def test_the_best_page_beats_a_random_one_at_its_own_goal(market):
    live = market.live(12)
    visitors = live.visitors(1500)
    offers = np.stack([live.candidates(v, 40) for v in visitors])
    total = {}
    for goal in ("click", "purchase", "revenue", "margin"):
        pages = np.stack([live.best_page(v, o, 8, goal) for v, o in zip(visitors, offers)])
        total[goal] = live.serve_many(visitors, pages)
    random = live.serve_many(visitors, offers[:, :8])
    clicks = {g: sum(o.expected_click.sum() for o in page) for g, page in total.items()}
    sales = {g: sum(o.expected_purchase.sum() for o in page) for g, page in total.items()}
    money = {g: sum(o.expected_revenue for o in page) for g, page in total.items()}
    assert clicks["click"] == max(clicks.values()) and sales["purchase"] == max(sales.values())
    earned = {g: sum(o.expected_margin for o in page) for g, page in total.items()}
    assert money["revenue"] == max(money.values()) and earned["margin"] == max(earned.values())
    assert sales["purchase"] > 2 * sum(o.expected_purchase.sum() for o in random)


def test_a_model_reads_a_page_as_it_reads_the_log(market):
    live = market.live(13)
    visitors = live.visitors(400)
    pages = np.stack([live.candidates(v, 8) for v in visitors])
    table = live.table(visitors, pages)
    assert table.schema == market.impressions(8).schema and not table.observed.any()
    assert table.keys["item"].tolist() == pages.ravel().tolist()
    one = live.table(visitors[3], pages[3])
    assert np.array_equal(one.dense, table.dense[24:32])
    names = table.schema.categorical_names
    ids = (table.categorical - 1).numpy().reshape(400, 8, -1)
    for field in ("user", "region", "device", "hour", "scenario"):
        wanted = [getattr(visitor, field) for visitor in visitors]
        assert (ids[:, :, names.index(field)] == np.array(wanted)[:, None]).all()
    category = ids[:, :, names.index("category")]
    assert np.array_equal(category, market.items["category"][pages])


def test_days_go_on_after_the_log(market):
    live = market.live(0, visitors_per_day=10)
    assert [v.day - market.dials.days for v in live.visitors(25)][::8] == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("page", "words"), [([1, 1], "twice"), ([400], "no item"), ([0.5], "whole"), ([], "whole")]
)
def test_a_bad_page_is_refused(market, page, words):
    live = market.live(0)
    with pytest.raises(ValueError, match=words):
        live.serve(live.next(), page)
    with pytest.raises(ValueError, match="goal"):
        live.best_page(live.next(), [1, 2], goal="fame")
    with pytest.raises(ValueError, match="count"):
        live.candidates(live.next(), 401)
