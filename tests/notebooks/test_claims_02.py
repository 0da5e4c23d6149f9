"""The claims of notebook 02 hold on what a full run records, with real and with drawn pictures."""

from itertools import combinations, product

import numpy as np
import pytest

from mtlkit.comparison import paired_interval
from mtlkit.course import evidence

pytestmark = pytest.mark.notebook
MIDDLE = {"correlation": 0.5, "rows": 60_000}


@pytest.fixture(scope="module")
def map_of_sharing():
    return evidence("02")


def minus_separate(found, name, task, **where):
    return found.difference(name, "separate", task=task, **where)


def test_the_map_stands_on_five_shops_and_five_starts(map_of_sharing):
    assert len(map_of_sharing.shops) == 5 and len(map_of_sharing.seeds) == 5


@pytest.mark.parametrize("rows", [20_000, 60_000, 120_000])
@pytest.mark.parametrize("kind", ["shared", "MMoE"])
def test_a_purchase_gains_from_a_related_click_and_click_pays_next_to_nothing(
    map_of_sharing, kind, rows
):
    where = {"correlation": 0.95, "rows": rows}
    gain = minus_separate(map_of_sharing, f"{kind}, chosen weight", "purchase", **where)
    assert gain.verdict == "better"
    assert gain.better_on == 5
    paid = minus_separate(map_of_sharing, f"{kind}, chosen weight", "click", **where)
    assert abs(paid.headline.mean) < 0.006


@pytest.mark.parametrize("rows", [20_000, 60_000, 120_000])
def test_the_gain_falls_with_the_correlation_and_none_is_seen_at_0(map_of_sharing, rows):
    def gain(correlation):
        where = {"correlation": correlation, "rows": rows}
        return minus_separate(map_of_sharing, "shared, chosen weight", "purchase", **where)

    means = [gain(correlation).headline.mean for correlation in (0.0, 0.5, 0.95)]
    assert means == sorted(means)
    assert 0 < means[1] < means[2] / 2
    assert gain(0.0).verdict == "no difference seen"
    assert gain(0.5).better_on <= 2
    paid = [
        minus_separate(
            map_of_sharing, "shared, chosen weight", "click", correlation=c, rows=rows
        ).headline.mean
        for c in (0.0, 0.5, 0.95)
    ]
    assert min(paid) > -0.006


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_between_few_and_many_purchases_no_difference_of_the_gains_is_seen(
    map_of_sharing, correlation
):
    def gain(rows):
        gap = minus_separate(
            map_of_sharing, "shared, chosen weight", "purchase", correlation=correlation, rows=rows
        )
        return np.array([interval.mean for interval in gap.shops.values()])

    for few, many in combinations([20_000, 60_000, 120_000], 2):
        difference = paired_interval(gain(many) - gain(few))
        assert difference.low < 0 < difference.high


def test_trees_are_level_with_separate_networks_on_purchase(map_of_sharing):
    for correlation, rows in product([0.0, 0.5, 0.95], [20_000, 60_000, 120_000]):
        where = {"correlation": correlation, "rows": rows}
        gap = minus_separate(map_of_sharing, "trees", "purchase", **where)
        assert gap.verdict == "no difference seen"


def test_on_monday_the_gain_is_three_to_four_hundredths_and_equal_weights_cost_two(map_of_sharing):
    for rows in (20_000, 60_000, 120_000):
        where = {"correlation": 0.95, "rows": rows}
        gain = minus_separate(map_of_sharing, "shared, chosen weight", "purchase", **where)
        assert gain.better_on == 5 and 0.0295 < gain.headline.mean < 0.0405
    where = {"correlation": 0.95, "rows": 60_000}
    cost = minus_separate(map_of_sharing, "shared, equal weights", "click", **where)
    assert cost.worse_on == 5 and -0.025 < cost.headline.mean < -0.015


def test_at_equal_weights_click_pays_at_every_point_of_the_map(map_of_sharing):
    for correlation in (0.0, 0.5, 0.95):
        for rows in (60_000, 120_000):
            where = {"correlation": correlation, "rows": rows}
            for kind in ("shared", "MMoE"):
                gap = minus_separate(map_of_sharing, f"{kind}, equal weights", "click", **where)
                assert gap.headline.mean < -0.01 and gap.worse_on >= 4


def test_the_price_of_the_first_rung_is_gone_in_the_last_and_the_weight_took_most_of_it(
    map_of_sharing,
):
    def paid(shared, separate):
        return map_of_sharing.difference(shared, separate, task="click", **MIDDLE)

    first = paid("shared, as it was", "separate, as it was")
    assert first.headline.mean < -0.012 and first.worse_on == 5
    equal, last = (
        paid("shared, equal weights", "separate"),
        paid("shared, chosen weight", "separate"),
    )
    assert last.headline.mean > -0.006
    assert equal.headline.mean < 3 * last.headline.mean - 0.005


def test_the_prior_helps_both_kinds_with_click_and_own_stops_matter_little(map_of_sharing):
    def gain(new, old, task="click"):
        return map_of_sharing.difference(new, old, task=task, **MIDDLE)

    assert gain("separate", "separate, falling rate").headline.mean > 0.005
    assert gain("shared, equal weights", "shared, falling rate").headline.mean > 0
    without = "separate, falling rate"  # the prior does not help with purchase ...
    assert gain("separate", without, "purchase").verdict != "better"
    assert gain("shared, equal weights", "shared, falling rate", "purchase").verdict != "better"
    shared = gain("shared, chosen weight", without, "purchase")  # ... nor sharing against this
    assert shared.verdict == "no difference seen"
    for task in ("click", "purchase"):
        stops = gain("separate, own stops", "separate, as it was", task)
        assert abs(stops.headline.mean) < 0.006


def test_the_notebook_prints_the_numbers_of_the_map(found, map_of_sharing):
    said = found["map"]
    gap = minus_separate(
        map_of_sharing, "shared, chosen weight", "purchase", correlation=0.95, rows=60_000
    )
    assert gap.sentence() in said
    last = found["ladder"][-1]
    wanted = map_of_sharing.mean("shared, chosen weight", task="click", **MIDDLE)
    assert last["click, shared"] == pytest.approx(wanted)


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("02")


@pytest.fixture(scope="module")
def source(found):
    """The pictures that the run had, which a machine without the real ones reads too."""
    [only] = {key[1] for key in found if isinstance(key, tuple) and key[0] == "gain of winter"}
    assert only in ("real pictures", "drawn pictures")
    return only


@pytest.fixture(scope="module")
def gains(found, source):
    return {row["case"]: row for row in found["gain of winter", source]}


def test_numpy_finds_what_the_network_finds(found):
    rows = found["numpy against network"]
    assert [row["computed by hand"] for row in rows] == ["Z", "footwear", "winter", "gradient of V"]
    assert all(row["largest difference"] < 1e-4 for row in rows)


def test_the_two_headed_network_learns_both_tasks(found):
    line = found["evaluation"]
    assert line["loss"] == pytest.approx(line["footwear_loss"] + line["winter_loss"])
    assert line["footwear_accuracy"] > 0.9
    assert line["winter_accuracy"] > 0.8  # three in ten pictures are for winter


def test_sharing_the_layer_leaves_about_half_of_the_parameters(found):
    shared, separate = 784 * 128 + 128 + 2 * 129, 2 * (784 * 128 + 128 + 129)
    wanted = 100 * (1 - shared / separate)
    assert found["saved by sharing in percent"]["parameters"] == pytest.approx(wanted)


def test_a_true_helper_helps_the_poor_task_in_a_network_of_two_layers(gains):
    assert gains["two layers, true helper"]["verdict"] == "better"
    assert 0.005 < gains["two layers, true helper"]["difference"] < 0.1


def test_two_layers_pass_on_more_than_one(found, source, gains):
    row = found["two layers against one", source]
    assert row["low"] > 0
    two, one = (gains[f"{case}, true helper"] for case in ("two layers", "one layer of 128"))
    assert row["difference"] == pytest.approx(two["difference"] - one["difference"])


def test_a_helper_that_knows_nothing_adds_nothing(gains, source):
    row = gains["two layers, shuffled helper"]
    assert row["verdict"] != "better"
    assert source == "real pictures" or row["verdict"] == "worse"  # it even costs a little
    assert row["difference"] > -0.03
    assert row["difference"] < gains["two layers, true helper"]["difference"] - 0.005


def test_a_loud_helper_that_knows_nothing_hurts(gains):
    row = gains["two layers, loud shuffled helper"]
    assert row["verdict"] == "worse"
    assert row["difference"] < -0.02


def test_turned_copies_add_a_little(found, source):
    added = found["augmentation", source]
    assert -0.03 < added["difference"] < 0.06
    assert source == "real pictures" or 0 < added["low"] < added["high"] < 0.03


def test_zeros_for_missing_labels_shrink_the_chances_and_spoil_every_measure(found):
    rows = {row["measure"]: row for row in found["missing labels"]}
    ratio = rows["mean chance / true share"]
    assert 0.8 < ratio["with a mask"] < 1.35
    assert ratio["filled with 0"] < 0.75
    assert ratio["to"] < 0
    assert rows["log-loss"]["from"] > 0
    assert rows["accuracy"]["to"] < 0
