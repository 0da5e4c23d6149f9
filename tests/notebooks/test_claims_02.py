"""The claims of notebook 02 hold on what a full run records, with real and with drawn pictures."""

import pytest

from mtlkit.data.product_pictures import picture_source

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("02")


@pytest.fixture(scope="module")
def source():
    return f"{picture_source()} pictures"


@pytest.fixture(scope="module")
def gains(found, source):
    return {row["case"]: row for row in found["gain of winter", source]}


def test_numpy_finds_what_the_network_finds(found):
    rows = found["numpy against network"]
    assert [row["computed by hand"] for row in rows] == ["Z", "footwear", "winter", "gradient of V"]
    assert all(row["largest difference to the network"] < 1e-4 for row in rows)


def test_the_two_headed_network_learns_both_tasks(found):
    line = found["evaluation"]
    assert line["loss"] == pytest.approx(line["footwear_loss"] + line["winter_loss"])
    assert line["footwear_accuracy"] > 0.9
    assert line["winter_accuracy"] > 0.8  # three in ten pictures are for winter


def test_sharing_the_layer_leaves_about_half_of_the_parameters(found):
    shared, separate = 784 * 128 + 128 + 2 * 129, 2 * (784 * 128 + 128 + 129)
    wanted = 100 * (1 - shared / separate)
    assert found["saved by sharing in percent"]["parameters"] == pytest.approx(wanted)


def test_a_true_helper_helps_the_poor_task_in_a_narrow_network(gains):
    assert gains["narrow, true helper"]["verdict"] == "better"
    assert 0.005 < gains["narrow, true helper"]["difference"] < 0.1


def test_the_narrow_network_passes_on_more_than_the_wide_one(gains):
    narrow = gains["narrow, true helper"]["difference"]
    assert -0.005 < gains["wide, true helper"]["difference"] < narrow


def test_a_helper_that_knows_nothing_adds_nothing(gains):
    row = gains["narrow, shuffled helper"]
    assert row["verdict"] != "better"
    assert row["difference"] < gains["narrow, true helper"]["difference"] - 0.005


def test_a_loud_helper_that_knows_nothing_hurts(gains):
    row = gains["narrow, loud shuffled helper"]
    assert row["verdict"] == "worse"
    assert row["difference"] < -0.02


def test_the_gain_is_seen_again_on_the_test_pictures(found, source):
    row = found["test", source]
    assert row["low"] > 0
    assert row["shared"] == pytest.approx(row["alone"] + row["difference"])


def test_augmentation_does_no_large_harm(found, source):
    assert -0.03 < found["augmentation", source]["difference"] < 0.06


def test_zeros_for_missing_labels_shrink_the_chances_and_spoil_every_measure(found):
    rows = {row["measure"]: row for row in found["missing labels"]}
    ratio = rows["mean chance / true share"]
    assert 0.8 < ratio["with a mask"] < 1.35
    assert ratio["filled with 0"] < 0.75
    assert ratio["to"] < 0
    assert rows["log-loss"]["from"] > 0
    assert rows["accuracy"]["to"] < 0
