"""The stored study of Census-Income: what makes its contest fair, and what notebook 07 may say."""

import math
from itertools import product

import numpy as np
import polars as pl
import pytest

from mtlkit.comparison import paired
from mtlkit.course import study
from mtlkit.lessons.nb07.studies.census import APART, PAIRS, REFERENCE, SHARED, SIZES, TASKS

pytestmark = pytest.mark.notebook
CANDIDATES = [*SHARED, *APART, "trees"]
SEEDS = SIZES["seeds"][1]
PLACES = [(pair, task) for pair, tasks in PAIRS.items() for task in tasks]


@pytest.fixture(scope="module")
def census():
    return study("07", "census")


@pytest.fixture(scope="module")
def score(census):
    """One row of the scores."""

    def pick(candidate, pair, task, metric="auc"):
        where = {"candidate": candidate, "pair": pair, "task": task, "metric": metric}
        return census.table("scores").filter(**where).row(0, named=True)

    return pick


def test_the_networks_are_of_equal_size(census):
    cost = census.table("cost")
    equal = cost.filter(pl.col("candidate").is_in([*SHARED, "single-task, half each"]))
    assert equal.height == len(SHARED) + 1
    for column in ("network", "flops_per_row"):
        assert equal[column].max() / equal[column].min() < 1.02
    assert (cost["parameters"] == cost["embeddings"] + cost["network"]).all()
    full = cost.filter(candidate="single-task")["network"].item()
    assert full / cost.filter(candidate=REFERENCE)["network"].item() == pytest.approx(2, rel=0.05)


def test_everyone_has_six_trials_and_a_choice_among_them(census):
    trials = census.table("trials")
    scores = trials.select(f"trial {number}" for number in range(1, 7))
    assert [name for name in trials.columns if name.startswith("trial")] == scores.columns
    assert scores.null_count().sum_horizontal().item() == 0
    judged = [" and ".join(tasks) for tasks in PAIRS.values()]
    expected = {*product(SHARED, judged), *product([*APART, "trees"], TASKS)}
    assert set(trials.select("candidate", "judged_by").iter_rows()) == expected
    assert trials.height == len(expected) == 26


def test_every_candidate_has_the_same_seeds_and_no_gap(census):
    runs = census.table("runs")
    assert np.isfinite(runs["value"].to_numpy()).all()
    seeds = sorted(runs["seed"].unique())
    assert seeds == list(range(len(seeds))) and len(seeds) == SEEDS
    metrics = ["auc", "normalized_entropy"]
    expected = {
        (candidate, pair, task, metric, seed)
        for candidate, (pair, task), metric, seed in product(CANDIDATES, PLACES, metrics, seeds)
    }
    found = runs.select("candidate", "pair", "task", "metric", "seed").rows()
    assert len(found) == len(expected) and set(found) == expected


@pytest.mark.parametrize(("pair", "task"), PLACES)
def test_the_scores_follow_from_the_runs(census, score, pair, task):
    runs = census.table("runs").filter(pair=pair, task=task, metric="auc").sort("seed")
    base = runs.filter(candidate=REFERENCE)["value"]
    for name in CANDIDATES:
        row, own = score(name, pair, task), runs.filter(candidate=name)["value"]
        assert row["mean"] == pytest.approx(own.mean(), rel=2e-5)
        if name == REFERENCE:
            assert row["difference"] is None and row["verdict"] is None
            continue
        found = paired(own, base)
        assert (row["low"], row["high"]) == pytest.approx(found.headline[1:], abs=2e-5)
        assert row["verdict"] == found.verdict
        widened = (row["wide_high"] - row["wide_low"]) / (row["high"] - row["low"])
        assert widened == pytest.approx(math.sqrt(1 + SEEDS * 0.2 / 0.6), rel=0.02)


def test_the_candidates_that_share_nothing_are_the_same_in_both_pairs(score):
    for name in (*APART, "trees"):
        means = [score(name, pair, "never_married")["mean"] for pair in PAIRS]
        assert means[0] == means[1]


def test_the_labels_correlate_as_the_paper_says(census):
    for row in census.table("labels").iter_rows(named=True):
        assert row["rows"] == 99_762
        assert row["correlation"] == pytest.approx(row["paper"], abs=2e-3)


def test_the_paper_ranks_mmoe_above_the_shared_bottom_everywhere(census):
    paper = census.table("paper")
    assert paper.height == 28 and paper["candidate"].n_unique() == 7
    for pair, task in PLACES:
        own = dict(paper.filter(pair=pair, task=task).select("candidate", "auc").iter_rows())
        assert own["MMoE"] > own[REFERENCE]
        assert own["MMoE"] == max(own.values()) or (pair, task) == ("income", "income")


def test_the_papers_gain_of_mmoe_on_income_is_not_seen(census, score):
    paper = census.table("paper").filter(pair="income", task="income")
    mean = dict(paper.select("candidate", "auc").iter_rows())
    assert score("MMoE", "income", "income")["wide_high"] < mean["MMoE"] - mean[REFERENCE]


@pytest.mark.parametrize(("pair", "task"), PLACES)
def test_trees_beat_and_a_linear_model_trails_the_shared_bottom_everywhere(score, pair, task):
    assert score("trees", pair, task)["wide_low"] > 0
    assert score("logistic regression", pair, task)["wide_high"] < 0
