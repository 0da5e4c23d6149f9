"""The claims of notebook 02 hold on what a full run records, with real and with drawn pictures."""

import pytest

pytestmark = pytest.mark.notebook


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("02")


@pytest.fixture(scope="module")
def source(found):
    """The pictures that the run had, which a machine without the real ones reads too."""
    [only] = {key[1] for key in found if isinstance(key, tuple) and key[0] == "gain of winter"}
    assert only in ("real pictures", "drawn pictures")
    return only


@pytest.fixture(scope="module")
def gains(found, source):
    return {row["case"]: row for row in found["gain of winter", source]}


def test_numpy_finds_what_the_network_finds(found):
    rows = found["numpy against network"]
    assert [row["computed by hand"] for row in rows] == ["Z", "footwear", "winter", "gradient of V"]
    assert all(row["largest difference"] < 1e-4 for row in rows)


def test_the_two_headed_network_learns_both_tasks(found):
    line = found["evaluation"]
    assert line["loss"] == pytest.approx(line["footwear_loss"] + line["winter_loss"])
    assert line["footwear_accuracy"] > 0.9
    assert line["winter_accuracy"] > 0.8  # three in ten pictures are for winter


def test_sharing_the_layer_leaves_about_half_of_the_parameters(found):
    shared, separate = 784 * 128 + 128 + 2 * 129, 2 * (784 * 128 + 128 + 129)
    wanted = 100 * (1 - shared / separate)
    assert found["saved by sharing in percent"]["parameters"] == pytest.approx(wanted)


def test_a_true_helper_helps_the_poor_task_in_a_network_of_two_layers(gains):
    assert gains["two layers, true helper"]["verdict"] == "better"
    assert 0.005 < gains["two layers, true helper"]["difference"] < 0.1


@pytest.mark.parametrize("width", [128, 32])
def test_two_layers_pass_on_more_than_one_layer_wide_or_narrow(found, source, gains, width):
    row = found[f"two layers against one layer of {width}, true helper", source]
    assert row["low"] > 0
    two, one = (gains[f"{case}, true helper"] for case in ("two layers", f"one layer of {width}"))
    assert row["difference"] == pytest.approx(two["difference"] - one["difference"])


def test_one_narrow_layer_gains_no_more_than_a_wide_one(gains):
    wide, narrow = (gains[f"one layer of {width}, true helper"] for width in (128, 32))
    assert narrow["difference"] < wide["difference"] + 0.005


def test_a_helper_that_knows_nothing_adds_nothing(gains):
    row = gains["two layers, shuffled helper"]
    assert row["verdict"] != "better"
    assert row["difference"] < gains["two layers, true helper"]["difference"] - 0.005


def test_a_loud_helper_that_knows_nothing_hurts(gains):
    row = gains["two layers, loud shuffled helper"]
    assert row["verdict"] == "worse"
    assert row["difference"] < -0.02


def test_the_gain_is_seen_again_on_the_test_pictures(found, source):
    row = found["test against alone, same batches", source]
    assert row["low"] > 0
    assert row["shared"] == pytest.approx(row["alone"] + row["difference"])


def test_a_stricter_reference_takes_a_part_of_the_gain_but_does_not_turn_it_round(found, source):
    first = found["test against alone, same batches", source]
    second = found["test against alone, labelled pictures only", source]
    assert second["verdict"] != "worse"
    assert second["difference"] > -0.005
    if source == "real pictures":  # the notebook for teachers says so of the real ones only
        assert second["difference"] < first["difference"]


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
