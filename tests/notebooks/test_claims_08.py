"""The claims of notebook 08 hold on what a full run records and on the contest."""

from itertools import pairwise

import polars as pl
import pytest

from mtlkit.course import evidence
from mtlkit.lessons.nb08.contest import ALL, BEFORE, EACH, ENVELOPE, KINDS, LATE, RATES, TAIL
from mtlkit.lessons.nb08.sizes import CONTEST_SIZES

pytestmark = pytest.mark.notebook

SHIFTS, TAILS, MANY, ROWS = (CONTEST_SIZES[name][1] for name in ("shifts", "tail", "many", "late"))
MIDDLE, SEEDS = (CONTEST_SIZES[name][1] for name in ("middle", "seeds"))
TASKS = ("click", "purchase")
PLACES = ("search", "feed", "ads")
SHOPS = 5


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("08")


@pytest.fixture(scope="module")
def stored():
    return evidence("08")


def by_scenarios(stored, candidate, column):
    """{shop: {number of scenarios: value}} of a candidate, from the table of costs."""
    rows = stored.table("cost").filter(candidate=candidate)
    return {
        shop: dict(rows.filter(shop=shop).select("scenarios", column).iter_rows())
        for shop in stored.shops
    }


def steps(values):
    """{shop: [change a scenario, from each number of scenarios to the next]}."""
    found = {}
    for shop, one in values.items():
        assert tuple(sorted(one)) == MANY
        pairs = pairwise(MANY)
        found[shop] = [(one[more] - one[less]) / (more - less) for less, more in pairs]
    return found


def measured(stored, **where):
    """{(shop, candidate): tasks} with a number from every start."""
    rows = stored.runs.filter(metric="auc_within", **where)
    rows = rows.drop_nulls([f"seed {seed}" for seed in stored.seeds])
    kept = rows.group_by("shop", "candidate").agg(pl.col("task").sort())
    return {(shop, name): tuple(tasks) for shop, name, tasks in kept.iter_rows()}


def everyone(stored, names):
    return {(shop, name): TASKS for shop in stored.shops for name in (*names, ENVELOPE)}


def test_the_contest_has_five_shops_and_nineteen_models_beside_the_plain_answers(stored):
    assert len(stored.shops) == SHOPS and len(stored.seeds) == SEEDS
    assert set(stored.candidates) == {*KINDS, ENVELOPE}
    assert len(set(KINDS) - {ALL, EACH}) == 19


def test_everyone_does_about_as_many_operations_a_row_at_three_scenarios(stored):
    rows = stored.table("cost").filter(scenarios=3)
    assert len(rows) == len(stored.shops) * len(KINDS)
    for shop in stored.shops:
        flops = dict(rows.filter(shop=shop).select("candidate", "flops_per_row").iter_rows())
        for name in KINDS:
            assert flops[name] == pytest.approx(flops[ALL], rel=0.06), (shop, name)


def test_everyone_has_the_same_four_trials_and_takes_the_best(stored):
    table = stored.table("chosen")
    trials = [name for name in table.columns if name.startswith("trial ")]
    names = [f"rate {rate:g}" for rate in RATES]
    assert len(trials) == len(names) == 4
    assert sorted(table.select("shop", "candidate").iter_rows()) == sorted(
        (shop, name) for shop in stored.shops for name in KINDS
    )
    assert table.select(trials).null_count().sum_horizontal().item() == 0
    for row in table.iter_rows(named=True):
        taken = row[trials[names.index(row["chosen"])]]
        assert taken == max(row[trial] for trial in trials), row


@pytest.mark.parametrize("shift", SHIFTS)
def test_every_candidate_is_measured_on_every_shop_at_every_shift(stored, shift):
    assert measured(stored, training="suited", small=0, shift=shift) == everyone(stored, KINDS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_every_candidate_has_a_score_of_click_in_every_scenario(stored, shift, place):
    task = f"click in {place}"
    rows = stored.runs.filter(
        metric="auc", training="suited", small=0, shift=shift, task=task
    ).drop_nulls()
    wanted = {(shop, name) for shop in stored.shops for name in (*KINDS, ENVELOPE)}
    assert set(rows.select("shop", "candidate").iter_rows()) == wanted


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_usual_training_of_before_is_measured_at_every_shift(stored, shift):
    assert measured(stored, training="plain", shift=shift) == everyone(stored, BEFORE)


@pytest.mark.parametrize("small", TAILS)
def test_those_that_meet_a_small_scenario_are_measured_on_every_shop(stored, small):
    there = measured(stored, training="suited", small=small, shift=MIDDLE)
    assert there == everyone(stored, TAIL)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("task", TASKS)
def test_the_envelope_is_the_better_plain_answer_of_each_shop(stored, task, shift):
    rows = stored.runs.filter(
        task=task, metric="auc_within", training="suited", small=0, shift=shift
    )
    seeds = [f"seed {seed}" for seed in stored.seeds]
    rows = rows.with_columns(pl.mean_horizontal(seeds).alias("mean"))
    for shop in stored.shops:
        mean = dict(rows.filter(shop=shop).select("candidate", "mean").iter_rows())
        assert mean[ENVELOPE] == max(mean[ALL], mean[EACH]), shop


def test_a_newcomer_is_met_with_every_number_of_rows_but_one_each_has_nothing_without(stored):
    late = stored.table("late")
    for shop in stored.shops:
        for name in LATE:
            rows = late.filter(shop=shop, candidate=name)["rows"].unique().sort().to_list()
            assert rows == [count for count in ROWS if count or name != EACH], (shop, name)


@pytest.mark.parametrize("name", ["STAR", "MLoRA", "scenario towers"])
def test_the_parameters_of_star_mlora_and_towers_grow_evenly_with_the_scenarios(stored, name):
    for shop, slopes in steps(by_scenarios(stored, name, "parameters")).items():
        assert min(slopes) > 0 and max(slopes) == pytest.approx(min(slopes), rel=1e-9), shop
        own = by_scenarios(stored, name, "of_scenarios")[shop]
        for number in MANY:
            assert own[number] >= 0.9 * slopes[0] * number, (shop, number)


def test_a_scenario_costs_star_more_than_mlora(stored):
    star, mlora = (steps(by_scenarios(stored, n, "parameters")) for n in ("STAR", "MLoRA"))
    for shop in stored.shops:
        assert star[shop][0] > 5 * mlora[shop][0], shop


def test_epnet_grows_by_one_vector_of_eight_a_scenario(stored):
    total, own = (by_scenarios(stored, "EPNet", c) for c in ("parameters", "of_scenarios"))
    for shop, slopes in steps(total).items():
        assert slopes == [8] * (len(MANY) - 1), shop
        assert own[shop] == {number: 8 * number for number in MANY}, shop


def test_one_for_all_and_the_embedding_shift_grow_in_no_layer_and_the_shift_in_its_tables(stored):
    for name in (ALL, "embedding shift"):
        for slopes in steps(by_scenarios(stored, name, "parameters")).values():
            assert set(slopes) == {0}, name
    plain, shifted = (by_scenarios(stored, n, "embeddings") for n in (ALL, "embedding shift"))
    for shop in stored.shops:
        for less, more in pairwise(MANY):
            grown = shifted[shop][more] - shifted[shop][less]
            assert grown >= (more - less) * plain[shop][less], (shop, more)


def test_one_tower_for_everyone_serves_the_last_scenario_right_and_no_other(found):
    lines = {line["scenario"]: line for line in found["served"]}
    assert tuple(lines) == ("all", *PLACES)
    *others, last = PLACES
    right, served = "AUC, own tower", "AUC as served"
    assert lines[last][served] == pytest.approx(lines[last][right], abs=1e-5)
    for name in others:
        assert lines[name][served] < lines[name][right], name


# What the text says of results

WHERE = {"task": "click", "metric": "auc_within", "training": "suited", "small": 0}


def gap(stored, candidate, reference, shift, **more):
    """The difference over shops with its interval."""
    return stored.difference(candidate, reference, **(WHERE | {"shift": shift} | more)).headline


def test_one_each_loses_at_no_shift_and_gains_at_full_shift(stored):
    lost, won = (gap(stored, EACH, ALL, shift) for shift in (0.0, 1.0))
    assert f"{lost.mean:.3f}" == "-0.011" and lost.high < 0
    assert f"{won.mean:.3f}" == "0.065" and won.low > 0


def test_nobody_beats_the_scenario_feature_at_no_shift_and_eight_models_do_at_a_half(stored):
    others = [name for name in KINDS if name != "scenario feature"]
    clear = {
        shift: [n for n in others if gap(stored, n, "scenario feature", shift).low > 0]
        for shift in (0.0, 0.5)
    }
    assert clear[0.0] == []
    assert EACH in clear[0.5] and len(clear[0.5]) == 9
    assert f"{gap(stored, 'embedding shift', 'scenario feature', 0.5).mean:.3f}" == "0.014"


def test_the_embedding_shift_is_just_above_the_envelope_at_a_half_and_one(stored):
    none, half, full = (gap(stored, "embedding shift", ENVELOPE, shift) for shift in SHIFTS)
    assert f"{half.mean:.3f}" == "0.005" and half.low > 0
    assert f"{full.mean:.3f}" == "0.003" and full.low > 0
    assert none.high > 0
    assert len(KINDS) - 2 == 19 and 3 * 19 == 57


def test_star_is_further_below_the_envelope_where_it_is_trained_without_a_prior(stored):
    suited, plain = (gap(stored, "STAR", ENVELOPE, 0.5, training=t) for t in ("suited", "plain"))
    assert f"{suited.mean:.3f}" == "-0.007" and f"{plain.mean:.3f}" == "-0.036"


def test_with_few_rows_one_each_falls_and_nobody_shown_is_clearly_above(stored):
    ads = {"task": "click in ads", "training": "suited", "shift": 0.5}
    assert f"{stored.mean(EACH, small=0, **ads):.3f}" == "0.725"
    assert f"{stored.mean(EACH, small=500, **ads):.3f}" == "0.613"
    for name in (ALL, "scenario feature", "STAR", "MLoRA", "embedding shift"):
        assert 0.66 < stored.mean(name, small=500, **ads) < 0.68, name
        assert stored.difference(name, ENVELOPE, small=500, **ads).headline.low < 0, name


def test_a_hundred_rows_make_a_newcomer_worse_and_ten_thousand_better_than_a_new_model(stored):
    late = stored.table("late").group_by("candidate", "rows").agg(pl.mean("click"))
    mean = {(name, rows): value for name, rows, value in late.iter_rows()}
    for name in LATE:
        if name != EACH:
            assert 0.64 <= mean[name, 0] < 0.67, name
            assert mean[name, 100] < mean[name, 0], name
            assert mean[name, 10_000] > mean[EACH, 10_000], name


def test_at_a_hundred_scenarios_a_step_takes_as_long_as_the_text_says(stored):
    cost = stored.table("cost").filter(scenarios=100).group_by("candidate").agg(pl.median("step"))
    step = dict(cost.iter_rows())
    assert f"{step['HMoE']:.0f}" == "22" and f"{step['STAR']:.0f}" == "8"
    assert f"{step['embedding shift']:.1f}" == "2.6"


def test_one_each_is_furthest_behind_in_ads_with_few_rows(found):
    rows = pl.DataFrame(found["few rows"]).filter(scenario="ads", task="click").sort("auc")
    assert rows["model"][0] == EACH


def test_one_each_is_behind_one_for_all_in_the_pooled_auc_and_ahead_within_scenarios(found):
    rows = pl.DataFrame(found["few rows"]).filter(scenario="all", task="click")
    auc = {model: (pooled, inside) for model, pooled, inside in
           rows.select("model", "auc", "auc_within").iter_rows()}  # fmt: skip
    assert auc[EACH][0] < auc[ALL][0] and auc[EACH][1] > auc[ALL][1]
