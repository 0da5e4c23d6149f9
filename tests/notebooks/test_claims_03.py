"""The claims of notebook 03 hold on what a full run records."""

import pytest

pytestmark = pytest.mark.notebook

TASKS = ("click", "cart", "purchase", "dwell", "return", "rating")


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("03")


def by_candidate(rows):
    return {(row["candidate"], row["task"]): row for row in rows}


@pytest.fixture(scope="module")
def sweep(found):
    return by_candidate(found["sweep"])


@pytest.fixture(scope="module")
def shop(found):
    return by_candidate(found["weights", "synthetic shop"])


@pytest.fixture(scope="module")
def journey(found):
    return by_candidate(found["weights", "Complete Journey"])


def test_the_gradients_by_hand_are_those_of_autograd_and_of_finite_differences(found):
    rows = found["gradients by hand"]
    assert len(rows) == 8
    for row in rows:
        assert row["by hand"] == pytest.approx(row["autograd"], abs=1e-9)
        assert row["by hand"] == pytest.approx(row["finite differences"], abs=1e-6)


def test_the_gradients_are_those_that_the_text_finds_on_paper(found):
    paper = {"yes or no": (0.612, 1.224, -0.269, 0.440), "squared error": (1, 2, -1, 1)}
    for example, numbers in paper.items():
        rows = [r["by hand"] for r in found["gradients by hand"] if r["example"] == example]
        assert rows == pytest.approx(list(numbers), abs=6e-4)


def test_one_sum_for_all_makes_the_first_head_worse(found):
    losses = found["update rules"]
    before = losses["before the step"]
    assert all(new < old for new, old in zip(losses["each head its own"], before, strict=True))
    assert losses["one sum for all"][0] > before[0]


def test_click_drowns_when_dwell_is_measured_in_seconds(found):
    units = {row["unit"]: row for row in found["units"]}
    assert units["seconds"]["high"] < -0.1
    assert units["seconds"]["difference"] < units["minutes"]["difference"] - 0.05
    assert units["standardised"]["high"] < -0.01  # weight 1 is not neutral even so


def test_a_small_weight_of_dwell_costs_click_nothing(sweep):
    for name in ("λ 0.01", "λ 0.1"):
        assert abs(sweep[name, "click"]["difference"]) < 0.01


def test_a_tiny_weight_starves_dwell(sweep):
    assert sweep["λ 0.01", "dwell"]["high"] < 0


def test_equal_weights_make_click_pay_and_more_weight_shows_no_further_gain_for_dwell(found, sweep):
    assert sweep["λ 1", "click"]["high"] < -0.02
    assert sweep["λ 10", "click"]["high"] < -0.05
    assert sweep["λ 10", "click"]["mean"] < sweep["λ 1", "click"]["mean"] - 0.02
    assert found["dwell, λ 10 minus λ 1"]["low"] < 0


def test_no_weight_is_better_than_two_networks_in_either_aim(sweep):
    assert "better" not in {row["verdict"] for row in sweep.values()}


def test_under_adam_only_the_ratio_counts_and_under_sgd_a_weight_is_a_rate(found):
    rows = {row["AUC of click"]: row for row in found["weights and rates"]}
    assert abs(rows["Adam (weights × 10) minus Adam"]["mean"]) < 0.005
    assert rows["SGD (weights × 10) minus SGD"]["low"] > 0.01
    assert abs(rows["SGD (weights × 10) minus SGD (rate × 10)"]["mean"]) < 0.005
    assert rows["Adam (rate × 3, equal weights) minus single task"]["high"] < -0.01


def test_class_weights_spoil_the_chances_as_predicted_and_a_shift_mends_them(found):
    ratio = {name: row["mean"] for name, row in found["predicted / observed"].items()}
    assert 0.85 < ratio["plain"] < 1.2
    assert 2.7 < ratio["each click counts 5 times"] < 4
    expected = ratio["plain, odds times 5"]
    assert expected == pytest.approx(ratio["each click counts 5 times"], abs=0.5)
    assert 0.85 < ratio["the same, mended"] < 1.2
    assert found["auc of class weights"]["mean"] < 0.005  # no better order


def test_a_task_weight_hardly_moves_the_mean_chance_unless_it_starves_the_head(found):
    ratio = {name: row["mean"] for name, row in found["predicted / observed"].items()}
    assert 0.85 < ratio["beside dwell, λ 10"] < 1.4
    assert ratio["beside dwell, click starved, SGD"] > 1.8


def test_the_colleague_praises_what_lost_to_the_single_task_network(found):
    rows = {row["network"]: row for row in found["two measures of improvement"]}
    single, equal = rows["single task"], rows["λ 1"]
    assert equal["colleague, %"] > single["colleague, %"] + 3
    assert equal["against single task, %"] < -4


def test_equal_weights_hurt_and_counting_each_row_alike_gives_click_its_place_back(shop):
    assert shop["equal", "click"]["high"] < 0
    assert shop["equal", "click"]["difference"] < -0.03
    assert abs(shop["by rows", "click"]["difference"]) < 0.02


def test_no_weighting_is_as_good_as_separate_networks_in_all_tasks(shop):
    for rule in ("equal", "by rows", "by loudness", "searched"):
        assert "worse" in [shop[rule, task]["verdict"] for task in TASKS]


def test_the_small_search_finds_nothing_better_than_counting_each_row_alike(found, shop):
    def losses(rule):
        return sum(shop[rule, task]["verdict"] == "worse" for task in TASKS)

    assert found["search"]["minus by rows"]["low"] < 0
    assert losses("by rows") < losses("equal")


def test_weights_by_loudness_give_coupon_of_the_real_shop_more_than_equal_ones(found, journey):
    assert journey["equal", "coupon"]["high"] < 0
    assert found["by loudness minus equal"]["coupon"]["low"] > 0
    assert journey["by loudness", "spend"]["difference"] < -0.01
