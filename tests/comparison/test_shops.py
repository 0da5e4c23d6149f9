"""A difference on several shops: the shop is the unit, and what is missing is said."""

import math

import numpy as np
import pytest
from scipy import stats

from mtlkit.comparison import across_shops, paired_interval

# Four shops clearly above 0, one around it.
GAINS = {
    0: [0.010, 0.012, 0.011, 0.013, 0.012],
    1: [0.020, 0.022, 0.019, 0.021, 0.023],
    2: [0.008, 0.009, 0.010, 0.009, 0.008],
    3: [0.015, 0.014, 0.016, 0.015, 0.017],
    4: [0.030, -0.030, 0.020, -0.020, 0.001],
}


def test_the_headline_is_students_interval_over_the_shops_means():
    found = across_shops(GAINS)
    means = [np.mean(values) for values in GAINS.values()]
    by_hand = stats.t.interval(0.95, 4, loc=np.mean(means), scale=stats.sem(means))
    assert found.headline.mean == pytest.approx(np.mean(means))
    assert found.headline[1:] == pytest.approx(by_hand)
    wider = across_shops(GAINS, confidence=0.99).headline
    assert wider[1:] == pytest.approx(stats.t.interval(0.99, 4, np.mean(means), stats.sem(means)))


def test_more_seeds_in_one_shop_do_not_give_it_more_weight():
    shops = {0: [0.0, 0.2], 1: [1.0] * 50 + [3.0] * 50}
    assert across_shops(shops).headline.mean == pytest.approx((0.1 + 2.0) / 2)


def test_a_shop_counts_when_its_own_interval_leaves_out_0():
    found = across_shops(GAINS)
    assert found.shops == {shop: paired_interval(values) for shop, values in GAINS.items()}
    assert found.verdicts == dict.fromkeys(range(4), "better") | {4: "no difference seen"}
    assert (found.better_on, found.worse_on) == (4, 0)


def test_the_sentence_says_mean_interval_and_shops():
    assert across_shops(GAINS).sentence() == (
        "+0.011 (0.002 to 0.021), better on 4 of 5 shops, worse on none"
    )
    assert across_shops(GAINS).sentence(2) == (
        "+0.01 (0.00 to 0.02), better on 4 of 5 shops, worse on none"
    )
    two = across_shops({shop: GAINS[shop] for shop in (0, 1)})
    assert two.sentence().endswith("better on 2 of 2 shops, worse on none")


def test_the_short_form_says_mean_interval_and_counts():
    assert across_shops(GAINS).short() == "+0.011 (0.002 to 0.021), 4/0"
    falls = {shop: [-value for value in gaps] for shop, gaps in GAINS.items()}
    assert across_shops(falls).short() == "−0.011 (−0.021 to −0.002), 0/4"
    assert across_shops(falls, sign=-1).short(2) == "−0.01 (−0.02 to 0.00), 4/0"
    assert across_shops({0: [math.nan]}).short() == "no number"
    assert across_shops({0: [0.1, 0.2]}).short() == "+0.150 (one shop: no interval over shops), 0/0"
    with pytest.raises(ValueError, match=r"needs sign \+1 or -1"):
        across_shops(GAINS, sign=0).short()


def test_where_lower_is_better_a_fall_is_better_and_the_sentence_says_so():
    falls = {shop: np.negative(values) for shop, values in GAINS.items()}
    found = across_shops(falls, sign=-1)
    assert (found.better_on, found.worse_on, found.verdict) == (4, 0, "better")
    assert found.headline.mean == pytest.approx(-across_shops(GAINS).headline.mean)
    assert found.sentence() == (
        "−0.011 (−0.021 to −0.002; lower is better), better on 4 of 5 shops, worse on none"
    )
    assert across_shops(falls).sentence().endswith("worse on 4 of 5 shops, better on none")
    assert across_shops(falls).verdict == "worse"


def test_a_metric_without_a_direction_is_neither_better_nor_worse():
    found = across_shops(GAINS, sign=0)
    assert (found.better_on, found.worse_on, found.verdict) == (0, 0, "no direction")
    assert found.sentence().endswith("above 0 on 4 of 5 shops, below 0 on none")


def test_nan_is_left_out_of_a_shop_and_a_shop_without_numbers_out_of_the_mean():
    some = across_shops({0: [0.1, math.nan, 0.3], 1: [0.2, 0.4]})
    assert some.shops[0] == paired_interval([0.1, 0.3])
    found = across_shops({**GAINS, 5: [math.nan, math.nan], 6: []})
    assert found.headline == across_shops(GAINS).headline
    assert found.verdicts[5] == found.verdicts[6] == "no interval"
    assert found.sentence().endswith("better on 4 of 7 shops, worse on none, no number on 2")


def test_one_shop_has_no_interval_over_shops():
    found = across_shops({0: GAINS[0]})
    assert found.headline.mean == pytest.approx(np.mean(GAINS[0]))
    assert math.isnan(found.headline.low) and found.verdict == "no interval"
    assert found.sentence() == (
        "+0.012 (one shop: no interval over shops), better on 1 of 1 shop, worse on none"
    )


def test_one_seed_gives_no_shop_a_verdict_but_five_shops_an_interval():
    found = across_shops({shop: values[:1] for shop, values in GAINS.items()})
    assert set(found.verdicts.values()) == {"no interval"}
    assert math.isfinite(found.headline.low)
    assert found.sentence().endswith("one pair of runs a shop: no verdict on any of 5 shops")
    mixed = across_shops({**GAINS, 3: [0.01]})
    assert mixed.sentence().endswith(
        "better on 3 of 5 shops, worse on none, one pair of runs and no verdict on 1"
    )


def test_no_number_at_all_is_said():
    found = across_shops({0: [math.nan], 1: []})
    assert found.sentence() == "no number on any of 2 shops"
    assert math.isnan(found.headline.mean)


def test_no_difference_is_said_with_0_as_plain_0():
    same = across_shops({0: [0.0, 0.0], 1: [1e-5, -2e-5]})
    assert same.sentence() == "0.000 (0.000 to 0.000), no difference seen on 2 of 2 shops"


@pytest.mark.parametrize(
    ("differences", "options", "told"),
    [
        ({}, {}, "at least one shop"),
        ({0: [0.1]}, {"sign": 2}, "sign must be"),
        ({7: [0.1, math.inf]}, {}, r"differences\[7\] must be one finite number"),
        ({7: [[0.1], [0.2]]}, {}, r"differences\[7\]"),
        ({0: [0.1, 0.2]}, {"confidence": 95}, "confidence"),
    ],
)
def test_what_cannot_be_put_together_is_refused(differences, options, told):
    with pytest.raises(ValueError, match=told):
        across_shops(differences, **options)


def test_a_table_counts_no_shop_where_each_has_one_pair_of_runs():
    one = across_shops({shop: [0.01 * shop] for shop in (1, 2, 3)})
    assert one.short() == "+0.020 (−0.005 to 0.045)"
    some = across_shops({1: [0.01], 2: [0.02, 0.021]})
    assert some.short().endswith(", 1/0")
