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
SHOWN = ("GradNorm", "UW", "GLS", "FAMO", "DWA", "STCH")  # the six of the first figure
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
    """{rule: the weights of its last epoch}."""
    return {rule: epochs[-1] for rule, epochs in found["weights over time"].items()}


@pytest.fixture(scope="module")
def louder(found):
    """{weights: their means in the table of dwell in seconds, and the words of their gap}."""
    gaps = {row["candidate"]: row["minus equal"] for row in found["dwell in seconds"]}
    return {row["weights"]: row | {"minus equal": gaps[row["weights"]]} for row in found["prices"]}


def test_uncertainty_weighting_comes_to_rest_at_half_of_one_over_the_loss(found):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    for task in ("click", "purchase", "dwell"):
        ratio = rows[task]["weight"] / rows[task]["1 / (2 loss)"]
        assert 0.85 < ratio < 1.15, task
    assert rows["click"]["weight"] == pytest.approx(1.8, abs=0.3)
    assert 0.6 < rows["return"]["weight"] / rows["return"]["1 / (2 loss)"] < 0.9  # on its way


def test_the_table_names_every_rule_that_is_shown_and_the_one_that_reads_a_metric():
    text = SOURCE.read_text(encoding="utf-8").split("## What a rule reads")[1].split("# %%")[0]
    rows = [
        line.removeprefix("# | ").split(" | ")[0] for line in text.splitlines() if "# | " in line
    ]
    told = {name.split(" (")[0] for row in rows[2:] for name in row.split(": ")[1].split(", ")}
    assert told == {*SHOWN, "DTP", "a schedule", "random weights"}
    figure = SOURCE.read_text(encoding="utf-8").split("rules = [")[1].split("]")[0]
    assert figure.replace('"', "").split(", ") == list(SHOWN)


def test_weights_of_uw_and_gls_are_in_proportion_to_one_over_the_loss():
    losses = torch.tensor([0.2, 0.8, 3.0])
    uncertainty = balance.UncertaintyWeighting(0.05, form="classification")
    for rule in (uncertainty, balance.GeometricLoss()):
        for _ in range(1000):
            weights = rule.weights(losses)
        share = (weights * losses) / (weights * losses).mean()
        assert torch.allclose(share, torch.ones_like(share), atol=0.01), rule


def test_return_is_learned_by_heart_and_its_weight_rises(found, moved):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    assert rows["return"]["on validation rows"] > 4 * rows["return"]["loss"]
    assert rows["return"]["on validation rows"] > rows["return"]["base loss"]
    assert rows["return"]["weight"] > 1.5
    assert moved["UW"]["return"] > 1.5
    assert moved["GLS"]["return"] > 1.5


def test_a_falling_rate_and_a_prior_on_rows_hold_the_learning_by_heart_back(found, moved):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    assert moved["UW"]["return"] < 0.8 * rows["return"]["weight"]
    assert moved["UW"]["click"] == pytest.approx(rows["click"]["weight"], rel=0.15)


def test_famo_and_gradnorm_turn_return_down_whose_loss_falls_fast(found, moved):
    for name in ("FAMO", "GradNorm"):
        assert moved[name]["return"] < 0.5, name
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    falls = {task: row["loss"] / row["base loss"] for task, row in rows.items()}
    assert min(falls, key=falls.get) == "return"


def test_dwa_stays_within_eight_per_cent_of_one(found):
    epochs = found["weights over time"]["DWA"]
    assert max(abs(weight - 1) for epoch in epochs for weight in epoch.values()) < 0.08


def test_dwell_gets_worse_on_new_rows_and_dtp_turns_it_up_and_up(found):
    assert all(now < before for before, now in pairwise(found["R² of dwell"]))
    turned = [epoch["dwell"] for epoch in found["weights over time"]["DTP"]]
    assert all(now >= before - 1e-6 for before, now in pairwise(turned))
    assert turned[-1] > 1.5 * turned[1] > turned[0]


def test_the_rule_that_reads_a_metric_equals_its_equation():
    names = {"balance": balance, "torch": torch, "tasks": ["click", "purchase", "dwell", "return"]}
    source = SOURCE.read_text(encoding="utf-8").split("# %%\nclass Priority")[1].split("# %%")[0]
    exec(f"class Priority{source}", names)
    rule = names["Priority"](gamma=2.0)
    losses = torch.tensor([0.3, 0.6, 1.0, 0.6])
    assert rule.weights(losses).tolist() == [1, 1, 1, 1]
    metrics = {"click": 0.8, "purchase": 0.6, "return": 0.45}
    row = {task: {"auc": value} for task, value in metrics.items()} | {"dwell": {"r2": 0.1}}
    assert rule.on_epoch_end({"validation": row}) is None
    skill = torch.tensor([0.6, 0.2, 0.1, 0.01])  # 2 AUC - 1, or R²; kept above 0
    assert torch.allclose(rule.weights(losses), -((1 - skill) ** 2) * skill.log(), rtol=1e-5)


def test_in_seconds_gls_saves_click_and_a_constant_does_too_and_dwell_pays(louder):
    for name in ("GLS", "1 / base loss"):
        assert louder[name]["minus equal"].endswith(", better")
        assert louder[name]["AUC of click"] > louder["equal"]["AUC of click"] + 0.04
        assert louder[name]["R² of dwell"] < louder["equal"]["R² of dwell"] - 0.02
    gap = louder["GLS"]["minus 1 / base loss"]
    assert not gap.endswith(", better") and abs(headline(gap)) < 0.015


def test_in_seconds_uw_comes_too_late_and_ten_times_as_fast_it_gets_most_of_the_way(louder):
    gain = {name: headline(row["minus equal"]) for name, row in louder.items() if name != "equal"}
    assert abs(gain["UW"]) < 0.03
    assert gain["GLS"] / 2 < gain["UW, fast"] < gain["GLS"]


def test_in_seconds_no_difference_is_seen_for_the_rule_that_reads_a_metric(louder):
    assert louder["DTP"]["minus equal"].endswith("no difference seen")


def headline(gap):
    """The mean of "+0.012 (0.004 to 0.020), better"."""
    return float(gap.split(" (")[0].replace("−", "-"))


def test_everybody_had_four_trials(contest):
    for row in contest.table("chosen").to_dicts():
        assert all(isinstance(row[f"trial {number}"], float) for number in range(1, 5)), row


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
    assert [name for name in SHOWN if gaps[name].verdict == "worse"] == ["DWA", "STCH"]
    assert gaps["schedule"].verdict == "better"
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


def test_no_rule_that_watches_training_beats_random_weights_on_more_than_four_shops(contest):
    gaps = contest.against("random weights", **TOGETHER)
    assert max(gaps[name].better_on for name in WATCHING) == 4
    assert max(gaps[name].better_on for name in SHOWN) == 3  # those of the figure and the table
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


def test_on_click_equal_weights_dwa_and_stch_lose_to_the_tuned_constant_on_every_shop(contest):
    gaps = contest.against("tuned constant", task="click")
    for name in ("equal", "DWA", "STCH"):
        assert gaps[name].worse_on == 5, name


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


def test_separate_networks_are_best_on_return_and_trees_on_click_not_on_return(contest):
    places = {
        task: {name: contest.mean(name, task=task) for name in contest.candidates}
        for task in ("click", "return")
    }
    assert max(places["return"], key=places["return"].get) == "separate"
    assert sorted(places["click"], key=places["click"].get)[-2:] == ["separate", "trees"]
    below = [n for n, auc in places["return"].items() if auc < places["return"]["trees"]]
    assert sorted(below) == ["GradNorm, slipped", "tuned constant"]


def test_the_order_of_the_ranking_is_that_of_the_means(contest):
    ranked = ("tuned constant", "UW", "equal", "random weights")
    means = [contest.mean(name, task="click") for name in ranked]
    assert means == sorted(means, reverse=True)


def test_the_slipped_gradnorm_is_ahead_on_click_on_every_shop(contest):
    gap = contest.difference("GradNorm, slipped", "GradNorm", task="click")
    assert gap.better_on == 5
    back = contest.difference("GradNorm, slipped", "GradNorm", task="return")
    assert back.verdict == "worse"
    whole = contest.difference("GradNorm, slipped", "GradNorm", **TOGETHER)
    assert whole.better_on == whole.worse_on == 0


def test_the_notebook_shows_the_stored_verdicts(contest, found):
    rows = {row["better / worse"]: row for row in found["verdicts"]}
    assert set(SHOWN) < set(rows)
    for name in SHOWN:
        gap = contest.difference(name, "random weights", **TOGETHER)
        told = rows[name]["four tasks, minus random weights"]
        assert [int(n) for n in told.split("/")] == [gap.better_on, gap.worse_on], name
