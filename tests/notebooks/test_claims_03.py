"""The claims of notebook 03 hold on what a full run records, and on the tables of five shops."""

import inspect

import pytest

from mtlkit import fit
from mtlkit.course import evidence
from mtlkit.lessons.nb03 import contest as lesson
from mtlkit.lessons.nb03.rules import drawn
from mtlkit.lessons.nb03.sizes import CONTEST_SIZES, SIZES

pytestmark = pytest.mark.notebook

METRIC = {"click": "auc", "cart": "auc", "purchase": "auc", "return": "auc", "dwell": "r2_log"}
APART = ("separate", "trees")  # they share no layer; every other candidate does


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("03")


@pytest.fixture(scope="module")
def contest():
    return evidence("03")


def sharing(contest, tasks):
    """All candidates of a group that share a bottom, in the table's order: none is typed here."""
    names = contest.runs.filter(tasks=tasks)["candidate"].unique(maintain_order=True)
    return [name for name in names if name not in APART]


def pair(contest, name, task, reference="separate"):
    """A difference of the sweep: click beside dwell."""
    return contest.difference(name, reference, task=task, metric=METRIC[task], tasks="two")


def six(contest, name, reference, task="all"):
    """A difference of the contest with six tasks, by default in deviance explained."""
    metric = METRIC.get(task, "explained")
    return contest.difference(name, reference, task=task, metric=metric, sign=1, tasks="six")


def test_the_contest_stands_on_five_shops_and_five_starts(contest):
    assert len(contest.shops) == 5 and len(contest.seeds) == 5


def test_all_have_four_trials_and_the_networks_the_same_four_rates(contest):
    chosen = contest.table("chosen")
    trials = [name for name in chosen.columns if name.startswith("trial ")]
    assert len(trials) == len(lesson.RATES) == len(lesson.FORESTS) == 4
    assert chosen.select(trials).null_count().sum_horizontal().item() == 0
    for row in chosen.iter_rows(named=True):
        trees = row["candidate"] == "trees"
        assert row["rate"] in ([rate for rate, _ in lesson.FORESTS] if trees else lesson.RATES)


def test_six_tasks_are_weighed_in_eight_ways_of_which_one_is_untuned(contest):
    names = sharing(contest, "six")
    chosen = set(contest.table("chosen").filter(tasks="six")["candidate"])
    assert len(names) == 8 and set(names) - chosen == {"equal, usual rate"}


def test_each_draw_of_the_search_comes_with_its_own_rate(contest):
    for row in contest.table("chosen").filter(candidate="searched").iter_rows(named=True):
        draw = drawn(lesson.TASKS, 4, row["shop"])[lesson.RATES.index(row["rate"])]
        assert {task: row[f"weight {task}"] for task in lesson.TASKS} == pytest.approx(draw, 1e-3)


def test_the_usual_rate_is_the_default_of_fit():
    default = inspect.signature(fit).parameters["learning_rate"].default
    assert lesson.USUAL == default == 0.004


def test_the_live_table_has_fewer_test_rows_and_four_starts():
    assert SIZES["rows"][1] < CONTEST_SIZES["test_rows"][1]
    assert SIZES["tries"][1] == 4 < CONTEST_SIZES["seeds"][1]


def test_the_gradients_by_hand_are_those_of_autograd_and_of_finite_differences(found):
    rows = found["gradients by hand"]
    assert len(rows) == 8
    for row in rows:
        assert row["by hand"] == pytest.approx(row["autograd"], abs=1e-9)
        assert row["by hand"] == pytest.approx(row["finite differences"], abs=1e-6)


def test_the_gradients_are_those_that_the_text_finds_on_paper(found):
    paper = {"yes or no": (0.612, 1.224, -0.269, 0.440), "squared error": (1, 2, -1, 1)}
    for example, numbers in paper.items():
        rows = [r["by hand"] for r in found["gradients by hand"] if r["example"] == example]
        assert rows == pytest.approx(list(numbers), abs=6e-4)


def test_one_sum_for_all_makes_the_first_head_worse(found):
    losses = found["update rules"]
    before = losses["before the step"]
    assert all(new < old for new, old in zip(losses["each head its own"], before, strict=True))
    assert losses["one sum for all"][0] > before[0]


def test_click_drowns_when_dwell_is_measured_in_seconds(found):
    units = {row["unit"]: row for row in found["units"]}
    assert units["seconds"]["high"] < -0.1
    assert units["seconds"]["difference"] < units["minutes"]["difference"] - 0.05
    assert units["standardised"]["high"] < -0.01  # weight 1 is not neutral even so
    assert units["seconds"]["auc"] < 0.5  # a coin's


def test_the_loss_in_seconds_is_3600_times_that_in_minutes_and_minutes_nearly_standardise(found):
    assert found["dwell"]["seconds / minutes"] == pytest.approx(3600, rel=1e-4)
    assert 30 < found["dwell"]["deviation in seconds"] < 60
    units = {row["unit"]: row for row in found["units"]}
    minutes, standard = units["minutes"], units["standardised"]
    assert standard["low"] < minutes["difference"] < standard["high"]


def test_a_tenth_for_dwell_gains_and_click_loses_nothing_that_we_see(contest):
    click, dwell = (pair(contest, "λ 0.1", task) for task in ("click", "dwell"))
    assert click.verdict == "no difference seen" and click.worse_on == 0
    assert f"{click.headline.mean:.3f}" == "0.001"
    assert f"{dwell.headline.mean:.3f}" == "0.012"
    assert dwell.verdict == "better" and dwell.better_on == 2


def test_weight_one_costs_click_on_every_shop_and_dwell_gains_nothing(contest):
    click, dwell = (pair(contest, "λ 1", task) for task in ("click", "dwell"))
    assert f"{click.headline.mean:.3f}" == "-0.025" and click.worse_on == 5
    assert dwell.verdict == "no difference seen"


def test_more_weight_harms_dwell_too_and_less_starves_it(contest):
    assert pair(contest, "λ 10", "dwell", "λ 1").verdict == "worse"
    assert pair(contest, "λ 10", "click").worse_on == 5
    lost = {name: pair(contest, name, "click").headline.mean for name in sharing(contest, "two")}
    assert min(lost, key=lost.get) == "λ 10"  # click loses most
    assert pair(contest, "λ 0.01", "dwell").verdict == "worse"


def test_only_a_tenth_is_worse_in_neither_aim(contest):
    worse = {
        name: [task for task in lesson.TWO if pair(contest, name, task).verdict == "worse"]
        for name in sharing(contest, "two")
    }
    assert worse == {
        "λ 0.01": ["dwell"], "λ 0.1": [], "λ 1": ["click"], "λ 10": ["click", "dwell"],
    }  # fmt: skip


def test_the_front_holds_the_trees_and_a_tenth(contest):
    points = {
        name: [
            contest.mean(name, task=t, metric=METRIC[t], tasks="two") for t in ("click", "dwell")
        ]
        for name in contest.runs.filter(tasks="two")["candidate"].unique(maintain_order=True)
    }
    front = [
        name
        for name, own in points.items()
        if not any(r != own and all(a >= b for a, b in zip(r, own)) for r in points.values())
    ]
    assert front == ["λ 0.1", "trees"]
    for name in ("separate", *front):
        assert all(a > b for a, b in zip(points[name], points["λ 1"], strict=True))


def test_a_tenth_is_about_the_share_of_rows_with_a_dwell(contest):
    weights = contest.table("chosen").filter(candidate="by rows")["weight dwell"]
    assert all(0.07 < weight < 0.09 for weight in weights)


def test_weights_by_rows_reach_separate_networks_and_beat_equal_ones(contest):
    alone, equal = six(contest, "by rows", "separate"), six(contest, "by rows", "equal")
    assert alone.verdict == "no difference seen" and abs(alone.headline.mean) < 0.0005
    assert f"{equal.headline.mean:.3f}" == "0.036" and equal.better_on == 4
    assert six(contest, "by rows", "random weights").better_on == 4


def test_of_all_weightings_only_by_rows_reaches_separate_networks_and_none_beats_them(contest):
    verdicts = {n: six(contest, n, "separate").verdict for n in sharing(contest, "six")}
    assert {n: v for n, v in verdicts.items() if v != "worse"} == {"by rows": "no difference seen"}
    alone = six(contest, "by rows", "separate")
    assert (alone.better_on, alone.worse_on) == (0, 1)
    assert alone.headline.low < -0.01 and alone.headline.high > 0.01  # to both sides


def test_of_all_candidates_four_beat_equal_weights_and_the_rest_are_level(contest):
    names = [n for n in (*sharing(contest, "six"), *APART) if n != "equal"]
    verdicts = {n: six(contest, n, "equal").verdict for n in names}
    better = {"trees", "by rows", "separate", "1 / gradient norm"}
    assert {n for n, verdict in verdicts.items() if verdict == "better"} == better
    assert {v for n, v in verdicts.items() if n not in better} == {"no difference seen"}
    assert six(contest, "1 / gradient norm", "equal").better_on == 4
    assert six(contest, "1 / gradient norm", "separate").worse_on == 4


def test_by_rows_is_no_match_for_separate_networks_in_every_task(contest):
    cart = six(contest, "by rows", "separate", "cart")
    assert (cart.better_on, cart.worse_on) == (1, 3)
    rare = contest.table("chosen").filter(candidate="by rows")["weight return"]
    assert rare.max() < 0.01  # hardly heard, and not judged


def test_the_chosen_rates_lie_at_the_edge_of_those_tried(contest, found):
    rates = {
        name: list(contest.table("chosen").filter(tasks="six", candidate=name)["rate"])
        for name in ("by rows", "separate")
    }
    highest = rates["by rows"].count(max(lesson.RATES))
    lowest = rates["separate"].count(min(lesson.RATES))
    assert (highest, lowest) == (4, 3)
    text = found["six tasks"]
    assert f"the highest of the four rates on {highest} of {len(contest.shops)} shops" in text
    assert f"separate networks the lowest on {lowest}:" in text


def test_trees_sort_click_better_than_weights_by_rows(contest):
    assert six(contest, "trees", "by rows", "click").verdict == "better"


def test_trees_and_weights_by_rows_are_level(contest):
    assert six(contest, "trees", "by rows").verdict == "no difference seen"


def test_the_notebook_prints_the_stored_sentences(contest, found):
    assert pair(contest, "λ 0.1", "dwell").sentence() in found["sweep"]
    assert six(contest, "by rows", "separate").sentence() in found["six tasks"]
    for task, name, reference in (
        ("cart", "by rows", "separate"), ("return", "by rows", "separate"),
        ("click", "trees", "by rows"),
    ):  # fmt: skip
        said = six(contest, name, reference, task).sentence()
        assert f"{task}, {name} minus {reference}: {said}" in found["six tasks"]


def test_under_adam_only_the_ratio_counts_and_under_sgd_a_weight_is_a_rate(found):
    rows = {row["AUC of click"]: row for row in found["weights and rates"]}
    assert abs(rows["Adam (weights × 10) minus Adam"]["mean"]) < 0.005
    assert rows["SGD (weights × 10) minus SGD"]["low"] > 0.01
    assert abs(rows["SGD (weights × 10) minus SGD (rate × 10)"]["mean"]) < 0.005


def test_class_weights_spoil_the_chances_as_predicted_and_a_shift_mends_them(found):
    ratio = {name: row["mean"] for name, row in found["predicted / observed"].items()}
    assert 0.85 < ratio["plain"] < 1.2
    assert 2.7 < ratio["each click counts 5 times"] < 4
    expected = ratio["plain, odds times 5"]
    assert expected == pytest.approx(ratio["each click counts 5 times"], abs=0.5)
    assert 0.85 < ratio["the same, mended"] < 1.2
    assert abs(found["auc of class weights"]["mean"]) < 0.005  # no better order


def test_a_task_weight_hardly_moves_the_mean_chance_unless_it_starves_the_head(found):
    ratio = {name: row["mean"] for name, row in found["predicted / observed"].items()}
    for name in ("λ 0.1", "λ 1"):
        assert 0.85 < ratio[f"beside dwell, {name} (test rows)"] < 1.2
    assert ratio["beside dwell, click starved, SGD"] > 1.8


def test_no_weight_of_the_sweep_moves_the_mean_chance_much(contest):
    rows = contest.runs.filter(tasks="two", task="click", metric="pcoc")
    levels = {}
    for name in sharing(contest, "two"):
        levels[name] = contest.mean(name, task="click", metric="pcoc", tasks="two")
        starts = rows.filter(candidate=name).select(f"seed {seed}" for seed in contest.seeds)
        assert starts.mean_horizontal().min() > 0.9 and starts.mean_horizontal().max() < 1.2
    assert min(levels.values()) > 0.95 and max(levels.values()) < 1.1


def test_the_colleague_praises_what_lost_to_the_separate_network(found):
    rows = {row["network"]: row for row in found["two measures of improvement"]}
    equal, tenth = rows["λ 1"], rows["λ 0.1"]
    assert 1.7 < equal["colleague, %"] / tenth["colleague, %"] < 2.5
    assert equal["against separate, %"] < -1 < 0 < tenth["against separate, %"]
