"""The claims of notebook 04 hold on what a full run records."""

import pytest

pytestmark = pytest.mark.notebook

WEIGHTED = ("ESCM2-IPW", "ESCM2-DR", "ESCM2-DR, label")
WAYS = ("naive", "ESMM", *WEIGHTED)


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
    best = found["perfect on clicked rows / true"]
    assert best["0"] == pytest.approx(1, abs=0.05)
    assert best["2"] > 2


def test_the_weights_lower_the_error_of_a_line_at_every_dial(found):
    gaps = [found["error minus naive"][dial]["ESCM2-IPW"] for dial in "012"]
    assert all(gap["mean"] < -0.2 for gap in gaps)  # points of per cent
    assert sum(gap["high"] < 0 for gap in gaps) >= 2


def test_a_network_that_can_bend_has_no_use_for_the_weights(found):
    errors = found["family"]["error minus naive"]
    for name in ("ESCM2-IPW", "ESCM2-DR"):
        assert errors[name]["high"] > -0.4
        assert errors[name]["mean"] > found["error minus naive"]["1"][name]["mean"]


def test_sharing_a_hidden_layer_levels_what_the_naive_training_says(found):
    deep = found["family"]["never clicked / true"]
    assert 0.85 < deep["naive"]["mean"] < 1.22
    assert deep["single task"]["mean"] > deep["naive"]["mean"] + 0.03


def test_no_link_sorts_the_products_better_than_separate_networks(found):
    gaps = found["family"]["auc, differences"]
    for name in ("naive", "ESMM", "ESCM2-IPW", "ESCM2-DR", "ESM2", "AITM", "DBMTL"):
        assert gaps[f"{name} - single task"]["mean"] < 0.008
    cost = {row["candidate"]: row for row in found["family cost"]}
    assert cost["single task"]["parameters"] > 2 * cost["ESMM"]["parameters"]


def test_esmm_does_as_well_as_its_larger_relatives(found):
    gaps = found["family"]["auc, differences"]
    for name in ("ESM2", "AITM", "DBMTL"):
        assert gaps[f"{name} - naive"]["mean"] < gaps["ESMM - naive"]["mean"] + 0.01


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
    rows = {(row["model"], row["metric"]): row for row in found["on test days"]}
    for step in ("pCTR", "pCVR", "pCTCVR"):
        assert 0.8 < rows["ESMM", f"{step} pcoc"]["mean"] < 1.25
    assert rows["ESMM", "all rows / true"]["low"] > 1.25


def test_a_curriculum_changes_the_order_of_products_little(found):
    gaps = found["curriculum"]
    assert len(gaps) == 7
    assert all(abs(gap["mean"]) < 0.02 for gap in gaps.values())


def test_half_the_weight_at_all_times_is_no_curriculum(found):
    gaps = found["curriculum"]
    assert abs(gaps["line: ESMM, half weight - ESMM"]["mean"]) < 0.006
    assert gaps["line: ESMM, coarse first - ESMM, half weight"]["mean"] > -0.002


def test_what_the_doubly_robust_head_guesses_makes_no_visible_difference(found, ratio):
    adds = found["what the robust form adds"]
    for dial in "012":
        assert set(adds[dial]) == {"ESCM2-DR", "ESCM2-DR, label"}
        for name, gap in adds[dial].items():
            assert abs(gap["mean"]) < 0.5  # points of per cent; weights are worth 0.9 and more
            assert gap["low"] < 0.1 and gap["high"] > -0.1
            assert (
                abs(ratio[dial][name]["all"]["mean"] - ratio[dial]["ESCM2-IPW"]["all"]["mean"])
                < 0.1
            )


def test_esmms_line_puts_the_click_too_low_where_the_clicks_are(found):
    assert found["ESMM's click on clicked rows / true"]["high"] < 0.8


def test_weighted_lines_stay_below_a_perfect_model_of_clicked_rows(found, ratio):
    for dial in ("1", "2"):
        for name in WEIGHTED:
            best = found["perfect on clicked rows / true"][dial]
            assert ratio[dial][name]["all"]["mean"] < best
            assert ratio[dial][name]["clicked"]["mean"] < 0.97
