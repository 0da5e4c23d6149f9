"""The claims of notebook 03 hold on what a full run records, and on the tables of five shops."""

import pytest

from mtlkit.course import evidence

pytestmark = pytest.mark.notebook

LAMBDAS = ("λ 0.01", "λ 0.1", "λ 1", "λ 10")
METRIC = {"click": "auc", "cart": "auc", "purchase": "auc", "dwell": "r2_log"}


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("03")


@pytest.fixture(scope="module")
def contest():
    return evidence("03")


def pair(contest, name, task, reference="separate"):
    """A difference of the sweep: click beside dwell."""
    return contest.difference(name, reference, task=task, metric=METRIC[task], tasks="two")


def six(contest, name, reference, task="all"):
    """A difference of the contest with six tasks, by default in deviance explained."""
    metric = METRIC.get(task, "explained")
    return contest.difference(name, reference, task=task, metric=metric, sign=1, tasks="six")


def test_the_contest_stands_on_five_shops_and_five_starts(contest):
    assert len(contest.shops) == 5 and len(contest.seeds) == 5


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


def test_a_tenth_for_dwell_gains_and_click_loses_nothing_that_we_see(contest):
    click, dwell = (pair(contest, "λ 0.1", task) for task in ("click", "dwell"))
    assert click.verdict == "no difference seen" and click.worse_on == 0
    assert f"{dwell.headline.mean:.3f}" == "0.012"
    assert dwell.verdict == "better" and dwell.better_on == 2


def test_weight_one_costs_click_on_every_shop_and_dwell_gains_nothing(contest):
    click, dwell = (pair(contest, "λ 1", task) for task in ("click", "dwell"))
    assert f"{click.headline.mean:.3f}" == "-0.025" and click.worse_on == 5
    assert dwell.verdict == "no difference seen"


def test_more_weight_harms_dwell_too_and_less_starves_it(contest):
    assert pair(contest, "λ 10", "dwell", "λ 1").verdict == "worse"
    assert pair(contest, "λ 10", "click").worse_on == 5
    assert pair(contest, "λ 0.01", "dwell").verdict == "worse"


def test_only_a_tenth_is_worse_in_neither_aim(contest):
    fine = [
        name
        for name in LAMBDAS
        if all(pair(contest, name, task).verdict != "worse" for task in ("click", "dwell"))
    ]
    assert fine == ["λ 0.1"]


def test_the_front_holds_the_trees_and_a_tenth(contest):
    points = {
        name: [
            contest.mean(name, task=t, metric=METRIC[t], tasks="two") for t in ("click", "dwell")
        ]
        for name in ("separate", *LAMBDAS, "trees")
    }
    front = [
        name
        for name, own in points.items()
        if not any(r != own and all(a >= b for a, b in zip(r, own)) for r in points.values())
    ]
    assert front == ["λ 0.1", "trees"]
    assert all(a > b for a, b in zip(points["separate"], points["λ 1"]))


def test_a_tenth_is_about_the_share_of_rows_with_a_dwell(contest):
    weights = contest.table("chosen").filter(candidate="by rows")["weight dwell"]
    assert all(0.07 < weight < 0.09 for weight in weights)


def test_weights_by_rows_reach_separate_networks_and_beat_equal_ones(contest):
    alone, equal = six(contest, "by rows", "separate"), six(contest, "by rows", "equal")
    assert alone.verdict == "no difference seen" and abs(alone.headline.mean) < 0.0005
    assert f"{equal.headline.mean:.3f}" == "0.036" and equal.better_on == 4
    assert six(contest, "by rows", "random weights").better_on == 4


def test_no_weighting_beats_separate_networks_and_only_by_rows_reaches_them(contest):
    others = set(contest.runs.filter(tasks="six")["candidate"]) - {"separate", "trees"}
    reached = [name for name in others if six(contest, name, "separate").verdict != "worse"]
    assert reached == ["by rows"]
    assert six(contest, "by rows", "separate").better_on == 0


def test_of_the_rules_by_size_only_the_gradient_norm_beats_equal_weights(contest):
    sizes = ("by loudness", "1 / base loss", "1 / gradient norm")
    clear = [name for name in sizes if six(contest, name, "equal").verdict == "better"]
    assert clear == ["1 / gradient norm"]
    assert six(contest, "1 / gradient norm", "equal").better_on == 4
    assert six(contest, "1 / gradient norm", "separate").worse_on == 4


@pytest.mark.parametrize("name", ["searched", "equal, usual rate", "random weights"])
def test_search_usual_rate_and_dice_are_level_with_equal_weights(contest, name):
    assert six(contest, name, "equal").verdict == "no difference seen"


def test_trees_and_weights_by_rows_are_level(contest):
    assert six(contest, "trees", "by rows").verdict == "no difference seen"


def test_the_notebook_prints_the_stored_sentences(contest, found):
    assert pair(contest, "λ 0.1", "dwell").sentence() in found["sweep"]
    assert six(contest, "by rows", "separate").sentence() in found["six tasks"]


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
    assert 0.85 < ratio["beside dwell, λ 1"] < 1.2
    assert ratio["beside dwell, click starved, SGD"] > 1.8


def test_the_colleague_praises_what_lost_to_the_separate_network(found):
    rows = {row["network"]: row for row in found["two measures of improvement"]}
    equal, tenth = rows["λ 1"], rows["λ 0.1"]
    assert 1.7 < equal["colleague, %"] / tenth["colleague, %"] < 2.5
    assert equal["against separate, %"] < -1 < 0 < tenth["against separate, %"]
