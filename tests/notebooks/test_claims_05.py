"""What notebook 05 says about weights that adapt, on a full run and on five shops."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mtlkit import balance
from mtlkit.course import evidence
from mtlkit.lessons.nb05.contest import FEW_RATES, RATES

pytestmark = [pytest.mark.notebook, pytest.mark.slow]

CONSTANTS = ("tuned constant", "1 / base loss", "1 / gradient norm", "equal")
UNSHARED = ("separate", "trees")
NOT_WATCHING = (*CONSTANTS, "schedule", "random weights", *UNSHARED)
SHARED = tuple(name for name in evidence("05").candidates if name not in UNSHARED)
WATCHING = tuple(name for name in SHARED if name not in NOT_WATCHING)  # all that is not named above
TOGETHER = {"task": "all", "metric": "explained", "sign": 1}
SOURCE = Path(__file__).parents[2] / "notebooks" / "src" / "05_let_the_losses_adapt.py"


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("05")


@pytest.fixture(scope="module")
def contest():
    return evidence("05")


@pytest.fixture(scope="module")
def moved(found):
    return {row["rule"]: row for row in found["weights over time"]}


def test_uncertainty_weighting_comes_to_rest_at_half_of_one_over_the_loss(found):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    for task in ("click", "purchase", "dwell"):
        ratio = rows[task]["weight"] / rows[task]["1 / (2 loss)"]
        assert 0.85 < ratio < 1.15, task
    assert rows["click"]["weight"] == pytest.approx(1.8, abs=0.3)
    assert 0.6 < rows["return"]["weight"] / rows["return"]["1 / (2 loss)"] < 0.9  # on its way


def test_the_table_of_rules_names_the_nine_of_the_contest():
    text = SOURCE.read_text(encoding="utf-8").split("## Nine rules")[1].split("# %%")[0]
    rows = [
        line.removeprefix("# | ").split(" | ")[0] for line in text.splitlines() if "# | " in line
    ]
    told = [cell.split(",")[0].split(":")[0] for row in rows[2:] for cell in row.split("; ")]
    rules = {name.split(",")[0] for name in WATCHING} | {"a schedule", "RLW"}
    assert set(told) == rules and len(told) == len(rules) == 9


def test_weights_of_uw_imtl_l_and_gls_are_in_proportion_to_one_over_the_loss():
    losses = torch.tensor([0.2, 0.8, 3.0])
    uncertainty = balance.UncertaintyWeighting(0.05, form="classification")
    for rule in (uncertainty, balance.IMTLL(0.05), balance.GeometricLoss()):
        for _ in range(1000):
            weights = rule.weights(losses)
        share = (weights * losses) / (weights * losses).mean()
        assert torch.allclose(share, torch.ones_like(share), atol=0.01), rule


def test_tasks_with_few_labels_are_learned_by_heart_and_the_weight_of_return_rises(found, moved):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    for task in ("purchase", "dwell", "return"):
        assert rows[task]["loss on validation rows"] > 1.5 * rows[task]["loss"], task
        assert rows[task]["loss on validation rows"] > rows[task]["base loss"], task
    assert rows["return"]["loss on validation rows"] > 4 * rows["return"]["loss"]
    assert rows["return"]["weight"] > 1.5
    assert moved["UW"]["return"] > 1.5
    assert moved["GLS"]["return"] > 1.5


def test_a_falling_rate_and_a_prior_on_rows_hold_the_learning_by_heart_back(found, moved):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    assert moved["UW"]["return"] < 0.8 * rows["return"]["weight"]
    assert moved["UW"]["click"] == pytest.approx(rows["click"]["weight"], rel=0.15)


def test_famo_does_the_opposite_of_uncertainty_weighting_and_gradnorm_looks_alike(found, moved):
    for name in ("FAMO", "GradNorm"):
        assert moved[name]["return"] < 0.5, name
        assert moved[name]["click"] > 2, name
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    falls = {task: row["loss"] / row["base loss"] for task, row in rows.items()}
    assert max(falls, key=falls.get) == "click" and min(falls, key=falls.get) == "return"


def test_dwa_stays_near_one_though_a_loss_falls_fast_and_the_dice_even_out(found, moved):
    assert moved["DWA"]["farthest from 1"] < 0.15
    assert found["DWA and the dice"]["least r"] < 0.85
    assert found["DWA and the dice"]["farthest"] > 0.5
    assert moved["RLW"]["farthest from 1"] < 0.6


def test_in_seconds_gls_saves_click_and_a_constant_does_too(found):
    rows = {row["weighting"]: row for row in found["dwell in seconds"]}
    for name in ("GLS", "1 / base loss"):
        assert rows[name]["from"] > 0
        assert rows[name]["click AUC"] > rows["equal"]["click AUC"] + 0.04
        assert rows[name]["dwell R²"] < rows["equal"]["dwell R²"] - 0.02
    assert abs(rows["UW, speed 0.03"]["difference"]) < 0.03
    fast = rows["UW, speed 0.3"]["difference"]
    assert rows["GLS"]["difference"] / 2 < fast < rows["GLS"]["difference"]
    against = found["GLS against a constant, dwell in seconds"]
    assert against["high"] < 0.005 and against["mean"] > -0.015
    assert rows["1 / base loss"]["click AUC"] > max(
        row["click AUC"] for name, row in rows.items() if name not in ("1 / base loss", "GLS")
    )


def test_in_seconds_the_fast_uw_takes_less_from_dwell_and_explains_most(found):
    rows = {row["weighting"]: row for row in found["dwell in seconds"]}
    fast = rows["UW, speed 0.3"]
    for name in ("GLS", "1 / base loss"):
        assert fast["dwell R²"] > rows[name]["dwell R²"] + 0.02, name
    assert max(rows.values(), key=lambda row: row["explained"]) is fast
    gap = found["fast UW against a constant, dwell in seconds"]
    assert gap["mean"] == pytest.approx(fast["explained"] - rows["1 / base loss"]["explained"])
    assert gap["low"] > -0.01


def test_in_seconds_s_moves_less_than_its_speed_allows_and_ten_times_as_fast_most_of_the_way(found):
    s = found["s of dwell"]
    assert 0 < s["0.03"] < 0.7 * 0.03 * 120
    assert 0.55 * s["rest"] < s["0.3"] < s["rest"]


def test_the_score_does_not_fall_when_gradnorm_has_a_slip(found):
    assert found["GradNorm with a slip"]["high"] > 0


def test_everybody_had_four_trials_and_the_table_is_the_stored_one(found, contest):
    stored = contest.table("chosen").filter(shop=0)
    assert len(found["search"]) == len(contest.candidates) == 17
    for row, told in zip(stored.to_dicts(), found["search"], strict=True):
        numbers = [row[f"trial {number}"] for number in range(1, 5)]
        assert all(isinstance(number, float) for number in numbers)
        assert told["candidate"] == row["candidate"] and told["rate"] == row["rate"]


def test_the_trials_stand_in_the_order_of_their_rates(contest):
    rates = {"trees": (0.1, 0.1, 0.2, 0.2)}
    for row in contest.table("chosen").to_dicts():
        scores = [row[f"trial {number}"] for number in range(1, 5)]
        few = tuple(rate for rate in FEW_RATES for _ in range(2))
        order = rates.get(row["candidate"], RATES if row["knob"] is None else few)
        assert all(a <= b for a, b in pairwise(order))
        assert order[scores.index(max(scores))] == row["rate"], row


def test_the_contest_stands_on_five_shops_and_five_starts(contest):
    assert len(contest.shops) == 5 and len(contest.seeds) == 5


@pytest.mark.parametrize("base", ["tuned constant", "1 / base loss", "1 / gradient norm"])
def test_no_rule_that_watches_training_beats_a_constant_on_more_than_one_shop(contest, base):
    gaps = contest.against(base, **TOGETHER)
    assert max(gaps[name].better_on for name in WATCHING) == 1
    assert gaps["schedule"].better_on == 2 and gaps["schedule"].worse_on == 0


def test_no_rule_that_watches_training_clearly_beats_the_tuned_constant_but_some_beat_equal(
    contest,
):
    gaps = contest.against("tuned constant", **TOGETHER)
    assert all(gaps[name].verdict != "better" for name in WATCHING)
    gaps = contest.against("equal", **TOGETHER)
    assert {n for n in WATCHING if gaps[n].verdict == "better"} >= {"GradNorm", "IMTL-L"}


def test_where_a_rule_beats_the_tuned_constant_it_is_the_same_shop_and_a_constant_does_too(contest):
    gaps = contest.against("tuned constant", **TOGETHER)
    where = {
        name: {shop for shop, word in gaps[name].verdicts.items() if word == "better"}
        for name in (*WATCHING, "schedule", "1 / base loss")
    }
    [shop] = where["1 / base loss"]
    assert set().union(*(where[name] for name in WATCHING)) == {shop}
    assert shop in where["schedule"] and len(where["schedule"]) == 2
    chosen = contest.table("chosen").filter(shop=shop, candidate="tuned constant").to_dicts()[0]
    *_, second, best = sorted(chosen[f"trial {number}"] for number in range(1, 5))
    assert best - second < 0.0001  # the search chose between two level settings


def test_no_rule_that_watches_training_beats_the_dice_on_more_than_four_shops(contest):
    gaps = contest.against("random weights", **TOGETHER)
    assert max(gaps[name].better_on for name in WATCHING) == 4
    assert gaps["schedule"].better_on == 4
    for name in ("DWA", "STCH"):
        assert contest.difference(name, "random weights", task="click").better_on <= 1


def test_equal_weights_and_the_dice_are_level(contest):
    gap = contest.difference("equal", "random weights", **TOGETHER)
    assert gap.verdict == "no difference seen"
    assert gap.better_on + gap.worse_on <= 1
    gaps = contest.against("tuned constant", **TOGETHER)
    assert gaps["equal"].verdict == gaps["random weights"].verdict == "worse"
    assert all(gaps[name].verdict == "no difference seen" for name in UNSHARED)


@pytest.mark.parametrize("shop", range(5))
def test_in_the_search_four_rates_move_the_score_more_than_the_choice_of_rule(contest, shop):
    table = contest.table("chosen").filter(shop=shop).to_dicts()
    trials = {
        row["candidate"]: [row[f"trial {number}"] for number in range(1, 5)]
        for row in table
        if row["candidate"] not in ("separate", "trees")
    }
    rates_alone = [row["candidate"] for row in table if row["knob"] is None]
    by_rate = [max(trials[n]) - min(trials[n]) for n in rates_alone if n in trials]
    best = [max(scores) for scores in trials.values()]
    assert len(by_rate) == 6
    assert sum(by_rate) / 6 > 1.2 * (max(best) - min(best))


def test_the_search_fades_the_schedule_on_every_shop(contest):
    assert contest.table("chosen").filter(candidate="schedule")["knob"].to_list() == [0.5] * 5


def test_on_click_equal_weights_lose_to_the_tuned_constant_on_every_shop(contest):
    gaps = contest.against("tuned constant", task="click")
    assert gaps["equal"].worse_on == 5
    for name in ("DWA", "STCH"):
        near = contest.difference(name, "equal", task="click").headline
        assert abs(near.mean) < 0.01


@pytest.mark.parametrize("rule", ["UW", "IMTL-L", "GLS"])
@pytest.mark.parametrize("task", ["click", "return"])
def test_what_divides_by_the_loss_lands_where_one_over_the_base_loss_lands(contest, rule, task):
    gap = contest.difference(rule, "1 / base loss", task=task)
    assert abs(gap.headline.mean) < 0.006
    assert gap.verdict == "no difference seen"


def test_the_tuned_constant_pays_with_return(contest):
    gaps = contest.against("tuned constant", task="return")
    assert all(gaps[name].headline.mean > 0.01 for name in (*WATCHING, "equal", "1 / base loss"))


def test_on_click_trees_lead_every_shared_network(contest):
    for name in SHARED:
        gap = contest.difference("trees", name, task="click")
        assert gap.headline.low > 0 and gap.better_on in (4, 5), name
        assert contest.difference("separate", name, task="click").headline.mean > 0.005, name
    assert contest.difference("trees", "tuned constant", task="click").better_on == 5


def test_over_the_four_tasks_no_shared_network_beats_separate_ones_on_any_shop(contest):
    gaps = contest.against("separate", **TOGETHER)
    assert all(gaps[name].better_on == 0 for name in SHARED)


def test_separate_networks_are_best_on_return_and_trees_on_click_alone(found):
    places = {row["method"]: row for row in found["places"] if row["explained"] is not None}
    assert max(places, key=lambda name: places[name]["return"]) == "separate"
    assert sorted(places, key=lambda name: -places[name]["click"])[:2] == ["trees", "separate"]
    below = [name for name in places if places[name]["return"] < places["trees"]["return"]]
    assert sorted(below) == ["GradNorm, slipped", "tuned constant"]


def test_the_slipped_gradnorm_is_ahead_on_click_on_every_shop(contest, found):
    gap = contest.difference("GradNorm, slipped", "GradNorm", task="click")
    assert gap.better_on == 5
    assert gap.sentence() in found["the slip on the shops"]
    back = contest.difference("GradNorm, slipped", "GradNorm", task="return")
    assert back.verdict == "worse" and back.sentence() in found["the slip on the shops"]
    whole = contest.difference("GradNorm, slipped", "GradNorm", **TOGETHER)
    assert whole.better_on == whole.worse_on == 0


def test_the_notebook_prints_the_stored_numbers(contest, found):
    for name, base in (
        ("UW", "tuned constant"), ("GradNorm", "equal"), ("UW", "1 / gradient norm"),
    ):  # fmt: skip
        assert contest.difference(name, base, **TOGETHER).sentence() in found["told"]
    assert len(found["contest"]) == len(found["click and return"]) == 17
