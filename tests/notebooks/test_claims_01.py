"""What notebook 01 says, tested on the results of a full run and on the stored contest."""

import pytest

from mtlkit import Market, Trees, evaluate, fit, split_time
from mtlkit.course import evidence
from mtlkit.models import trees as trees_module

pytestmark = pytest.mark.notebook

LAST = "and wider embeddings"  # as practised
TASKS = {"click": "auc", "purchase": "auc", "dwell": "r2_log"}


@pytest.fixture(scope="module")
def results(recorded):
    return recorded("01")


@pytest.fixture(scope="module")
def shop(results):
    return {row["task"]: row for row in results["single-task models", "synthetic shop"]}


@pytest.fixture(scope="module")
def journey(results):
    return {row["task"]: row for row in results["single-task models", "Complete Journey"]}


@pytest.fixture(scope="module")
def found():
    return evidence("01")


def better(row, a, b):
    """Whether value a lies on the better side of b, in the row's measure."""
    return a < b if row["measure"] == "poisson_deviance" else a > b


def test_training_on_lowers_the_training_loss_and_raises_the_validation_loss(results):
    rise = results["over-fitting of click"]
    assert 0.005 < rise["from"] < rise["rise"] < 0.06
    training = results["training loss of click"]
    assert training["last"] < training["first"] - 0.015


def test_what_the_networks_know_by_heart_is_the_users(results):
    change = {(row["column"], row["days"]): row for row in results["hiding a column"]}
    columns = {column for column, _ in change}
    assert columns == {"user", "item", "age_band", "hour"}
    for column in columns:  # above 0: the column was needed
        assert change[column, "training"]["low"] > 0
        assert (change[column, "later"]["mean"] > 0) == (column != "user")
    assert change["user", "later"]["high"] < 0
    for column in columns - {"user"}:
        assert change["user", "training"]["low"] > change[column, "training"]["high"]


def test_without_the_users_most_of_what_was_learned_about_training_days_is_gone(results):
    change = {(row["column"], row["days"]): row for row in results["hiding a column"]}
    training = results["training loss of click"]
    assert change["user", "training"]["mean"] > 0.5 * (training["constant"] - training["last"])


def test_a_user_has_some_20_rows(results):
    assert 15 < results["training rows of a user"] < 25


def test_the_live_ladder_climbs_with_the_prior(results):
    rows = {row["candidate"]: row for row in results["ladder"]}
    assert rows["with a prior on rows"]["low"] > 0
    assert rows["and a falling rate"]["low"] > 0


def test_the_rates_of_the_live_ladder_are_those_that_the_contest_chose(results, found):
    chosen = found.table("chosen")
    for name, rate in results["rates of the ladder"].items():
        mine = chosen.filter((chosen["candidate"] == name) & (chosen["rows"] == 60_000))
        assert set(mine["chosen"]) == {rate}
