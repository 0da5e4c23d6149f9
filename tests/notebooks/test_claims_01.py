"""What notebook 01 says, tested on the results of a full run and on the stored contest."""

import pytest

from mtlkit import Market, Trees, evaluate, fit, split_time
from mtlkit.course import evidence
from mtlkit.models import tree_rows

pytestmark = pytest.mark.notebook

LAST = "and wider embeddings"  # as practised


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


def test_the_live_ladder_climbs_with_prior_and_falling_rate_together(results):
    rows = {row["candidate"]: row for row in results["ladder"]}
    assert rows["and a falling rate"]["low"] > 0
    assert rows["and a falling rate"]["mean"] > rows["with a prior on rows"]["mean"]


def test_the_rate_of_the_live_ladder_is_the_one_that_the_contest_chose(results, found):
    chosen = found.table("chosen")
    for name in ("plain network", "with a prior on rows", "and a falling rate"):
        assert set(chosen.filter(chosen["candidate"] == name)["chosen"]) == {
            results["rate of the ladder"]
        }


def test_the_stored_contest_stands_on_five_shops_and_five_starts(found):
    assert len(found.shops) == 5 and len(found.seeds) == 5


def test_a_plain_network_is_below_the_trees_on_every_shop_and_good_training_closes_most(found):
    plain = found.difference("plain network", "trees", task="click")
    assert plain.worse_on == 5 and plain.headline.mean == pytest.approx(-0.021, abs=0.0005)
    last = found.difference(LAST, "trees", task="click")
    assert last.headline.mean == pytest.approx(-0.005, abs=0.0005)
    assert last.verdict == "no difference seen" and last.worse_on == 4


def test_good_training_is_worth_0016_of_click_and_helps_dwell_on_every_shop(found):
    click = found.difference(LAST, "plain network", task="click")
    assert click.verdict == "better" and click.better_on >= 4
    assert click.headline.mean == pytest.approx(0.016, abs=0.0005)
    dwell = found.difference(LAST, "plain network", task="dwell", metric="r2_log")
    assert dwell.better_on == 5


def test_on_purchase_networks_and_trees_are_level(found):
    assert found.difference(LAST, "trees", task="purchase").verdict == "no difference seen"


def test_prior_and_falling_rate_together_gain_0014_on_every_shop(found):
    gap = found.difference("and a falling rate", "plain network", task="click")
    assert gap.better_on == 5 and gap.headline.mean == pytest.approx(0.014, abs=0.0005)


def test_a_plain_network_loses_nothing_without_user_ids_and_gains_on_some_shops(found):
    gap = found.difference("plain, no user ids", "plain network", task="click")
    assert gap.better_on == 3 and gap.worse_on == 0


def test_the_notebook_prints_the_numbers_of_the_contest(results, found):
    assert found.difference(LAST, "trees", task="click").sentence() in results["practised"]


def test_adam_and_sgd_are_searched_alike_and_sgd_stays_behind(results):
    rates = results["best rates"]
    assert set(rates) == {"adam", "sgd"} and rates["sgd"] > 20 * rates["adam"]
    rows = {row["candidate"]: row for row in results["optimisers"]}
    assert rows["sgd"]["high"] < 0


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


def test_every_network_lies_between_the_floor_and_the_best_possible(shop):
    for row in shop.values():
        assert better(row, row["network"], row["constant"]), row["task"]
        assert better(row, row["best possible"], row["network"]), row["task"]


def test_purchase_and_dwell_have_the_widest_gap(results):
    way = results["way from constant to best possible"]
    lowest = sorted(way, key=way.get)[:2]
    assert set(lowest) == {"purchase", "dwell"}


def test_trees_win_on_the_next_category(results):
    assert "next_category" in results["networks against trees"]["worse"]


def test_they_win_by_the_newest_pages(monkeypatch):
    sessions = Market("small", seed=0).sessions(8_000)
    visits = split_time(sessions, "day", (33, 44)).one_task("next_category")

    def accuracy():
        forest = Trees(visits.train.schema, learning_rate=0.2, rounds=30)
        fit(forest, visits.train, visits.validation)
        return evaluate(forest, visits.test)["next_category"]["accuracy"]

    with_order = accuracy()
    monkeypatch.setattr(tree_rows, "NEWEST", 0)
    assert accuracy() < with_order - 0.02


def test_every_network_of_the_real_shop_beats_the_constant(journey):
    for row in journey.values():
        assert better(row, row["network"], row["constant"]), row["task"]
