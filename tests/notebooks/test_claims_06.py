"""The claims of notebook 06 hold on what a full run records and on the stored contest."""

import pytest
import torch

from mtlkit.balance import BALANCERS
from mtlkit.course import evidence

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("06")


@pytest.fixture(scope="module")
def shares(found):
    return {(row["gradients"], row["batch"]): row for row in found["conflicts"]}


@pytest.mark.parametrize("batch", [64, 512])
def test_a_task_with_few_labels_conflicts_with_itself_about_as_often_as_with_others(shares, batch):
    itself = shares["cart, itself", batch]["percent"]
    assert 30 < itself < 65
    for pair in ("click and cart", "cart and random labels"):
        assert abs(itself - shares[pair, batch]["percent"]) < 20


def test_a_task_with_a_label_in_each_row_agrees_with_itself_in_large_batches(shares):
    small, middle, large = (shares["click, itself", b]["percent"] for b in (64, 512, 4096))
    assert large < middle < small
    assert small > 25
    assert large < 15


@pytest.mark.parametrize("pair", ["click and cart", "cart and random labels"])
def test_real_and_random_partners_of_cart_are_near_a_coin_in_small_batches(shares, pair):
    for batch in (64, 512):
        assert 35 < shares[pair, batch]["percent"] < 65


def test_directions_are_nearly_at_right_angles_and_sizes_are_not_alike(found):
    row = found["through training"]
    assert 0.3 < row["conflicts"]["mean"] < 0.7
    assert row["cosine"]["high"] < 0.2
    assert row["norm ratio"]["mean"] > 10
    assert row["norm ratio"]["low"] > 3


def test_rating_is_the_loudest_and_click_the_quietest(found):
    norms = found["usual norms"]
    assert max(norms, key=norms.get) == "rating"
    assert min(norms, key=norms.get) == "click"
    assert norms["return"] > max(norms["cart"], norms["purchase"])


def test_the_rules_weigh_one_gramian_as_the_text_says(found):
    norms = next(row for row in found["one gramian"] if row[""] == "norm")
    tasks = ["click", "cart", "purchase", "dwell", "return", "rating"]
    shortest, longest = (pick(tasks, key=norms.get) for pick in (min, max))
    weights = {row[""]: row for row in found["weights of one gramian"]}
    assert weights["mgda"][shortest] > 3  # of six
    for rule in ("imtl-g", "nash-mtl"):
        assert weights[rule][longest] < weights[rule][shortest] / 3
    for rule in ("pcgrad", "upgrad"):
        assert min(weights[rule][task] for task in tasks) > 1 - 1e-9


def test_at_the_papers_rate_equal_weights_stay_in_the_valleys_and_four_rules_leave_them(found):
    through = found["through the valley"]
    assert len(through) == 8
    left = {name for name, number in through.items() if number == 5}
    assert left == {"mgda", "imtl-g", "nash-mtl", "aligned-mtl"}
    assert all(through[name] == 3 for name in ("equal", "pcgrad", "cagrad", "graddrop"))


@pytest.mark.parametrize("rule", ["mgda", "imtl-g", "nash-mtl", "aligned-mtl"])
def test_the_rules_that_leave_the_valley_turn_the_steep_task_down(rule):
    steep, flat = torch.tensor([100.0, 10.0]), torch.tensor([-0.1, 1.0])
    G = torch.stack([steep, flat]).double()
    first, second = BALANCERS[rule]().weights(torch.ones(2), G @ G.T).tolist()
    assert first < second / 10


def test_longer_steps_jump_out_of_the_valley(found):
    stuck = dict(map(tuple, found["stuck starts by rate"]))
    assert [stuck[rate] for rate in (0.001, 0.002, 0.005)] == [2, 2, 2]
    assert min(stuck[rate] for rate in (0.01, 0.02)) < 2


def test_only_nash_mtl_does_not_notice_the_unit(found):
    ends = found["ends by unit"]
    assert abs(ends["nash-mtl"][1] - ends["nash-mtl"][0]) < 0.1
    assert ends["equal"][1] < -2 and ends["pcgrad"][1] < -2
    assert ends["mgda"][1] > 2


def test_a_rule_costs_a_pass_a_task(found):
    costs = {row["rule"]: row["passes"] for row in found["cost per step"]}
    assert costs.pop("equal") == 1
    assert len(costs) == 5
    assert set(costs.values()) == {6}


RULES = ("PCGrad", "MGDA", "Nash-MTL")


@pytest.fixture(scope="module")
def contest():
    return evidence("06")


@pytest.fixture(scope="module")
def minus(contest):
    """minus(candidate, base, place): their difference in mean AUC, or in a task's metric."""

    def gap(candidate, base, place="six tasks", task="all", metric="auc"):
        return contest.difference(candidate, base, task=task, metric=metric, place=place)

    return gap


def test_the_contest_stands_on_five_shops_and_five_starts(contest):
    assert len(contest.shops) == 5 and len(contest.seeds) == 5


@pytest.mark.parametrize("rule", RULES)
def test_with_six_tasks_every_rule_beats_equal_weights_and_the_dice(minus, rule):
    for base in ("equal weights", "random weights"):
        assert minus(rule, base).better_on >= 4
        assert minus(rule, base).verdict == "better"


def test_equal_weights_at_their_best_rate_are_level_with_the_dice(minus):
    assert minus("equal weights", "random weights").verdict == "no difference seen"


@pytest.mark.parametrize("place", ["six tasks", "conflicting"])
@pytest.mark.parametrize("candidate", ["PCGrad", "1 / gradient norm"])
def test_angles_alone_and_sizes_set_once_stay_below_the_tuned_constant(minus, place, candidate):
    assert minus(candidate, "tuned constant", place).verdict == "worse"
    if place == "six tasks":
        assert minus(candidate, "tuned constant", place).worse_on == 5
    assert minus("PCGrad", "1 / gradient norm", place).verdict == "no difference seen"


@pytest.mark.parametrize("rule", ["MGDA", "Nash-MTL"])
def test_with_six_tasks_two_rules_beat_the_constant_on_three_shops_and_not_clearly(minus, rule):
    gain = minus(rule, "tuned constant")
    assert (gain.better_on, gain.worse_on) == (3, 0)
    assert gain.verdict == "no difference seen"


def test_where_tasks_conflict_mgda_beats_the_constant_and_no_other_rule_does(minus):
    gain = minus("MGDA", "tuned constant", "conflicting")
    assert gain.verdict == "better" and gain.better_on == 4
    assert f"{gain.headline.mean:.3f}" == "0.018"
    assert minus("Nash-MTL", "tuned constant", "conflicting").verdict == "no difference seen"


def test_on_monday_mgda_adds_one_to_two_hundredths(minus):
    for place in ("six tasks", "conflicting"):
        assert 0.01 < minus("MGDA", "tuned constant", place).headline.mean < 0.02


@pytest.mark.parametrize("place", ["six tasks", "conflicting"])
def test_mgda_lies_a_little_above_separate_networks(minus, place):
    gain = minus("MGDA", "separate networks", place)
    assert gain.verdict == "better" and gain.worse_on == 0
    assert gain.headline.mean < 0.012


def test_the_constant_goes_most_of_the_way_to_the_best_rule(minus):
    constant, best = (minus(n, "equal weights") for n in ("tuned constant", "MGDA"))
    assert constant.better_on == 5
    assert constant.headline.mean > 0.6 * best.headline.mean
    assert f"{constant.headline.mean:.2f}" == "0.05"


@pytest.mark.parametrize("rule", ["MGDA", "Nash-MTL"])
@pytest.mark.parametrize("rival", ["separate networks", "trees"])
def test_the_best_rules_are_about_level_with_separate_networks_and_trees(minus, rule, rival):
    for place in ("six tasks", "conflicting"):
        assert abs(minus(rule, rival, place).headline.mean) < 0.012


@pytest.mark.parametrize("rule", RULES)
def test_for_two_rich_tasks_no_rule_gains_more_than_two_thousandths(minus, rule):
    gain = minus(rule, "equal weights", "two rich tasks").headline
    assert -0.003 < gain.mean < 0.002
    assert gain.high < 0.006


def test_two_rich_tasks_share_well_with_equal_weights(minus):
    gain = minus("equal weights", "separate networks", "two rich tasks")
    assert gain.verdict == "better" and gain.better_on == 5


def test_for_two_rich_tasks_the_rate_gains_more_than_any_rule(found):
    by = {(row["place"], row["candidate"]): row for row in found["by rate"]}
    equal = by["two rich tasks", "equal weights"]
    assert f"{equal['at the best of four'] - equal['at rate 0.004']:.3f}" == "0.013"


def test_with_six_tasks_the_rate_explains_a_small_part_of_the_lead(found):
    by = {(row["place"], row["candidate"]): row for row in found["by rate"]}
    equal, nash = (by["six tasks", name] for name in ("equal weights", "Nash-MTL"))
    low, best = "at rate 0.004", "at the best of four"
    assert equal[best] - equal[low] < 0.35 * (nash[low] - equal[low])


def test_nash_mtl_gains_when_its_weights_sum_to_the_number_of_tasks(found):
    live = {row["candidate"]: row["mean AUC, live"] for row in found["live"]}
    assert live["Nash-MTL"] > live["Nash-MTL as published"] + 0.01
    weights = next(row for row in found["weights of one gramian"] if row[""] == "nash-mtl")
    assert sum(weight for task, weight in weights.items() if task) > 3 * 6


def test_nobody_ranks_returns_well(contest):
    for place in ("six tasks", "conflicting"):
        for name in contest.candidates:
            assert contest.mean(name, task="return", place=place) < 0.62


def test_mgda_pays_in_dwell(minus):
    for base in ("separate networks", "Nash-MTL", "tuned constant"):
        for place in ("six tasks", "conflicting"):
            assert minus("MGDA", base, place, "dwell", "r2_log").headline.mean < -0.015


def test_some_200_purchases_place_six_tasks_on_the_map():
    purchases = evidence("02").table("ceiling").filter(rows=60_000)["purchases"]
    assert 150 < purchases.mean() < 260
