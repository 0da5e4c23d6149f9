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
    assert lines[last]["served"] == pytest.approx(lines[last]["right"], abs=1e-5)
    for name in others:
        assert lines[name]["served"] != lines[name]["right"], name
