"""The money metric: by hand, by visitor, and how often its intervals hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from mtlkit.comparison import paired_interval
from mtlkit.online import money, money_across_shops

T3 = 3.182446305284263  # Student's 97.5 % point at 3 degrees of freedom


def test_a_case_by_hand():
    found = money([0.0, 4.0, 0.0, 0.0], [2.0, 4.0, 0.0, 2.0], [0.0, 2.0, 0.0, 2.0])
    assert found.visitors == 4
    assert found.gained == pytest.approx((1, 1 - T3, 1 + T3))  # s = 2, s / sqrt(4) = 1
    half = T3 * math.sqrt(4 / 3) / 2  # differences 2, 0, 0, 2: s^2 = 4 / 3
    assert found.regret == pytest.approx((1, 1 - half, 1 + half))
    # share 1/2; rests 0 - 1, 4 - 2, 0, 0 - 1: s^2 = 2, over the best's mean of 2
    half = T3 * math.sqrt(2) / 2 / 2
    assert found.share == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    half = T3 * math.sqrt(8 / 3) / 2  # differences 0, 2, 0, -2
    assert found.difference == pytest.approx((0, -half, half))


def test_the_confidence_is_that_of_every_interval():
    """The case above with Student's 99.5 % point at 3 degrees of freedom, from a table."""
    t, columns = 5.840909309733355, ([0.0, 4, 0, 0], [2.0, 4, 0, 2], [0.0, 2, 0, 2])
    found = money(*columns, confidence=0.99)
    assert found.gained == pytest.approx((1, 1 - t, 1 + t))
    half = t * math.sqrt(4 / 3) / 2
    assert found.regret == pytest.approx((1, 1 - half, 1 + half))
    half = t * math.sqrt(2) / 2 / 2
    assert found.share == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    half = t * math.sqrt(8 / 3) / 2
    assert found.difference == pytest.approx((0, -half, half))


def test_rows_of_a_visitor_are_added_up_before_anything_else():
    ids = np.array([7, 3, 7, 9, 3, 3])
    rows = np.array([1.0, 2, 3, 4, 5, 6])
    best, base = rows + 1, rows[::-1]
    by_visitor = money([13, 4, 4], [16, 6, 5], [8, 10, 3])  # visitors 3, 7, 9
    assert money(rows, best, base, visitor=ids) == by_visitor
    names = np.array(["b", "a", "b", "c", "a", "a"])
    assert money(rows, best, base, visitor=names) == by_visitor
    assert by_visitor.visitors == 3


def test_the_best_policy_has_no_regret():
    best = np.random.default_rng(0).exponential(size=50)
    found = money(best, best, best)
    assert found.regret == (0, 0, 0) and found.difference == (0, 0, 0)
    assert found.share == pytest.approx((1, 1, 1))


def test_pairing_makes_the_interval_narrower_and_the_level_moves_it():
    rng = np.random.default_rng(1)
    base = rng.exponential(size=400)
    found = money(base + 0.1 + 0.01 * rng.normal(size=400), base + 0.2, base)
    assert found.difference.high - found.difference.low < 0.005
    assert found.gained.high - found.gained.low > 0.1
    wide = money(base, base + rng.normal(size=400), confidence=0.99)
    assert wide.regret.high > money(base, base + rng.normal(size=400)).regret.mean
    assert wide.gained == paired_interval(base, 0.99) and "99 % intervals" in wide.sentence()


VISITORS, SAMPLES = 2000, 500
BASKET = math.exp(0.5)  # mean of a lognormal basket
CHANCES = {"best": 1.0, "own": 0.8, "base": 0.65}  # times the share of buyers


def held(buyers):
    """{measure: share of 500 samples whose interval holds the truth}.

    A visitor buys a lognormal basket under the best policy, or less often under the others.
    """
    rng, found = np.random.default_rng(2), []
    for _ in range(SAMPLES):
        basket, luck = rng.lognormal(size=VISITORS), rng.random(VISITORS)
        best, own, base = (np.where(luck < s * buyers, basket, 0) for s in CHANCES.values())
        found.append(money(own, best, base))
    truth = {"gained": 0.8, "regret": 0.2, "difference": 0.15}
    truth = {name: share * buyers * BASKET for name, share in truth.items()} | {"share": 0.8}
    shares = {}
    for name, value in truth.items():
        intervals = [getattr(one, name) for one in found]
        shares[name] = np.mean([low <= value <= high for _, low, high in intervals])
        assert np.mean([one.mean for one in intervals]) == pytest.approx(value, rel=0.05)
    return shares


def test_95_percent_intervals_hold_the_truth_as_often_as_they_say():
    for name, share in held(0.6).items():  # policies differ for 180 visitors or more
        assert 0.91 <= share <= 0.98, (name, share)


def test_where_few_visitors_differ_intervals_are_too_narrow_as_the_docstring_says():
    shares = held(0.06)  # policies differ for 24 visitors (regret) and 18 (difference)
    assert 0.80 <= shares["difference"] <= 0.92 and 0.80 <= shares["regret"] <= 0.93


def test_intervals_over_impressions_would_be_too_narrow():
    """Ten rows a visitor with one common part: by row the truth is missed far too often."""
    rng, by_visitor, by_row = np.random.default_rng(3), 0, 0
    for _ in range(500):
        gain = np.repeat(rng.normal(0.3, 1, 200), 10) + 0.1 * rng.normal(size=2000)
        low, high = money(gain, gain + 1, visitor=np.arange(2000) // 10).gained[1:]
        by_visitor += low <= 3 <= high
        low, high = money(gain, gain + 1).gained[1:]
        by_row += low <= 0.3 <= high
    assert 0.92 <= by_visitor / 500 <= 0.98
    assert by_row / 500 < 0.6


def test_the_frame_and_the_sentence_say_the_same():
    found = money([1.0, 2.0, 3.0], [2.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    frame = found.frame()
    assert frame.columns == ["measure", "unit", "mean", "low", "high", "visitors"]
    assert frame["mean"].to_list() == pytest.approx([2, 1 / 3, 6 / 7, 1])
    text = found.sentence(2)
    assert text.startswith("The policy earns 2.00 (−0.48 to 4.48) euro a visitor, 85.7 (")
    assert "misses 0.33 (" in text and "against the reference +1.00 (" in text
    assert text.endswith("(3 visitors, 95 % intervals).")
    assert len(money([1.0, 2.0], [2.0, 2.0]).frame()) == 3
    assert "reference" not in money([1.0, 2.0], [2.0, 2.0]).sentence()


def test_one_visitor_has_no_interval_and_no_sale_no_share():
    alone = money([1.0], [2.0])
    assert alone.regret.mean == 1 and math.isnan(alone.regret.low)
    nothing = money([0.0, 0.0], [0.0, 0.0])
    assert math.isnan(nothing.share.mean)
    assert nothing.sentence() == (
        "The policy earns 0.000 (0.000 to 0.000) euro a visitor, an unknown share of what the best "
        "policy earns (not above 0), and misses 0.000 (0.000 to 0.000) euro a visitor "
        "(2 visitors, 95 % intervals)."
    )
    assert money([3.0], [2.0], [5.0]).sentence(1) == (
        "The policy earns 3.0 euro a visitor, 150.0 % of what the best policy earns, and misses "
        "−1.0 euro a visitor; against the reference −2.0 (no interval) (1 visitor: no "
        "intervals)."
    )


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"best: 2 numbers beside 3 of gained; give the same"):
        money([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match=r"reference: 1 numbers beside 2"):
        money([1, 2], [1, 2], [1])
    with pytest.raises(ValueError, match=r"gained: number 1 is not finite; .* is 0"):
        money([1, float("nan")], [1, 2])
    with pytest.raises(ValueError, match=r"gained: expected one number a visitor"):
        money([], [])
    with pytest.raises(ValueError, match=r"best: expected one number a visitor"):
        money([1.0], [[1.0]])
    with pytest.raises(ValueError, match=r"visitor: shape \(1,\) .* one id a row"):
        money([1, 2], [1, 2], visitor=[1])
    for ids in ([1.0, float("nan")], ["a", None], np.array(["2026-01-01", "NaT"], "datetime64[D]")):
        with pytest.raises(ValueError, match="visitor: row 1 has no id; leave such rows out"):
            money([1, 2], [1, 2], visitor=ids)


def test_over_shops_the_shop_is_the_unit():
    rng = np.random.default_rng(4)
    base = {shop: rng.exponential(size=300) for shop in range(5)}
    own = {shop: values + 0.1 * (shop + 1) for shop, values in base.items()}
    found = money_across_shops(own, base)
    half = stats.t.ppf(0.975, 4) * np.std([0.1, 0.2, 0.3, 0.4, 0.5], ddof=1) / math.sqrt(5)
    assert found.headline == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    assert found.better_on == 5 and "better on 5 of 5 shops" in found.sentence()
    with pytest.raises(ValueError, match="shop 4 is not in both"):
        money_across_shops(own, {shop: base[shop] for shop in range(4)})
    with pytest.raises(ValueError, match=r"reference\[0\]: 2 visitors beside 300"):
        money_across_shops(own, {**base, 0: [1, 2]})
