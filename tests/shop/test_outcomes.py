"""The outcomes: their equations by hand and by truth table, alike in the log and the live shop."""

import itertools
import math

import numpy as np
import pytest
import torch

from mtlkit.shop.dials import TILL_SHARE, Dials, load_dials
from mtlkit.shop.impression_table import OPTIONAL_TASKS, TASKS
from mtlkit.shop.live import Visitor
from mtlkit.shop.luck import DrawnLuck, HashedLuck
from mtlkit.shop.market import Market
from mtlkit.shop.outcomes import EVENTS, NORMALS, UNIFORMS, WAYS, Outcomes, uniforms_of
from mtlkit.shop.probability import at_least_one
from mtlkit.shop.taste import UTILITIES
from mtlkit.shop.world import World

DIALS = {
    "wish_rate": 0.2, "buy_now": 0.35, "noise": 0.7, "selection_bias": 1.1, "position_bias": 0.9,
    "signal": 1.3, "task_correlation": 0.4, "scenarios": 3, "scenario_rates": 0.5,
}  # fmt: skip
BY_NAME = {event.name: event for event in EVENTS}
STEP = 2.0**-20


@pytest.fixture(scope="module")
def outcomes():
    found = Outcomes(World(0, load_dials("tiny", DIALS)))
    found.intercept = {
        "click": -2.0, "cart": -1.0, "checkout": -0.5, "return": -1.5, "wish": -1.2,
    }  # fmt: skip
    return found


class Given:
    """Luck that is written down; what is not is 0."""

    def __init__(self, normals=None, uniforms=None):
        self.normals, self.uniforms = normals or {}, uniforms or {}

    def normal(self, name):
        return np.full(1, self.normals.get(name, 0.0))

    def uniform(self, name):
        return np.full(1, self.uniforms.get(name, 0.0))


def p(logit):
    return 1 / (1 + math.exp(-logit))


# --- by hand -----------------------------------------------------------------------------------


def test_scores_are_those_of_the_docstring_by_hand(outcomes):
    rng = np.random.default_rng(0)
    utility = {name: rng.standard_normal((2, 3)).astype(np.float32) for name in UTILITIES}
    scenario, season = np.array([2, 0]), rng.standard_normal((2, 3)).astype(np.float32)
    found = outcomes.scores(utility, scenario, season, np.arange(3))
    dials, intercept = outcomes.dials, outcomes.intercept
    for page, slot in itertools.product(range(2), range(3)):
        u = {name: float(value[page, slot]) for name, value in utility.items()}
        rate = {n: float(v[scenario[page]]) for n, v in outcomes.scenario_rate.items()}
        push = float(season[page, slot])
        both = (u["click"] + u["rating"]) / math.sqrt(2 + 2 * 0.4)
        wanted = {
            "click": 1.3 * u["click"] + intercept["click"] + rate["click"] + push
            - 0.9 * math.log(1 + slot),
            "cart": 1.3 * u["cart"] + intercept["cart"] + rate["cart"],
            "checkout": 1.3 * u["checkout"] + intercept["checkout"] + rate["checkout"] + push,
            "return": 1.3 * u["return"] + intercept["return"] + rate["return"],
            "wish": 1.3 * both + intercept["wish"],
        }  # fmt: skip
        assert {n: float(v[page, slot]) for n, v in found.items()} == pytest.approx(
            wanted, abs=1e-5
        )
    assert dials.signal == 1.3 and dials.position_bias == 0.9


def test_each_event_has_luck_of_its_own_and_the_hidden_appeal_moves_click_and_checkout(outcomes):
    scores = {name: np.zeros(1) for name in BY_NAME}
    normals = {name: 10.0**-place for place, name in enumerate(NORMALS)}
    found = outcomes.with_luck(scores, Given(normals))
    for name, logit in found.items():
        shared = 1.1 * normals["appeal"] if name in ("click", "checkout") else 0.0
        assert logit[0] == pytest.approx(0.7 * normals[name] + shared), name


def test_the_way_to_the_till_is_the_sum_over_every_case(outcomes):
    for cart, wish, checkout, click in itertools.product(
        (0.0, 0.3, 1.0), (0.1, 0.8), (0.4,), (0.2,)
    ):
        total = 0.0
        for has_cart, button, wished, from_list in itertools.product((0, 1), repeat=4):
            chance = math.prod(
                q if yes else 1 - q
                for yes, q in (
                    (has_cart, cart), (button, 0.35), (wished, wish), (from_list, TILL_SHARE),
                )
            )  # fmt: skip
            total += chance * (has_cart or button or (wished and from_list))
        chances = {"click": click, "cart": cart, "wish": wish, "checkout": checkout}
        chances = {name: np.array([value]) for name, value in chances.items()}
        assert outcomes.till(chances)[0] == pytest.approx(total)
        assert outcomes.purchase(chances)[0] == pytest.approx(total * checkout, abs=STEP)
        assert outcomes.joint("click", chances)[0] == pytest.approx(click)
        assert outcomes.joint("till", chances)[0] == pytest.approx(click * total)
        assert outcomes.joint("purchase", chances)[0] == pytest.approx(click * total * checkout)


def test_who_buys_follows_the_truth_table(outcomes):
    chances = {name: np.full(1, 0.5) for name in BY_NAME}
    for draws in itertools.product((0.0, 0.99), repeat=len(UNIFORMS)):
        uniform = dict(zip(UNIFORMS, draws, strict=True))
        happens = {name: value == 0.0 for name, value in uniform.items()}
        did = outcomes.acts(chances, Given(uniforms=uniform))
        to_till = (
            happens["cart"] or happens["buy_now"] or (happens["wish"] and happens["wish_list"])
        )
        assert bool(did["purchase"][0]) == (to_till and happens["checkout"])
        assert all(bool(did[name][0]) == happens[name] for name in BY_NAME)


def test_a_share_of_the_wished_comes_to_the_till_and_no_more(outcomes):
    chances = {name: np.full(1, 1.0) for name in BY_NAME} | {"cart": np.zeros(1)}
    for u in np.linspace(0.01, 0.99, 29):
        did = outcomes.acts(chances, Given(uniforms={"wish_list": u, "buy_now": u}))
        assert bool(did["purchase"][0]) == (u < max(TILL_SHARE, 0.35))
    without = Outcomes(World(0, load_dials("tiny", DIALS | {"wish_rate": 0.0})))
    assert bool(without.acts(chances, Given(uniforms={"buy_now": 0.4}))["purchase"][0]) is False


def test_dwell_and_rating_by_hand(outcomes):
    utility = {name: np.array([0.0]) for name in UTILITIES} | {"dwell": np.array([0.8])}
    utility["rating"] = np.array([-0.5])
    truth = outcomes.truth({name: np.array([0.5]) for name in BY_NAME}, utility)
    assert truth["dwell_log1p"][0] == pytest.approx(3.4 + 0.45 * 0.8)
    assert truth["dwell"][0] == pytest.approx(math.exp(3.76 + 0.55**2 / 2) - 1, abs=1e-3)
    assert truth["rating"][0] == pytest.approx(1 + 4 * p(0.9 - 0.4), abs=1e-5)
    seconds = outcomes.dwell(utility, Given({"dwell": 2.0}))
    assert seconds[0] == pytest.approx(math.exp(3.76 + 1.1) - 1, abs=0.06)
    assert outcomes.dwell(utility, Given({"dwell": -20.0}))[0] == 0
    assert outcomes.rating(utility, Given(uniforms={"rating": 0.0}))[0] == 1
    assert outcomes.rating(utility, Given(uniforms={"rating": 1 - 1e-9}))[0] == 5


@pytest.mark.parametrize("chances", [[], [0.3], [0.3, 0.0, 0.5], [1.0, 0.2], [0.1] * 7])
def test_at_least_one_of_independent_things(chances):
    assert at_least_one(chances) == pytest.approx(1 - math.prod(1 - c for c in chances))


# --- log and live shop ---------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"wish_rate": 0.2, "exposure": "personal", "drift": 0.5}])
def test_without_luck_the_live_shop_and_the_log_agree_on_the_same_visit_item_and_position(more):
    market = Market("tiny", seed=5, noise=0.0, selection_bias=0.0, **more)
    size = market.dials.page_size
    table, columns = market.impressions(200 * size), market.log.columns(0, 200 * size)
    names = ("user", "scenario", "day", "hour", "region", "device")
    visitors = [
        Visitor(number, *(int(columns[name][number * size]) for name in names))
        for number in range(200)
    ]
    pages = columns["item"].reshape(-1, size)
    served = market.live(1).serve_many(visitors, pages)
    click = np.concatenate([outcome.expected_click for outcome in served])
    sale = np.concatenate([outcome.expected_purchase for outcome in served])
    truth = {name: value.numpy() for name, value in table.truth.items()}
    assert np.abs(click - truth["click"]).max() <= STEP
    assert np.abs(sale - truth["click"] * truth["purchase"]).max() <= 3 * STEP
    assert np.ptp(sale) > 0.1
    best = [market.live(1).best_page(v, page, size, "click") for v, page in zip(visitors, pages)]
    assert all(len(set(page)) == size for page in best)


def test_with_luck_the_live_shop_and_the_log_have_the_same_spread_of_chances():
    market = Market("tiny", seed=5, noise=2.0, selection_bias=2.0, wish_rate=0.2, exposure="random")
    live = market.live(2)
    visitors = live.visitors(4000)
    pages = market.behaviour.pages.draw(np.random.default_rng(0), (4000, 8), popular=False)
    served = live.serve_many(visitors, pages)
    table = market.impressions(32_000)
    chances = {
        "expected_click": table.truth["click"],
        "expected_purchase": table.truth["click"] * table.truth["purchase"],
    }
    for name, logged in chances.items():
        lived = np.concatenate([getattr(outcome, name) for outcome in served])
        for power in (1, 2):
            gap = (lived**power).mean() - float((logged**power).mean())
            spread = math.hypot((lived**power).std(), float((logged**power).std()))
            assert abs(gap) < 5 * spread / math.sqrt(6000)  # visitors' rows hang together


def test_luck_by_hash_and_luck_in_order_are_normal_and_uniform_under_every_name():
    outcomes = Outcomes(World(0, load_dials("tiny", DIALS)))
    rng = np.random.default_rng(3)
    drawn = DrawnLuck(outcomes, rng, 20_000, lambda event: np.random.default_rng(4))
    number, item = np.divmod(np.arange(20_000), 100)
    hashed = HashedLuck(np.array([7], dtype=np.uint64), number, item)
    for luck in (drawn, hashed):
        normals = np.stack([luck.normal(name) for name in NORMALS])
        uniforms = np.stack([luck.uniform(name) for name in UNIFORMS])
        assert np.abs(normals.mean(axis=1)).max() < 0.04
        assert np.abs(normals.std(axis=1) - 1).max() < 0.03
        assert np.abs(uniforms.mean(axis=1) - 0.5).max() < 0.01
        together = np.corrcoef(np.concatenate([normals, uniforms]))
        assert np.abs(together - np.eye(len(together))).max() < 0.04


# --- what one more outcome needs ---------------------------------------------------------------


def test_every_event_and_way_has_its_draws_its_dial_and_its_task():
    tasks = {task.name for task in (*TASKS, *OPTIONAL_TASKS)}
    for event in EVENTS:
        assert event.name in NORMALS and set(uniforms_of(event)) <= set(UNIFORMS)
        assert hasattr(Dials(), event.rate) and set(event.pleases) <= set(UTILITIES)
        assert event.name in tasks or event.name == "checkout"
        assert (event.name in {t.name for t in OPTIONAL_TASKS}) == bool(event.stream)
    # an event given a click that the appeal moved would need the clicks' weight in its mean as well
    assert {event.name for event in EVENTS if event.appealing} == {"click", "checkout"}
    for way in WAYS:
        assert way.share == 1 or way.name in UNIFORMS
        assert not isinstance(way.share, str) or hasattr(Dials(), way.share)


def test_rates_are_met_by_the_calibration_on_a_sample_of_its_own():
    market = Market("small", seed=4, wish_rate=0.3, label_sparsity=2.0)
    dials, table = market.dials, market.impressions(400_000)
    wanted = {
        "click": dials.click_rate / 2, "cart": dials.cart_rate, "wish": dials.wish_rate,
        "purchase": dials.purchase_rate / 2,
    }  # fmt: skip
    click = table.truth["click"].double()
    for task, rate in wanted.items():
        weight = torch.ones_like(click) if task == "click" else click
        mean = (weight * table.truth[task].double()).sum() / weight.sum()
        assert float(mean) == pytest.approx(rate, rel=0.06), task
