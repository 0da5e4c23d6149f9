"""What notebook 01 says, tested on the results of a full run and on the stored contest."""

import numpy as np
import pytest

from mtlkit import Market
from mtlkit.comparison import paired_interval
from mtlkit.course import evidence
from mtlkit.lessons.nb01 import contest
from mtlkit.shop.impression_frame import clean_impressions

pytestmark = pytest.mark.notebook

LAST = "and wider embeddings"  # as practised


@pytest.fixture(scope="module")
def results(recorded):
    return recorded("01")


@pytest.fixture(scope="module")
def four(results):
    return {row["task"]: row for row in results["four tasks"]}


@pytest.fixture(scope="module")
def found():
    return evidence("01")


def test_training_on_lowers_the_training_loss_and_raises_the_validation_loss(results):
    losses = {part: np.array(found) for part, found in results["losses of click"].items()}
    training, validation = losses["training"], losses["validation"]  # (seed, epoch)
    assert (np.diff(training.mean(axis=0)) < 0).all()
    rise = paired_interval(validation[:, -1] - validation.min(axis=1))
    assert 0.005 < rise.low < rise.mean < 0.06


def test_what_the_networks_know_by_heart_is_the_users(results):
    change = {(row["hidden"], row["days"]): row for row in results["hiding a column"]}
    columns = {column for column, _ in change}
    assert columns == {"user", "item", "age_band", "hour"}
    for column in columns:  # above 0: the column was needed
        assert change[column, "training"]["low"] > 0
        assert (change[column, "later"]["mean"] > 0) == (column != "user")
    assert change["user", "later"]["high"] < 0
    for column in columns - {"user"}:
        assert change["user", "training"]["low"] > change[column, "training"]["high"]


def test_a_user_has_some_20_rows():
    log = clean_impressions(Market("small", seed=0).impressions_frame(60_000))
    days = log.filter(log["day"] < 33)
    assert 15 < len(days) / days["user"].n_unique() < 25


def test_prior_and_falling_rate_help_live_and_sgd_stays_behind(results):
    rows = {row["candidate"]: row for row in results["changes"]}
    assert rows["prior and falling rate"]["low"] > 0
    gap = rows["the same with SGD"]["mean"] - rows["prior and falling rate"]["mean"]
    assert gap < -0.005


def test_the_rate_of_the_live_networks_is_the_one_that_the_contest_chose(found):
    chosen = found.table("chosen")
    for name in ("plain network", "with a prior on rows", "and a falling rate"):
        assert set(chosen.filter(chosen["candidate"] == name)["chosen"]) == {0.02}


def test_everyone_had_four_trials_on_a_shop_that_is_not_shown(found):
    chosen = found.table("chosen")
    trials = [name for name in chosen.columns if name.startswith("trial")]
    assert len(trials) == 4 and chosen.select(trials).null_count().sum_horizontal().item() == 0
    assert contest.SEARCH_SHOP not in found.shops


def test_the_stored_contest_stands_on_five_shops_and_five_starts(found):
    assert len(found.shops) == 5 and len(found.seeds) == 5


def test_a_plain_network_is_below_the_trees_on_every_shop_and_good_training_closes_most(found):
    plain = found.difference("plain network", "trees", task="click")
    assert plain.worse_on == 5 and plain.headline.mean == pytest.approx(-0.021, abs=0.0005)
    last = found.difference(LAST, "trees", task="click")
    assert last.headline.mean == pytest.approx(-0.005, abs=0.0005)
    assert last.verdict == "no difference seen" and last.worse_on == 4


def test_good_training_helps_click_and_dwell(found):
    click = found.difference(LAST, "plain network", task="click")
    assert click.verdict == "better" and click.better_on >= 4
    assert click.headline.mean == pytest.approx(0.016, abs=0.0005)
    dwell = found.difference(LAST, "plain network", task="dwell", metric="r2_log")
    assert dwell.better_on == 5


@pytest.mark.parametrize(("task", "metric"), [("purchase", "auc"), ("dwell", "r2_log")])
def test_on_purchase_and_dwell_no_difference_to_the_trees_is_seen(found, task, metric):
    gap = found.difference(LAST, "trees", task=task, metric=metric)
    assert gap.verdict == "no difference seen"
    assert task == "purchase" or (gap.worse_on, gap.better_on) == (2, 0)


def test_prior_and_falling_rate_together_gain_0014_on_every_shop(found):
    gap = found.difference("and a falling rate", "plain network", task="click")
    assert gap.better_on == 5 and gap.headline.mean == pytest.approx(0.014, abs=0.0005)


def test_the_notebook_prints_the_numbers_of_the_contest(results, found):
    assert found.difference(LAST, "trees", task="click").sentence() in results["practised"]


def test_the_constant_model_is_as_accurate_and_best_calibrated_yet_has_no_order(results):
    rows = {row["model"]: row for row in results["measures of click"]}
    constant, own = rows["constant"], rows["own network"]
    assert abs(constant["accuracy"] - own["accuracy"]) < 0.01
    assert own["recall"] < 0.1
    assert constant["ece"] <= own["ece"]
    assert own["auc"] > 0.65 > constant["auc"]
    assert own["log_loss"] < constant["log_loss"]


def test_a_leak_passes_the_oracle(results):
    leak = results["auc with a leak"]
    assert leak["network"] > leak["oracle"] + 0.05


def way(row):
    """How far the network gets from the constant model to the best possible, 0 to 1."""
    return (row["network"] - row["constant"]) / (row["best possible"] - row["constant"])


def test_every_network_lies_between_the_constant_model_and_the_best_possible(four):
    assert set(four) == {"click", "purchase", "dwell", "units"}
    assert all(0 < way(row) < 1 for row in four.values())


def test_purchase_and_dwell_have_the_longest_way_and_the_fewest_rows(four):
    for found in (lambda task: way(four[task]), lambda task: four[task]["train rows"]):
        assert set(sorted(four, key=found)[:2]) == {"purchase", "dwell"}
