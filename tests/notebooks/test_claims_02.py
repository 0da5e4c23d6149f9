"""The claims of notebook 02 hold on what a full run records; drawn pictures are always there."""

import pytest

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("02")


def gains(found, case):
    [row] = [
        row for row in found["gain of winter"] if row["pictures"] == "drawn" and row["case"] == case
    ]
    return row


def test_numpy_finds_what_the_network_finds(found):
    assert [row["layer"] for row in found["numpy against network"]] == ["Z", "footwear", "winter"]
    assert all(row["largest difference"] < 1e-4 for row in found["numpy against network"])


def test_sharing_the_layer_leaves_about_half_of_the_parameters(found):
    shared, separate = 784 * 128 + 128 + 2 * 129, 2 * (784 * 128 + 128 + 129)
    assert found["shared over separate"]["parameters"] == pytest.approx(shared / separate)


def test_true_helpers_help_a_poor_task_on_drawn_pictures(found):
    row = gains(found, "few labels, true helpers")
    assert row["verdict"] == "gain"
    assert 0.005 < row["gain"] < 0.08


def test_shuffled_helpers_help_less_than_true_ones(found):
    true = gains(found, "few labels, true helpers")["gain"]
    assert gains(found, "few labels, shuffled helpers")["gain"] < true - 0.005


def test_little_is_left_to_gain_with_all_labels(found):
    true = gains(found, "few labels, true helpers")["gain"]
    assert abs(gains(found, "all labels, true helpers")["gain"]) < true / 2


def test_zeros_for_missing_labels_shrink_the_chances_and_spoil_the_log_loss(found):
    rows = {row["measure"]: row for row in found["missing labels"]}
    ratio = rows["mean chance / true share"]
    assert 0.8 < ratio["masked"] < 1.25
    assert ratio["filled with 0"] < 0.75
    assert ratio["to"] < 0
    assert rows["log-loss"]["from"] > 0
