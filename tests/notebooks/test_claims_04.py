"""The claims of notebook 04 hold on what a full run records."""

import pytest

pytestmark = pytest.mark.notebook

WAYS = ("naive", "ESMM", "ESCM2-IPW", "ESCM2-DR")
WEIGHTED = ("ESCM2-IPW", "ESCM2-DR")


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("04")


@pytest.fixture(scope="module")
def ratio(found):
    """{dial: {training: {group: {mean, low, high}}}} of predicted / true."""
    return found["predicted / true"]


def test_a_product_of_chances_breaks_where_a_sum_of_logs_does_not(found):
    rows = {(row["each logit"], row["way"]): row for row in found["log space"]}
    assert rows[-40.0, "multiply_then_log"]["log P"] == "-inf"
    assert rows[-40.0, "multiply_then_log"]["slope of log P"] == "nan"
    assert rows[-40.0, "stay_in_logs"]["log P"] == pytest.approx(-120)
    assert rows[-40.0, "stay_in_logs"]["slope of log P"] == pytest.approx(1)
    assert rows[20.0, "multiply_then_log"]["log(1 - P)"] == "-inf"
    assert rows[20.0, "stay_in_logs"]["log(1 - P)"] == pytest.approx(-18.9, abs=0.05)


def test_clicked_rows_buy_more_and_the_dial_widens_the_gap(found):
    rates = found["true rates"]
    gaps = [c - n for c, n in zip(rates["clicked"], rates["never clicked"], strict=True)]
    assert min(gaps) > 5
    assert gaps[-1] > gaps[0] + 3
    assert rates["all"][-1] < 0.5 * rates["clicked"][-1]


def test_without_hidden_appeal_weights_mend_the_line_on_never_clicked_rows(ratio):
    for name in ("naive", "ESMM"):
        assert ratio["0"][name]["never clicked"]["low"] > 1.05
    for name in WEIGHTED:
        weighted = ratio["0"][name]["never clicked"]["mean"]
        assert 0.88 < weighted < 1.18
        assert weighted < ratio["0"]["naive"]["never clicked"]["mean"] - 0.1


def test_the_weights_have_their_price_on_clicked_rows(ratio):
    for name in WEIGHTED:
        assert ratio["0"][name]["clicked"]["mean"] < ratio["0"]["naive"]["clicked"]["mean"] - 0.04
        assert ratio["0"][name]["clicked"]["mean"] < 0.97


def test_esmm_is_too_high_on_clicked_and_never_clicked_rows(ratio):
    assert ratio["0"]["ESMM"]["clicked"]["mean"] > 1.03
    assert ratio["0"]["ESMM"]["never clicked"]["mean"] > 1.15


def test_hidden_appeal_makes_every_training_too_high_and_weights_do_not_mend_it(ratio):
    for name in WAYS:
        assert ratio["0"][name]["all"]["mean"] < ratio["1"][name]["all"]["mean"]
        assert ratio["1"][name]["all"]["mean"] < ratio["2"][name]["all"]["mean"]
        assert ratio["2"][name]["all"]["low"] > 1.6
        assert 0.75 < ratio["2"][name]["clicked"]["mean"] < 1.25  # where labels are, it looks right


def test_even_the_best_that_columns_tell_is_too_high(found):
    best = found["best from columns / true"]
    assert best["0"] == pytest.approx(1, abs=0.05)
    assert best["2"] > 2


def test_the_weights_lower_the_error_of_a_line_at_every_dial(found):
    for dial in ("0", "1", "2"):
        assert found["error minus naive"][f"{dial} ESCM2-IPW"]["mean"] < -0.002
    assert sum(found["error minus naive"][f"{d} ESCM2-IPW"]["high"] < 0 for d in "012") >= 2


def test_a_network_that_can_bend_has_no_use_for_the_weights(found, ratio):
    errors = found["error minus naive, deep"]
    for name in WEIGHTED:
        assert errors[name]["high"] > -0.004
        line = found["error minus naive"][f"1 {name}"]["mean"]
        assert errors[name]["mean"] > line


def test_sharing_a_hidden_layer_levels_what_the_naive_training_says(found):
    deep = found["deep, never clicked / true"]
    assert 0.85 < deep["naive"]["mean"] < 1.22
    assert deep["single task"]["mean"] > deep["naive"]["mean"] + 0.03


def test_no_link_sorts_the_products_better_than_separate_networks(found):
    rows = {row["candidate"]: row for row in found["family"]}
    assert rows["single task"]["verdict"] == "reference"
    for name in {*WAYS, "ESM2", "AITM", "DBMTL"}:
        assert rows[name]["difference"] < 0.008
    assert all(row["mean"] < found["best auc from columns"] for row in rows.values())
    cost = {row["candidate"]: row for row in found["family cost"]}
    assert cost["single task"]["parameters"] > 2 * cost["ESMM"]["parameters"]


def test_esmm_does_as_well_as_its_larger_relatives(found):
    gaps = {name: gap["mean"] for name, gap in found["family minus naive, auc"].items()}
    for name in ("ESM2", "AITM", "DBMTL"):
        assert gaps[name] < gaps["ESMM"] + 0.01


def test_a_gradient_into_the_propensity_inflates_the_clicks(found):
    levels = found["clicks predicted / observed"]
    assert 0.85 < levels["with detach"]["mean"] < 1.15
    assert levels["without detach"]["low"] > 1.4


def test_the_leaking_column_is_perfect_and_all_others_are_not(found):
    assert found["wonder"] > 0.99
    alone = dict(found["columns alone"])
    assert alone.pop("points") > 0.999
    assert all(0.1 < area < 0.9 for area in alone.values())


def test_esmm_is_calibrated_on_labels_and_wrong_about_the_truth(found):
    rows = {(row["model"], row["metric"]): row["mean"] for row in found["calibration"]}
    for step in ("pCTR", "pCVR", "pCTCVR"):
        assert 0.8 < rows["ESMM", f"{step} PCOC"] < 1.25
    assert found["final, all rows / true"]["ESMM"]["low"] > 1.25


def test_a_curriculum_changes_the_order_of_products_little(found):
    assert len(found["curriculum"]) == 3
    further = (found["coarse first minus half weight"], found["coarse first minus equal, deep"])
    for gap in (*found["curriculum"].values(), *further):
        assert abs(gap["mean"]) < 0.02


def test_half_the_weight_at_all_times_is_no_curriculum(found):
    assert abs(found["curriculum"]["ESMM, half weight"]["mean"]) < 0.006
    assert found["coarse first minus half weight"]["mean"] > -0.002
