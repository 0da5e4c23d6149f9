"""The claims of notebook 07 hold on what a full run records, on the contest and on the studies."""

from itertools import product

import numpy as np
import polars as pl
import pytest

from mtlkit.comparison import paired_interval
from mtlkit.course import evidence, sizes, study
from mtlkit.lessons.nb07.contest import BALANCED, LONGER, STRENGTHS
from mtlkit.lessons.nb07.sizes import CONTEST_SIZES

pytestmark = pytest.mark.notebook

CORRELATIONS, ROWS = (CONTEST_SIZES[name][1] for name in ("correlations", "rows"))
MIDDLE = dict(zip(("correlation", "rows"), CONTEST_SIZES["middle"][1], strict=True))
TASKS = ("click", "purchase")
POINTS = list(product(CORRELATIONS, ROWS, TASKS))


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("07")


@pytest.fixture(scope="module")
def stored():
    return evidence("07")


@pytest.fixture(scope="module")
def paper():
    return study("07", "mmoe_paper")


def final(paper, network, p=0.5, setting="base"):
    """Final losses of a network, one a seed: the mean of both tasks."""
    rows = paper.table("finals").filter(setting=setting, correlation=p, network=network)
    values = rows.select(pl.col("^seed .*$").mean()).to_numpy()[0]
    return values[~np.isnan(values)]


def test_six_seeds_train_live_and_two_hundred_stand_in_the_study(paper):
    assert sizes("07", "full").seeds == 6
    for name in ("shared bottom", "OMoE", "MMoE"):
        assert len(final(paper, name)) == 200


def test_the_loss_of_the_papers_three_rises_as_the_correlation_falls(paper):
    for name in ("shared bottom", "OMoE", "MMoE"):
        assert paired_interval(final(paper, name, 0.0) - final(paper, name, 1.0)).low > 0, name


def test_mmoe_rises_by_as_much_as_the_shared_bottom(paper):
    rises = {
        name: float((final(paper, name, 0.0) - final(paper, name, 1.0)).mean())
        for name in ("shared bottom", "MMoE")
    }
    assert f"{rises['MMoE']:.3f}" == "0.010" and f"{rises['shared bottom']:.3f}" == "0.011"


def test_spreads_and_lowest_losses_are_those_of_the_table(paper):
    shared, mmoe = final(paper, "shared bottom"), final(paper, "MMoE")
    assert [f"{x.std(ddof=1):.3f}" for x in (shared, mmoe)] == ["0.090", "0.054"]
    assert [f"{x.std(ddof=1) / x.mean():.2f}" for x in (shared, mmoe)] == ["0.81", "0.81"]
    assert [f"{x.min():.3f}" for x in (shared, mmoe)] == ["0.016", "0.015"]


def test_most_of_the_gain_is_there_with_one_gate_for_both_tasks(paper):
    for p in (0.0, 0.5, 0.9, 1.0):
        shared, one, each = (final(paper, n, p).mean() for n in ("shared bottom", "OMoE", "MMoE"))
        assert (shared - one) / (shared - each) > 0.6, p
    last = {name: final(paper, name, 1.0) for name in ("shared bottom", "OMoE", "MMoE")}
    share = {name: values.mean() / last["shared bottom"].mean() for name, values in last.items()}
    assert f"{share['MMoE']:.2f}" == "0.57" and f"{share['OMoE']:.2f}" == "0.56"
    more = paired_interval(last["MMoE"] - last["OMoE"])
    assert more.low < 0 < more.high
    first = {name: final(paper, name, 0.0) for name in ("OMoE", "MMoE")}
    assert paired_interval(first["MMoE"] - first["OMoE"]).high < 0
    assert f"{1 - first['MMoE'].mean() / first['OMoE'].mean():.2f}" == "0.16"


def test_of_the_other_settings_only_fewer_waves_show_a_gain_at_one_half(paper):
    others = [s for s in paper.table("finals")["setting"].unique() if s != "base"]
    seen = {}
    for setting in others:
        mmoe, shared = (final(paper, n, 0.5, setting) for n in ("MMoE", "shared bottom"))
        assert len(mmoe) == 20
        seen[setting] = paired_interval(mmoe - shared).high < 0
    assert len(others) == 5 and [name for name, gains in seen.items() if gains] == ["m 3"]


@pytest.mark.parametrize(("correlation", "rows", "task"), POINTS)
def test_at_equal_size_no_gain_of_mmoe_is_seen_anywhere_on_the_map(stored, correlation, rows, task):
    place = {"task": task, "correlation": correlation, "rows": rows}
    found = stored.difference(candidate="MMoE", reference="shared", **place)
    assert found.verdict == "no difference seen" and len(stored.shops) == 5


@pytest.mark.parametrize(("correlation", "rows", "task"), POINTS)
def test_a_second_level_is_clearly_better_nowhere(stored, correlation, rows, task):
    place = {"task": task, "correlation": correlation, "rows": rows}
    assert stored.difference(candidate="PLE", reference="CGC", **place).verdict != "better"


def test_for_purchase_nobody_clearly_beats_the_shared_bottom_and_two_are_clearly_worse(stored):
    verdicts = {
        name: stored.difference(candidate=name, reference="shared", task="purchase", **MIDDLE)
        for name in stored.candidates
        if name != "shared"
    }
    assert not [name for name, one in verdicts.items() if one.verdict == "better"]
    worse = [name for name, one in verdicts.items() if one.verdict == "worse"]
    assert worse == ["separate", "cross-stitch"]


def test_for_click_omoe_alone_clearly_beats_the_shared_bottom(stored):
    found = {
        name: stored.difference(candidate=name, reference="shared", task="click", **MIDDLE)
        for name in stored.candidates
        if name != "shared"
    }
    assert [name for name, one in found.items() if one.verdict == "better"] == ["OMoE"]
    assert f"{found['OMoE'].headline.mean:.3f}" == "0.004" and found[LONGER].verdict == "worse"


@pytest.mark.parametrize("task", TASKS)
def test_twice_the_training_does_not_help_the_shared_bottom(stored, task):
    found = stored.difference(candidate=LONGER, reference="shared", task=task, **MIDDLE)
    assert found.verdict != "better" and found.headline.mean < 0
    steps = stored.table("cost").group_by("candidate").agg(pl.median("step"))
    steps = dict(steps.iter_rows())
    assert 1.7 < steps["PLE"] < 2.4  # twice as long is the time of PLE's steps


@pytest.mark.parametrize("task", TASKS)
def test_the_load_balancing_loss_makes_loads_equal_and_moves_no_auc(stored, task):
    found = stored.difference(candidate=BALANCED, reference="MMoE", task=task, **MIDDLE)
    assert found.verdict == "no difference seen" and abs(found.headline.mean) < 0.001
    loads = stored.table("balance").group_by("strength").agg(pl.mean("largest", "smallest"))
    spread = {strength: most - least for strength, most, least in loads.iter_rows()}
    assert spread[max(STRENGTHS)] < spread[0.0] / 10


def test_separate_networks_are_clearly_worse_than_mmoe_for_purchase_and_trees_no_better(stored):
    at = {"task": "purchase", **MIDDLE}
    assert stored.difference(candidate="MMoE", reference="separate", **at).verdict == "better"
    before = evidence("02").difference(candidate="trees", reference="separate", **at)
    assert before.verdict == "no difference seen"


def test_on_census_income_no_network_that_shares_differs_and_trees_are_best():
    census = study("07", "census")
    rows = census.table("scores").filter(pair="income", task="income", metric="auc")
    networks = ("cross-stitch", "OMoE", "MMoE", "CGC", "PLE", "AdaTT")
    for row in rows.iter_rows(named=True):
        if row["candidate"] in networks:
            assert row["wide_low"] < 0 < row["wide_high"] and row["seeds"] == 30
    assert rows.sort("mean")["candidate"][-1] == "trees"
    assert rows.filter(candidate="trees")["wide_low"].item() > 0
    there = census.table("paper").filter(pair="income", task="income")
    auc = dict(there.select("candidate", "auc").iter_rows())
    assert f"{auc['MMoE'] - auc['shared bottom']:.3f}" == "0.006"


def test_the_fixed_start_learns_nothing_in_two_of_three_runs_and_copies_score_like_random(found):
    runs = pl.DataFrame(found["start"])
    assert len(runs) == 3
    assert (runs["fixed start"] < 0.51).sum() == 2
    assert (runs["four copies"] - runs["random start"]).abs().max() < 0.005
    assert runs["four copies"].min() > 0.73


def test_purchase_prefers_one_expert_most_in_search_and_balanced_gates_none(found):
    maps = pl.DataFrame(found["gate maps"])
    mmoe = maps.filter(network="MMoE")
    top = mmoe.filter(reader="purchase").sort("weight", descending=True)
    assert top["scenario"][0] == "search" and top["weight"][0] > 0.5
    assert len(top.filter(pl.col("expert") == top["expert"][0])) == 3
    for scenario in ("search", "feed", "ads"):
        own = top.filter(scenario=scenario)
        assert own["expert"][0] == top["expert"][0], scenario
    assert mmoe.filter(reader="click")["weight"].is_between(0.15, 0.35).all()
    balanced = maps.filter(network=BALANCED)["weight"]
    assert [f"{x:.2f}" for x in (balanced.min(), balanced.max())] == ["0.20", "0.28"]


def test_no_expert_is_a_copy_and_up_to_38_per_cent_of_the_units_of_one_are_dead(found):
    use = pl.DataFrame(found["use of experts"])
    assert use["similarity"].max() < 0.2
    assert f"{use['dead'].max():.2f}" == "0.38"
