"""Means over the luck against scipy's adaptive quadrature, up to the limits of the dials."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from mtlkit.shop.dials import TILL_SHARE, load_dials
from mtlkit.shop.market import Market
from mtlkit.shop.mean_over_luck import mean_over_luck, mean_sigmoid, normal_points
from mtlkit.shop.oracle import best_predictions
from mtlkit.shop.outcomes import Outcomes
from mtlkit.shop.world import World

NOISE, BIAS = (0.0, 0.3, 1.5, 5.0), (0.0, 0.5, 1.0, 3.0, 5.0)
# click, cart, checkout, return, wish: rare, usual and frequent, and pulling apart
ROWS = np.array(
    [
        [-10.0, -6.0, -9.0, -5.0, -7.0],
        [-2.5, -1.1, -0.8, -1.7, -1.2],
        [1.5, 2.0, 3.0, 1.0, 0.5],
        [-7.0, 0.0, 2.0, -3.0, 1.0],
        [2.0, -4.0, -8.0, 4.0, -4.0],
    ]
)
EVENTS = ("click", "cart", "checkout", "return", "wish")


def p(logit):
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def mean(function, deviation):
    """E function(x), x ~ N(0, deviation^2), by scipy."""
    if deviation == 0:
        return function(0.0)

    def weighted(z):
        return function(deviation * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    parts = [quad(weighted, a, a + 3, epsabs=0, epsrel=1e-8)[0] for a in range(-12, 12, 3)]
    return sum(parts)


def own(logit, noise):
    return mean(lambda x: p(logit + x), noise)


def outcomes(noise, bias):
    dials = {"noise": noise, "selection_bias": bias, "wish_rate": 0.2}
    return Outcomes(World(0, load_dials("tiny", dials)))


# without any luck the numbers are equal to the last digit, which another test holds
@pytest.mark.parametrize(("noise", "bias"), [(n, b) for b in BIAS for n in NOISE if n or b])
def test_every_mean_is_right_to_a_thousandth_over_the_grid_of_dials(noise, bias):
    world = outcomes(noise, bias)
    scores = {name: ROWS[:, i].astype(np.float32) for i, name in enumerate(EVENTS)}
    found = {s: mean_over_luck(world, scores, selected=s) for s in (True, False)}
    look = {}  # scipy inside scipy would ask for the same inner mean thousands of times

    def inner(logit):
        if noise == 0:
            return p(logit)
        key = round(logit, 12)
        if key not in look:
            look[key] = own(logit, noise)
        return look[key]

    for row, (click, cart, checkout, back, wish) in enumerate(ROWS):
        values = {n: own(v, noise) for n, v in (("cart", cart), ("return", back), ("wish", wish))}
        values["click"] = own(click, math.hypot(noise, bias))
        no_till = (
            (1 - values["cart"]) * (1 - world.dials.buy_now) * (1 - TILL_SHARE * values["wish"])
        )
        apart = mean(lambda a, k=checkout: inner(k + a), bias)
        both = mean(lambda a, c=click, k=checkout: inner(c + a) * inner(k + a), bias)
        bought = {True: both / values["click"] * (1 - no_till), False: apart * (1 - no_till)}
        for selected, means in found.items():
            for name, value in (values | {"purchase": bought[selected]}).items():
                # an event without luck is as the log keeps it: whole multiples of 2**-20
                kept = 2**-20 if noise == 0 else 0
                assert means[name][row] == pytest.approx(value, rel=2e-4, abs=kept), name


@pytest.mark.parametrize("deviation", [0.05, 0.3, 1.0, 2.2, 5.0, math.hypot(5, 5)])
def test_the_mean_of_a_sigmoid_is_right_where_it_is_rare_and_where_it_is_sure(deviation):
    logits = np.linspace(-14, 14, 23)
    found = mean_sigmoid(deviation)(logits)
    wanted = np.array([own(float(x), deviation) for x in logits])
    assert np.abs(found / wanted - 1).max() < 1e-6
    assert found + found[::-1] == pytest.approx(np.ones(23))
    far = mean_sigmoid(deviation)(np.array([-1e6, 1e6]))
    assert far[0] < 1e-12 and far[1] == pytest.approx(1)


def test_a_larger_deviation_takes_more_points_and_a_mean_keeps_its_moments():
    counts = [len(normal_points(s)[0]) for s in (0.0, 0.3, 1.5, 3.0, 5.0)]
    assert counts[0] == 1 and counts == sorted(counts) and counts[-1] > 4 * counts[1]
    for deviation in (0.3, 1.5, 5.0):
        points, weights = normal_points(deviation)
        assert weights.sum() == pytest.approx(1)
        assert weights @ points == pytest.approx(0, abs=1e-12)
        assert weights @ points**2 == pytest.approx(deviation**2, rel=1e-4)


@pytest.mark.parametrize("more", [{}, {"wish_rate": 0.2}, {"buy_now": 0.0, "exposure": "random"}])
def test_without_luck_the_oracle_is_the_log_to_the_last_digit(more):
    market = Market("tiny", noise=0.0, selection_bias=0.0, **more)
    table = market.impressions(3000)
    for selected in (True, False):
        found = best_predictions(market, table, "features", selected)
        for task in table.schema.task_names:
            assert np.array_equal(found[task], table.truth[task].numpy()), task


def test_a_little_luck_is_near_none():
    none = Market("tiny", noise=0.0, selection_bias=0.0, wish_rate=0.2)
    little = World(0, load_dials("tiny", {"noise": 1e-3, "selection_bias": 1e-3, "wish_rate": 0.2}))
    table = none.impressions(3000)
    found = best_predictions(little, table, "features")
    for task in table.schema.task_names:
        assert np.abs(found[task] - table.truth[task].numpy()).max() < 2e-6, task


def test_means_do_not_depend_on_how_many_rows_are_asked_for_at_once(monkeypatch):
    world = outcomes(0.7, 1.2)
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(-1, 2, 1000).astype(np.float32) for name in EVENTS}
    whole = mean_over_luck(world, scores, True)
    monkeypatch.setattr("mtlkit.shop.mean_over_luck.PIECE", 77)
    for name, value in mean_over_luck(world, scores, True).items():
        assert np.array_equal(value, whole[name])
