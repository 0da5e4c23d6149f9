"""What makes the two contests of scenario models on real data fair, and their arithmetic."""

from functools import partial
from itertools import product

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.comparison import paired
from mtlkit.course import study
from mtlkit.lessons.nb08.studies import journey, kuairand
from mtlkit.lessons.nb08.studies._contest import (
    CANDIDATES,
    NETWORKS,
    PLAIN,
    REFERENCE,
    TREES,
    drawn,
    heads,
    measure,
    scores,
    widening,
)
from mtlkit.metrics import auc
from mtlkit.models.adapt import ScenarioFeature

pytestmark = pytest.mark.notebook
PLACES = [("kuairand", None), *(("journey", view) for view in journey.VIEWS)]
MODULES = {"kuairand": kuairand, "journey": journey}


@pytest.fixture(params=PLACES, ids=lambda place: place[1] or place[0])
def contest(request):
    """(table, full sizes, tasks): the stored tables of one contest, and what it was to do."""
    name, view = request.param
    found = study("08", name)

    def table(which):
        whole = found.table(which)
        return whole if view is None else whole.filter(view=view)

    return table, {k: full for k, (_, full) in MODULES[name].SIZES.items()}, MODULES[name].TASKS


def test_everyone_has_six_trials_and_a_choice_among_them(contest):
    table, _, _ = contest
    trials = table("trials")
    scored = trials.select(f"trial {number}" for number in range(1, 7))
    assert [name for name in trials.columns if name.startswith("trial")] == scored.columns
    assert np.isfinite(scored.to_numpy()).all()
    assert trials["candidate"].to_list() == list(CANDIDATES)
    kinds = ["leaves" if name == TREES else "rate" for name in trials["candidate"]]
    assert all(kind in chosen for kind, chosen in zip(kinds, trials["chosen"], strict=True))
    assert len(MODULES["kuairand"].PRACTICES) == len(MODULES["journey"].PRACTICES) == 6


def test_everyone_has_the_same_seeds_and_is_measured_in_the_same_places(contest):
    table, sizes, tasks = contest
    runs = table("runs")
    assert np.isfinite(runs["value"].to_numpy()).all()
    places = runs.select("task", "scenario", "metric", "seed").unique()
    assert runs.height == len(CANDIDATES) * places.height
    assert runs.n_unique(["candidate", "task", "scenario", "metric", "seed"]) == runs.height
    assert set(runs["candidate"]) == set(CANDIDATES) and set(runs["task"]) == set(tasks)
    assert sorted(runs["seed"].unique()) == list(range(sizes["seeds"]))
    whole = places.filter(scenario="all")
    metrics = ["auc", "auc_within", "auc_between", "mean", "head", "tail", "gauc"]
    expected = set(product(tasks, metrics, range(sizes["seeds"])))
    assert expected <= set(whole.select("task", "metric", "seed").rows())


def test_the_scores_follow_from_the_runs(contest):
    table, sizes, _ = contest
    runs, factor = table("runs"), widening(sizes["seeds"], sizes["share"])
    picked = table("scores").filter(metric="mean", scenario="all")
    assert picked.height == len(CANDIDATES) * runs["task"].n_unique()
    for row in picked.iter_rows(named=True):
        own = runs.filter(task=row["task"], metric="mean").sort("seed")
        values = {name: own.filter(candidate=name)["value"] for name in CANDIDATES}
        assert row["mean"] == pytest.approx(values[row["candidate"]].mean(), rel=2e-5)
        best = max(PLAIN, key=lambda name: values[name].mean())
        assert row["envelope_of"] == best
        for name, base in (("feature", REFERENCE), ("envelope", best)):
            found = paired(values[row["candidate"]], values[base])
            mean, low, high = found.headline
            assert row[name] == pytest.approx(mean, abs=2e-5)
            assert row[f"{name}_low"] == pytest.approx(low, abs=2e-5)
            wide = (row[f"{name}_wide_low"], row[f"{name}_wide_high"])
            assert wide == pytest.approx(
                (mean - factor * (mean - low), mean + factor * (high - mean)), abs=1e-4
            )


def test_the_mean_head_and_tail_are_those_of_the_scenarios(contest):
    table, _, tasks = contest
    runs, head = table("runs"), set(table("scenarios").filter(pl.col("head"))["scenario"])
    groups = {"mean": pl.lit(True), "head": pl.col("scenario").is_in(head)}
    groups["tail"] = ~groups["head"]
    for task, (metric, chosen) in product(tasks, groups.items()):
        own = runs.filter(pl.col("scenario") != "all", task=task, metric="auc", seed=0)
        whole = runs.filter(scenario="all", task=task, metric=metric, seed=0)
        means = own.filter(chosen).group_by("candidate").agg(pl.col("value").mean())
        for name, mean in means.iter_rows():
            assert whole.filter(candidate=name)["value"].item() == pytest.approx(mean, abs=2e-5)


def test_operations_are_equal_and_embeddings_many_times_those_of_two(contest):
    table, _, _ = contest
    cost = {row["candidate"]: row for row in table("cost").iter_rows(named=True)}
    assert set(cost) == set(CANDIDATES)
    for name in NETWORKS:
        own = cost[name]
        parts = (own[part] for part in ("embedding", "shared", "scenarios", "tasks"))
        assert own["parameters"] == sum(parts) and own["flops_per_row"] > 0
        assert own["flops_per_row"] == pytest.approx(cost["one for all"]["flops_per_row"], rel=0.06)
    tables = {name: cost[name]["embedding"] for name in NETWORKS}
    feature, alone, places = tables[REFERENCE], tables["one for all"], table("scenarios").height + 1
    assert tables.pop("one each") == places * alone  # one more for the unknown scenario
    assert tables.pop("embedding shift") == feature + places * alone
    assert all(size in (feature, alone) for size in tables.values())


def test_a_seed_draws_units_and_keeps_their_rows_of_all_periods():
    whole = partial(journey.whole, "department")
    split, all_rows = drawn(3, whole, "product", 0.2), whole()
    units = [set(part.keys["product"].tolist()) for part in all_rows]
    mine = [set(part.keys["product"].tolist()) for part in split]
    assert len(mine[0]) == round(0.2 * len(units[0])) and mine[0] == mine[1] == mine[2]
    assert mine[0] != set(drawn(4, whole, "product", 0.2).train.keys["product"].tolist())
    for part, other in zip(split, all_rows, strict=True):
        kept = torch.isin(other.keys["product"], torch.tensor(sorted(mine[0])))
        assert torch.equal(part.row_id, other.row_id[kept])
        weeks = len(other) // len(units[0])
        assert len(part) == weeks * len(mine[0])


def test_heads_are_the_fewest_that_hold_half_of_the_rows():
    assert heads({"a": 3, "b": 9, "c": 4}) == {"b"}
    assert heads({"a": 3, "b": 5, "c": 4}) == {"b", "c"}
    assert heads({"a": 4, "b": 4}) == {"a"}
    assert heads({"a": 5, "b": 3, "c": 2}) == {"a"}


def test_the_widened_interval_holds_the_mean_of_the_population():
    generator = np.random.default_rng(0)
    seeds, share, units, held, narrow = 5, 0.6, 60, 0, 0
    for _ in range(2_000):
        world = generator.normal(size=units)
        chosen = [generator.permutation(units)[: int(share * units)] for _ in range(seeds)]
        found = paired([world[c].mean() for c in chosen], np.zeros(seeds)).headline
        half = found.high - found.mean
        narrow += abs(found.mean) <= half
        held += abs(found.mean) <= widening(seeds, share) * half
    assert held / 2_000 == pytest.approx(0.95, abs=0.02)
    assert narrow / 2_000 < 0.75


def test_measure_is_the_mean_of_the_scenarios_own_aucs():
    whole = partial(journey.whole, "department")
    table = drawn(0, whole, "product", 0.2).validation
    torch.manual_seed(0)
    model = ScenarioFeature(table.schema, embedding_dim=2, hidden=(4,), tower=(3,))
    found = measure(model, table, group="group", head={"GROCERY"})["spike"]
    seen = table.mask("spike")
    with torch.no_grad():
        chance = model.predict(table.batch(torch.arange(len(table))))["spike"][seen].numpy()
    label, place = table.label("spike")[seen].numpy(), table.scenario[seen].numpy()
    names = table.schema.scenario_names
    own = {n: auc(label[place == k], chance[place == k]) for k, n in enumerate(names)}
    assert found["head"] == pytest.approx(own.pop("GROCERY"))
    assert found["tail"] == pytest.approx(np.nanmean(list(own.values())))
    assert found["auc"] == pytest.approx(auc(label, chance))


def test_scores_take_the_better_plain_answer_and_turn_the_sign_of_losses():
    rows = [
        {"candidate": name, "task": "t", "scenario": "all", "metric": metric, "seed": seed,
         "value": 0.5 + 0.01 * number + 0.001 * seed * number}
        for number, name in enumerate(CANDIDATES)
        for metric in ("auc", "normalized_entropy")
        for seed in range(3)
    ]  # fmt: skip
    found = scores(pl.DataFrame(rows), 0.5)
    for metric, best, verdict in (
        ("auc", "one each", "better"), ("normalized_entropy", "one for all", "worse"),
    ):  # fmt: skip
        own = found.filter(metric=metric)
        assert own["envelope_of"].unique().to_list() == [best]
        assert own.filter(candidate=TREES)["envelope_verdict"].item() == verdict
        assert own.filter(candidate=REFERENCE)["feature"].item() == 0
