"""What notebook 01 says, tested on the results of a full run."""

import pytest


@pytest.fixture(scope="module")
def results(recorded):
    return recorded("01")


@pytest.fixture(scope="module")
def shop(results):
    return {row["task"]: row for row in results["single-task models", "synthetic shop"]}


@pytest.fixture(scope="module")
def journey(results):
    return {row["task"]: row for row in results["single-task models", "Complete Journey"]}


def better(row, a, b):
    """Whether value a lies on the better side of b, in the row's measure."""
    return a < b if row["measure"] == "poisson_deviance" else a > b


def test_networks_with_many_labels_beat_the_constant_model_with_their_whole_interval(shop, journey):
    assert set(shop) == {"click", "purchase", "dwell", "units", "next_category"}
    assert set(journey) == {"buy", "coupon", "spend", "items"}
    for row in [*shop.values(), *journey.values()]:
        if row["task"] != "purchase":
            assert better(row, row["from"], row["constant"]), row
            assert better(row, row["to"], row["constant"]), row
    assert shop["purchase"]["own network"] > shop["purchase"]["constant"]


def test_no_network_reaches_the_best_possible(shop):
    for row in shop.values():
        assert better(row, row["best possible"], row["from"]), row
        assert better(row, row["best possible"], row["to"]), row


def test_tasks_with_few_labels_are_left_furthest_below_the_ceiling(results):
    way = results["way from constant to best possible"]
    assert max(way["purchase"], way["dwell"]) < min(way["click"], way["units"])
    assert all(0 < share < 100 for share in way.values())


def test_the_real_shop_is_learned_about_as_well_as_its_data_card_says(journey):
    assert 0.80 < journey["buy"]["own network"] < 0.87
    assert 0.75 < journey["coupon"]["own network"] < 0.92


def test_training_on_makes_the_training_loss_better_and_validation_worse(results):
    assert results["over-fitting of click"]["from"] > 0
    assert results["training loss of click"]["last"] < results["training loss of click"]["first"]


def test_accuracy_cannot_tell_the_network_from_always_no_but_auc_can(results):
    row = {entry["model"]: entry for entry in results["measures of click"]}
    assert abs(row["own network"]["accuracy"] - row["constant"]["accuracy"]) < 0.01
    assert row["own network"]["recall"] < 0.1
    assert row["constant"]["auc"] == pytest.approx(0.5)
    assert 0.66 < row["own network"]["auc"] < row["oracle"]["auc"]
    assert row["oracle"]["log_loss"] < row["own network"]["log_loss"] < row["constant"]["log_loss"]


def test_sgd_at_the_rate_of_adam_is_worse_and_at_its_own_rate_much_closer(results):
    row = {entry["candidate"]: entry for entry in results["optimisers"]}
    assert row["SGD at Adam's rate"]["high"] < 0
    assert abs(row["SGD"]["difference"]) < 0.5 * abs(row["SGD at Adam's rate"]["difference"])


def test_the_leaking_column_lifts_the_network_above_the_oracle(results):
    found = results["auc with a leak"]
    assert found["network"] > 0.97 > found["oracle"]
