"""The contest of notebook 07 is a fair one: equal sizes, equal trials, the same on every shop."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit import Market, MMoE
from mtlkit.course import evidence
from mtlkit.course.learner import lesson
from mtlkit.course.learner.modes import sizes
from mtlkit.models import flops_per_row

contest = lesson.module("07", "contest")
watch = lesson.module("07", "watch")
balanced = lesson.module("07", "balanced")
SIZE = sizes("07", "full", of_contest=True)
NETWORKS = [*contest.KINDS, contest.BALANCED]
NAMES = [*NETWORKS, contest.LONGER]
CORRELATION, ROWS = SIZE.middle
MEASURES = ["auc", "normalized_entropy"]


@pytest.fixture(scope="module")
def found():
    return evidence("07")


@pytest.fixture(scope="module")
def train():
    return Market("small", seed=0).impressions(300).select_tasks(contest.TASKS)


@pytest.fixture(scope="module")
def new(train):
    """{candidate: a new network of it}."""
    wide = contest.widths(train.schema)
    return {name: contest.network(0, name, train.schema, wide[name]) for name in contest.KINDS}


def held(model):
    count = model.parameter_count()
    return count["total"] - count["embedding"], count["embedding"]


def test_all_networks_are_of_equal_size_within_2_percent(new):
    wanted, table = held(new["MMoE"])
    assert wanted == 4 * (425 * 64 + 64 + 64 * 32 + 32) + 2 * 4 * 425 + 2 * (32 * 16 + 16 + 16 + 1)
    for name, model in new.items():
        network, embeddings = held(model)
        assert abs(network / wanted - 1) < 0.02, name
        if name == "separate":
            assert embeddings == 2 * table  # each task has one of its own
        elif name == "STEM":
            assert abs(embeddings / table - 1) < 0.04  # three thin ones
        else:
            assert embeddings == table


def test_all_networks_do_equally_much_a_row_within_2_percent(new, train):
    batch = train.batch(torch.arange(64))
    wanted = flops_per_row(new["MMoE"], batch)
    for name, model in new.items():
        assert abs(flops_per_row(model, batch) / wanted - 1) < 0.02, name


def test_the_stored_table_of_costs_tells_of_these_networks(found, new):
    cost = found.table("cost")
    for shop in found.shops:
        own = cost.filter(shop=shop)
        assert own["candidate"].to_list() == NETWORKS
        rows = {row["candidate"]: row for row in own.iter_rows(named=True)}
        for name in NETWORKS:
            model = new["MMoE" if name == contest.BALANCED else name]
            assert (rows[name]["parameters"], rows[name]["embeddings"]) == held(model)
        assert rows["shared"]["step"] == 1
        assert all(0.5 < row["step"] < 5 for row in rows.values())


def test_everyone_has_six_trials_and_the_best_of_them_was_chosen(found, train):
    chosen, trials = found.table("chosen"), contest.trials(train.schema)
    assert list(trials) == NAMES and {len(own) for own in trials.values()} == {6}
    numbers = [name for name in chosen.columns if name.startswith("trial ")]
    assert len(numbers) == 6 and not chosen.select(numbers).null_count().sum_horizontal().item()
    for shop in found.shops:
        own = chosen.filter(shop=shop)
        assert own["candidate"].to_list() == ["separate", *NAMES]
        assert own["judged by"].to_list() == [
            *contest.TASKS, *[" and ".join(contest.TASKS)] * (len(NAMES) - 1)
        ]  # fmt: skip
        for row in own.iter_rows(named=True):
            best = list(trials[row["candidate"]]).index(row["chosen"])
            assert row[numbers[best]] == max(row[name] for name in numbers)


def test_the_shared_bottom_of_equal_time_trains_twice_as_long_as_all_others(monkeypatch, train):
    searched, measured, size = {}, {}, sizes("07", "smoke", of_contest=True)

    def tune(part, split, *, fit_options, **_):
        searched.update(dict.fromkeys(part, fit_options["epochs"]))
        chosen = {name: next(iter(trials)) for name, trials in part.items()}
        return SimpleNamespace(chosen=chosen, frame=lambda: pl.DataFrame({"candidate": [*part]}))

    def compare(factories, split, *, fit_options, **_):
        names = {name.partition(":")[0] for name in factories}
        measured.update(dict.fromkeys(names, fit_options["epochs"]))
        runs = {"task": "click", "metric": "auc", "seed": 0, "value": 0.5}
        return SimpleNamespace(runs=pl.DataFrame([{"candidate": key, **runs} for key in factories]))

    monkeypatch.setattr(contest, "tune", tune)
    monkeypatch.setattr(contest, "compare", compare)
    for name in ("cost", "balance", "untrained"):
        monkeypatch.setattr(contest, name, lambda *_: pl.DataFrame())
    monkeypatch.setattr(contest, "looked_at", lambda *_: {})
    contest.contest(0, size, None)
    wanted = {name: (1 + (name == contest.LONGER)) * size.epochs for name in NAMES}
    assert searched == measured == wanted


def test_all_that_share_try_the_same_rates_and_weights(train):
    trials = contest.trials(train.schema)
    sharing = [own for name, own in trials.items() if name not in ("separate", contest.BALANCED)]
    assert all(list(own) == list(sharing[0]) for own in sharing)
    for own in trials.values():
        for what, (_, options) in own.items():
            assert what.startswith(f"rate {options['learning_rate']:g}")


def test_every_shop_has_the_same_candidates_at_every_point_of_the_map(found):
    runs = found.runs
    assert len(found.seeds) == SIZE.seeds and list(found.candidates) == NAMES
    assert not runs.null_count().sum_horizontal().item()
    for shop, correlation, rows in product(found.shops, SIZE.correlations, SIZE.rows):
        names = NAMES if (correlation, rows) == SIZE.middle else contest.EVERYWHERE
        own = runs.filter(shop=shop, correlation=correlation, rows=rows)
        assert own.select("candidate", "task", "metric").rows() == [
            (name, *rest) for name in names for rest in product(contest.TASKS, MEASURES)
        ]
    points = len(SIZE.correlations) * len(SIZE.rows) - 1
    cells = points * len(contest.EVERYWHERE) + len(NAMES)
    assert len(runs) == len(found.shops) * cells * len(contest.TASKS) * len(MEASURES)


def test_where_notebook_02_chose_the_same_its_mmoe_is_the_same_to_the_last_digit(found):
    before, same = evidence("02"), 0
    both = "MMoE, chosen weight"
    for shop in found.shops:
        if found.chosen("MMoE", shop=shop) != before.chosen(both, shop=shop):
            continue
        for point in product(SIZE.correlations, SIZE.rows, contest.TASKS):
            place = dict(zip(("correlation", "rows", "task"), point, strict=True))
            here, there = (
                one.runs.filter(shop=shop, candidate=name, metric="auc", **place)
                .select(pl.col("^seed .*$"))
                .row(0)
                for one, name in ((found, "MMoE"), (before, both))
            )
            assert here == there
            same += 1
    assert same


def test_the_load_balancing_loss_counts_in_training_alone(train):
    options = {"embedding_dim": 4, "hidden": (8, 4), "tower": (4,)}
    torch.manual_seed(0)
    plain = MMoE(train.schema, **options)
    model = balanced.BalancedMMoE(train.schema, strength=0.5, **options)
    with torch.no_grad():
        for weight in plain.gates.parameters():
            weight.mul_(100)
    model.load_state_dict(plain.state_dict())
    batch = train.batch(torch.arange(50))
    loads = [gate(plain.embed(batch)).sum(0).detach().numpy() for gate in plain.gates]
    own = [load.var() / load.mean() ** 2 for load in loads]  # one a task
    assert min(own) > 0.001
    for training, more in ((True, 0.5 * np.array(own)), (False, np.zeros(2))):
        model.train(training)
        losses, before = (one.losses(one(batch), batch).detach().numpy() for one in (model, plain))
        np.testing.assert_allclose(losses - before, more, rtol=1e-3, atol=1e-6)


def test_strength_0_of_the_table_of_balance_is_mmoe_and_the_rest_its_trials(found, train):
    scores = found.table("balance").with_columns(score=(pl.col("click") + pl.col("purchase")) / 2)
    trials = contest.trials(train.schema)
    for shop in found.shops:
        own = scores.filter(shop=shop)
        assert len(own) == 2 * (1 + len(contest.STRENGTHS))
        for row in own.iter_rows(named=True):
            name = contest.BALANCED if row["strength"] else "MMoE"
            what = f"rate {row['rate']:g}, weight 0.1"
            what += f", strength {row['strength']:g}" if row["strength"] else ""
            number = list(trials[name]).index(what) + 1
            [score] = found.table("chosen").filter(shop=shop, candidate=name)[f"trial {number}"]
            assert row["score"] == pytest.approx(score, abs=2e-5)
            assert 0 <= row["smallest"] <= 0.25 <= row["largest"] <= 1


def test_experts_are_those_of_the_networks_before_and_after_training(found, new):
    table, with_experts = found.table("experts"), [
        name for name in NETWORKS if isinstance(new.get(name, new["MMoE"]), watch.WITH_EXPERTS)
    ]  # fmt: skip
    assert with_experts == ["OMoE", "MMoE", "CGC", "PLE", "AdaTT", "STEM", contest.BALANCED]
    for shop, name in product(found.shops, with_experts):
        levels = new.get(name, new["MMoE"]).expert_levels()
        owners = [
            (level, number, owner)
            for level, one in enumerate(levels, start=1) for number, owner in enumerate(one.owners)
        ]  # fmt: skip
        for trained, seeds in ((True, range(min(3, SIZE.seeds))), (False, (0,))):
            own = table.filter(shop=shop, candidate=name, trained=trained)
            if name == contest.BALANCED and not trained:
                assert own.is_empty()  # it starts as MMoE does
                continue
            assert own.select("seed", "level", "expert", "owner").rows() == [
                (seed, *row) for seed in seeds for row in owners
            ]
    for what in ("zeros", "dead", "load", "most", "similarity"):
        assert table[what].is_between(0, 1).all()


def test_gates_share_out_all_of_their_weight_in_every_scenario(found):
    table = found.table("gates")
    for shop in found.shops:
        assert table.filter(shop=shop)["candidate"].unique(maintain_order=True).to_list() == [
            name for name in NAMES if name in contest.SHOWN
        ]
    sums = table.group_by("shop", "candidate", "level", "reader", "scenario").agg(
        pl.sum("weight"), pl.len().alias("experts")
    )
    assert sums["scenario"].n_unique() == 3 and (sums["experts"] >= 3).all()
    np.testing.assert_allclose(sums["weight"], 1, atol=1e-4)
