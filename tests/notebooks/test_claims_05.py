"""What notebook 05 says about weights that adapt, tested on the results of a full run."""

import pytest

pytestmark = [pytest.mark.notebook, pytest.mark.slow]

ADAPTIVE = ("UW", "IMTL-L", "GLS", "DWA", "GradNorm", "FAMO", "STCH", "schedule")


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("05")


@pytest.fixture(scope="module")
def contest(found):
    return {(row["base"], row["measure"], row["method"]): row for row in found["contest"]}


@pytest.fixture(scope="module")
def moved(found):
    return {row["rule"]: row for row in found["weights over time"]}


def test_uncertainty_weighting_comes_to_rest_at_half_of_one_over_the_loss(found):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    for task in ("click", "purchase", "dwell"):
        ratio = rows[task]["weight"] / rows[task]["1 / (2 loss)"]
        assert 0.85 < ratio < 1.15, task
    assert rows["click"]["weight"] == pytest.approx(1.8, abs=0.3)


def test_tasks_with_few_labels_are_learned_by_heart_and_the_weight_of_return_rises(found, moved):
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    for task in ("purchase", "dwell", "return"):
        assert rows[task]["loss on validation rows"] > 1.5 * rows[task]["loss"], task
        assert rows[task]["loss on validation rows"] > rows[task]["base loss"], task
    assert rows["return"]["loss on validation rows"] > 4 * rows["return"]["loss"]
    assert rows["return"]["weight"] > 1.5
    assert moved["UW"]["return"] > 1.5


def test_famo_does_the_opposite_of_uncertainty_weighting_with_return(found, moved):
    assert moved["FAMO"]["return"] < 0.5
    assert moved["FAMO"]["click"] > 2
    rows = {row["task"]: row for row in found["weights of UW at rest"]}
    falls = {task: row["loss"] / row["base loss"] for task, row in rows.items()}
    assert max(falls, key=falls.get) == "click" and min(falls, key=falls.get) == "return"


def test_the_package_finds_the_weights_that_the_loop_by_hand_finds(found, moved):
    for row in found["weights of UW at rest"]:
        assert moved["UW"][row["task"]] == pytest.approx(row["weight"], rel=0.15)


def test_dwa_stays_near_one_though_a_loss_falls_fast_and_the_dice_even_out(found, moved):
    assert moved["DWA"]["farthest from 1"] < 0.15
    assert found["DWA and the dice"]["least r"] < 0.85
    assert found["DWA and the dice"]["farthest"] > 0.5
    assert moved["RLW"]["farthest from 1"] < 0.6


def test_everybody_had_four_trials(found):
    assert len(found["search"]) == 13
    for row in found["search"]:
        assert all(isinstance(row[f"trial {number}"], float) for number in range(1, 5))


@pytest.mark.parametrize("base", ["tuned constant", "1 / base loss"])
def test_no_rule_that_adapts_beats_a_constant_on_the_four_tasks_together(contest, base):
    for method in (*ADAPTIVE, "random weights", "equal"):
        row = contest[base, "score", method]
        assert row["together"] != "better", row
        assert row["difference"] < 0.015, row


def test_on_click_the_tuned_constant_leads_and_on_return_it_pays(contest):
    for method in (*ADAPTIVE, "random weights", "equal", "1 / base loss"):
        assert contest["tuned constant", "click", method]["difference"] < -0.004, method
    for method in ("UW", "GLS", "1 / base loss"):
        assert contest["tuned constant", "return", method]["from"] > 0, method


@pytest.mark.parametrize("method", ["UW", "IMTL-L", "GLS"])
@pytest.mark.parametrize("measure", ["click", "return"])
def test_what_divides_by_the_loss_lands_where_one_over_the_base_loss_lands(
    contest, method, measure
):
    row = contest["1 / base loss", measure, method]
    assert abs(row["difference"]) < 0.03
    assert row["together"] != "better"


def test_equal_weights_lose_click_to_the_tuned_constant(contest):
    row = contest["tuned constant", "click", "equal"]
    assert row["to"] < 0
    assert -0.08 < row["difference"] < -0.01


def test_most_rules_beat_the_dice_on_the_four_tasks_together(contest):
    told = [contest["random weights", "score", method]["verdict"] for method in ADAPTIVE]
    assert told.count("better") > len(ADAPTIVE) / 2
    assert "worse" not in told


def test_on_click_uncertainty_weighting_beats_the_dice_and_dwa_and_stch_do_not(contest):
    assert contest["random weights", "click", "UW"]["from"] > 0
    for method in ("DWA", "STCH"):
        assert contest["random weights", "click", method]["verdict"] == "no difference seen"


def test_the_tuned_constant_keeps_up_with_single_task_networks_on_click(contest):
    assert abs(contest["tuned constant", "click", "single task"]["difference"]) < 0.02


def test_in_seconds_gls_saves_click_and_a_constant_does_too(found):
    rows = {row["weighting"]: row for row in found["dwell in seconds"]}
    for name in ("GLS", "1 / base loss"):
        assert rows[name]["from"] > 0
        assert rows[name]["click AUC"] > rows["equal"]["click AUC"] + 0.04
        assert rows[name]["dwell R²"] < rows["equal"]["dwell R²"] - 0.02
    assert abs(rows["UW, speed 0.03"]["difference"]) < 0.03
    assert rows["UW, speed 0.3"]["difference"] < rows["GLS"]["difference"]
    assert abs(found["GLS against a constant, dwell in seconds"]["mean"]) < 0.015


def test_the_score_does_not_fall_when_gradnorm_has_a_slip(found):
    assert found["GradNorm with a slip"]["high"] > 0


def test_famo_looks_at_a_batch_twice_and_nobody_reaches_the_best_possible(found):
    rows = {row["candidate"]: row for row in found["overview"]}
    assert rows["FAMO"]["forward"] == 2
    assert {row["backward"] for name, row in rows.items() if name != "best possible"} == {1}
    best = rows.pop("best possible")
    for row in rows.values():
        assert row["click"] < best["click"] - 0.03
    assert rows["single task"]["parameters"] > 3 * rows["equal"]["parameters"]
