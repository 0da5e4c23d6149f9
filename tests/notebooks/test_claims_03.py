"""The claims of notebook 03 hold on what a full run records, and on the tables of five shops."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlkit import FixedWeights, Market, SharedBottom, fit, paired_interval
from mtlkit.course import evidence
from mtlkit.lessons.nb03 import contest as lesson
from mtlkit.lessons.nb03.rules import drawn
from mtlkit.train import seeded

pytestmark = pytest.mark.notebook

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/src/03_weigh_the_losses.py"

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


def test_halving_a_squared_error_is_halving_its_weight():
    """The article's loss beside ours, by finite differences of what the text calls s_k."""
    for output, label in ((1.0, 1.5), (2.0, 1.0), (-0.3, 0.4)):
        ours, halved = (
            [factor * (output + nudge - label) ** 2 for nudge in (1e-6, -1e-6)]
            for factor in (1.0, 0.5)
        )
        slope = (ours[0] - ours[1]) / 2e-6
        assert slope == pytest.approx(2 * (output - label), abs=1e-6)
        assert (halved[0] - halved[1]) / 2e-6 == pytest.approx(0.5 * slope, abs=1e-6)


def test_a_row_a_task_makes_two_networks_of_one_and_the_sum_moves_both_heads(found):
    before, summed, one, two = (
        {row["theta"]: row[name] for row in found["steps"]}
        for name in ("before", "weighted sum", "two rows, network 1", "two rows, network 2")
    )
    assert one["a2"] == before["a2"] and two["a1"] == before["a1"]  # no news of the other head
    assert one["a1"] != before["a1"] and two["a2"] != before["a2"]
    assert one["v1"] > before["v1"] > two["v1"]  # two values of what was shared
    assert all(summed[name] != before[name] for name in before)
    for name, moved in summed.items():  # 1 and 0.5 are the weights
        steps = 1.0 * (one[name] - before[name]) + 0.5 * (two[name] - before[name])
        assert moved - before[name] == pytest.approx(steps, abs=1e-12)


def best(found):
    """AUC of click at each run's best epoch, {network: (start,)}."""
    return {n: np.max(curves, axis=1) for n, curves in found["curves"].items()}


def beside(found, name):
    """Click beside dwell minus click alone, over the starts."""
    return paired_interval(best(found)[name] - best(found)["alone"])


def test_click_drowns_when_dwell_is_measured_in_seconds(found):
    assert beside(found, "in seconds").high < -0.2
    assert best(found)["in seconds"].max() < 0.5  # a coin's
    for name in ("in minutes", "standardised"):  # weight 1 is not neutral even so
        assert -0.05 < beside(found, name).low < beside(found, name).high < -0.005
    tenth = beside(found, "standardised, λ 0.1")
    assert tenth.low < 0 < tenth.high


def test_the_loss_in_seconds_is_3600_times_that_in_minutes(found):
    assert found["squared"] == pytest.approx(3600, rel=1e-4)


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
    assert pair(contest, "λ 10", "dwell").verdict == "worse"
    assert pair(contest, "λ 10", "dwell", "λ 1").verdict == "worse"
    lost = {name: pair(contest, name, "click").headline.mean for name in sharing(contest, "two")}
    assert min(lost, key=lost.get) == "λ 10"  # click loses most
    assert pair(contest, "λ 10", "click").worse_on == 5
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


def test_rules_that_the_page_for_instructors_names_are_level_with_equal_weights(contest):
    for name in ("1 / base loss", "by loudness", "searched", "random weights"):
        assert six(contest, name, "equal").verdict == "no difference seen", name


def test_the_figure_shows_six_candidates_and_leaves_out_none_that_reaches_separate_networks(
    contest,
):
    shown = ["by rows", "trees", "1 / gradient norm", "searched", "equal", "random weights"]
    assert f"names = {json.dumps(shown)}" in SOURCE.read_text(encoding="utf-8")
    for name in set(sharing(contest, "six")) - set(shown):
        assert six(contest, name, "separate").verdict == "worse", name


def test_by_rows_is_no_match_for_separate_networks_in_every_task(contest):
    cart = six(contest, "by rows", "separate", "cart")
    assert (cart.better_on, cart.worse_on) == (1, 3)
    rare = contest.table("chosen").filter(candidate="by rows")["weight return"]
    assert rare.max() < 0.01  # hardly heard, and not judged


def test_the_chosen_rates_lie_at_the_edge_of_those_tried(contest):
    rates = {
        name: list(contest.table("chosen").filter(tasks="six", candidate=name)["rate"])
        for name in ("by rows", "separate")
    }
    assert rates["by rows"].count(max(lesson.RATES)) == 4
    assert rates["separate"].count(min(lesson.RATES)) == 3


def test_trees_are_level_with_separate_networks_and_better_on_click(contest):
    assert six(contest, "trees", "separate").verdict == "no difference seen"
    click = six(contest, "trees", "separate", "click")
    assert click.verdict == "better" and click.better_on == 5


def test_the_notebook_prints_the_stored_differences(contest, found):
    [tenth] = [row for row in found["sweep"] if row["candidate"] == "λ 0.1"]
    assert pair(contest, "λ 0.1", "dwell").short() in tenth.values()
    rows = {row["minus separate"]: row for row in found["six tasks"]}
    for name, row in rows.items():
        for task in ("click", "cart", "purchase", "dwell"):
            [told] = [value for heading, value in row.items() if heading.startswith(task)]
            assert told == six(contest, name, "separate", task).short()


def trained(weights, **options):
    """All parameters after two epochs on the tiny shop."""
    log = Market("tiny", seed=1).impressions(400).select_tasks(["click", "dwell"])
    with seeded(0):
        model = SharedBottom(log.schema, embedding_dim=4, hidden=(8,), tower=())
    options |= {"epochs": 2, "batch_size": 64, "row_prior": None, "progress": False, "seed": 0}
    fit(model, log, balancer=FixedWeights(weights), **options)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_under_sgd_ten_times_the_weights_are_ten_times_the_rate_and_under_adam_their_ratio_counts():
    once, tenfold = {"click": 1.0, "dwell": 0.1}, {"click": 10.0, "dwell": 1.0}
    sgd = {"optimizer": "sgd"}
    loud = trained(tenfold, learning_rate=0.003, **sgd)
    assert torch.allclose(loud, trained(once, learning_rate=0.03, **sgd), atol=1e-5)
    assert not torch.allclose(loud, trained(once, learning_rate=0.003, **sgd), atol=1e-3)
    adam = [trained(weights, learning_rate=0.003) for weights in (once, tenfold)]
    assert torch.allclose(*adam, atol=1e-4)


def test_class_weights_spoil_the_chances_as_predicted_and_a_shift_mends_them(found):
    ratio = {name: np.mean(values) for name, values in found["chances"]["ratios"].items()}
    assert 0.85 < ratio["plain"] < 1.2 and 0.85 < ratio["the same, mended"] < 1.2
    assert 2.7 < ratio["each click counts 5 times"] < 4
    assert ratio["plain, odds times 5"] == pytest.approx(
        ratio["each click counts 5 times"], abs=0.5
    )
    areas = found["chances"]["areas"]
    order = paired_interval(np.subtract(areas["loud"], areas["plain"]))
    assert order.low < 0 < order.high and abs(order.mean) < 0.005


def test_no_weight_of_the_sweep_moves_the_mean_chance_much(contest):
    levels = [
        contest.mean(name, task="click", metric="pcoc", tasks="two")
        for name in sharing(contest, "two")
    ]
    assert (f"{min(levels):.2f}", f"{max(levels):.2f}") == ("0.96", "1.06")


def test_the_colleague_praises_most_what_lost_to_the_separate_network(found):
    praise = {
        name: np.mean([100 * (max(run) - run[0]) / run[0] for run in curves])
        for name, curves in found["curves"].items()
    }
    rest = [value for name, value in praise.items() if name != "in minutes"]
    assert praise["in minutes"] > 2 * max(rest)  # by far the most
    assert beside(found, "in minutes").high < 0
