"""What notebook 01 says, tested on the results of a full run."""

import pytest

pytestmark = pytest.mark.notebook


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


def test_training_on_lowers_the_training_loss_and_raises_the_validation_loss(results):
    rise = results["over-fitting of click"]
    assert 0.005 < rise["from"] < rise["rise"] < 0.04
    training = results["training loss of click"]
    assert training["last"] < training["first"] - 0.015


def test_accuracy_and_recall_hide_what_auc_and_log_loss_show(results):
    rows = {row["model"]: row for row in results["measures of click"]}
    never, own, oracle = rows["constant"], rows["own network"], rows["oracle"]
    assert abs(own["accuracy"] - never["accuracy"]) < 0.003 < 0.9 < never["accuracy"]
    assert never["recall"] == 0 and own["recall"] < 0.05
    assert never["auc"] == 0.5 and 0.70 < own["auc"] < oracle["auc"] < 0.84
    assert oracle["log_loss"] < own["log_loss"] - 0.01 < never["log_loss"] - 0.03
    assert never["ece"] < min(own["ece"], oracle["ece"]) and own["ece"] < 0.03


def test_sgd_with_its_own_rate_keeps_up_with_adam_and_falls_behind_at_adams_rate(results):
    rows = {row["candidate"]: row for row in results["optimisers"]}
    assert abs(rows["SGD"]["difference"]) < 0.015
    assert rows["SGD at Adam's rate"]["high"] < -0.02
    assert results["best rates"]["sgd"] > 20 * results["best rates"]["adam"]
    steps = results["steps of the optimisers"]
    assert steps["Adam"] < steps["SGD"]


def test_a_leak_beats_the_oracle(results):
    found = results["auc with a leak"]
    assert found["network"] > 0.98 > 0.85 > found["oracle"]


def test_each_network_beats_the_constant_model_with_its_whole_interval(shop, journey):
    assert set(shop) == {"click", "purchase", "dwell", "units", "next_category"}
    assert set(journey) == {"buy", "coupon", "spend", "items"}
    for row in [*shop.values(), *journey.values()]:
        for end in ("from", "to"):
            assert better(row, row[end], row["constant"]), row


def test_no_network_reaches_the_best_possible(shop):
    for row in shop.values():
        for end in ("from", "to"):
            assert better(row, row["best possible"], row[end]), row


def test_the_tasks_with_the_fewest_rows_are_left_furthest_below_the_ceiling(results, shop):
    way = results["way from constant to best possible"]
    poor, rich = ("purchase", "dwell"), ("click", "units", "next_category")
    assert max(way[task] for task in poor) < min(way[task] for task in rich) - 5
    assert max(shop[task]["train rows"] for task in poor) < min(
        shop[task]["train rows"] for task in rich
    )
    assert all(10 < share < 100 for share in way.values())


def test_the_real_shop_is_learned_about_as_well_as_its_data_card_says(journey):
    assert 0.80 < journey["buy"]["own network"] < 0.87
    assert 0.75 < journey["coupon"]["own network"] < 0.92
    assert 0.25 < journey["spend"]["own network"] < 0.55
