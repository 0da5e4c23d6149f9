"""Rows that weigh whole numbers train, and are measured, as rows that stand so many times."""

import math
from itertools import cycle

import pytest
import torch

from mtlkit.balance import EVERY_BALANCER
from mtlkit.data import Join
from mtlkit.losses import masked_mass, masked_mean
from mtlkit.losses.chain import joint_losses
from mtlkit.models import Constant, SharedBottom, Trees
from mtlkit.train import evaluate, fit, seeded
from tests import tiny
from tests.models import registry
from tests.models.test_grid import OWN
from tests.repeats import counts, repeated, with_weight

PLAIN = {"device": "cpu", "precision": "fp32", "progress": False}
SMALL = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}


def doubled(table):
    table.dense = table.dense.double()
    return table


def pair(name, seed=0, rows=24, least=0):
    """(the table with weights, the table with repeated rows)."""
    table = registry.table(name, rows=rows, seed=seed)
    times = counts(rows, seed).clamp(min=least)
    return doubled(with_weight(table, times)), doubled(repeated(table, times))


def gradients(model, batch):
    losses = model.losses(model(batch), batch)
    found = []
    for loss in losses:  # of each task apart
        parts = torch.autograd.grad(
            loss, list(model.parameters()), retain_graph=True, allow_unused=True
        ) if loss.requires_grad else [None] * len(list(model.parameters()))  # fmt: skip
        found.append([p * 0 if g is None else g for g, p in zip(parts, model.parameters())])
    return losses, found


@pytest.mark.parametrize(("name", "seed"), [*zip(registry.EVERY, cycle(range(3)))])
def test_loss_and_gradient_of_every_model_are_those_of_repeated_rows(name, seed):
    weighed, several = pair(name, seed)
    with seeded(seed):
        model = registry.make(name).double()
    if model.batch_statistics:
        model.eval()  # in training its statistics take each row once, whatever it weighs
    one, two = tiny.all_rows(weighed), tiny.all_rows(several)
    (a, slopes), (b, expected) = gradients(model, one), gradients(model, two)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    for found, right in zip(slopes, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-8)
    assert torch.equal(model.loss_mass(one), model.loss_mass(two).float())
    with torch.no_grad():  # and they are not those of rows that weigh 1
        one.weight = None
        assert not torch.allclose(model.losses(model(one), one), a)


def test_joint_losses_are_weighted_too():
    weighed, several = pair("esmm")
    model = registry.make("esmm").double()
    found = [
        joint_losses(t.schema, model(tiny.all_rows(t)), tiny.all_rows(t))
        for t in (weighed, several)
    ]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("rule", EVERY_BALANCER)
def test_every_balancer_sees_the_means_of_repeated_rows(rule):
    results = []
    for table in pair("mmoe", seed=1, least=1):  # a rule may draw a number for each id read
        with seeded(3):
            model = registry.make("mmoe").double()
        history = fit(
            model, table, epochs=3, batch_size=10_000, optimizer="sgd", learning_rate=0.05,
            row_prior=None, balancer=OWN.get(rule, EVERY_BALANCER[rule])(), **PLAIN,
        )  # fmt: skip
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        results.append((weights, history))
    (one, first), (two, second) = results
    if not (EVERY_BALANCER[rule].needs_halves or rule == "sdmgrad"):  # other halves: other rows
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
        for row, other in zip(first.rows, second.rows, strict=True):
            assert row["train"] == pytest.approx(other["train"], rel=1e-4, nan_ok=True)
    assert one.isfinite().all()


@pytest.mark.parametrize("rule", ["equal", "uw", "gradnorm", "pcgrad", "famo", "sdmgrad"])
def test_batches_of_one_step_are_weighed_together(rule):
    table = pair("shared-bottom", seed=2, rows=26)[0]
    runs = []
    for size, several in ((12, 1), (4, 3)):
        with seeded(3):
            model = registry.make("shared-bottom").double()
        history = fit(
            model, table, epochs=2, batch_size=size, accumulate=several, optimizer="sgd", seed=1,
            learning_rate=0.05, row_prior=None, balancer=EVERY_BALANCER[rule](), **PLAIN,
        )  # fmt: skip
        runs.append((torch.cat([p.detach().flatten() for p in model.parameters()]), history))
    torch.testing.assert_close(runs[0][0], runs[1][0], rtol=1e-4, atol=1e-6)
    for row, other in zip(runs[0][1].rows, runs[1][1].rows, strict=True):
        assert row["train"] == pytest.approx(other["train"], rel=1e-4)


@pytest.mark.parametrize("name", registry.EVERY)
def test_every_metric_of_every_model_is_that_of_repeated_rows(name):
    weighed, several = pair(name, seed=4, rows=60)
    model = registry.make(name).double()
    for options in ({}, {"joint": True}, {"group": "user"}, {"by_scenario": True}):
        found, expected = (evaluate(model, t, **options) for t in (weighed, several))
        assert flat(found) == pytest.approx(flat(expected), rel=1e-6, abs=1e-9, nan_ok=True)
        assert sum(not math.isnan(v) for v in flat(found).values()) > 5


def flat(values, name=""):
    if not isinstance(values, dict):
        return {name: values}
    return {k: v for key, inner in values.items() for k, v in flat(inner, f"{name}/{key}").items()}


def test_weights_of_1_are_no_weights_and_only_ratios_matter():
    table = tiny.table(tiny.schema(), 60)
    factors = {"none": None, "ones": torch.ones(60), "sevens": torch.full((60,), 7.0)}
    found = {}
    for name, weight in factors.items():
        with seeded(0):
            model = SharedBottom(table.schema, **SMALL)
        chosen = table if weight is None else with_weight(table, weight)
        history = fit(model, chosen, chosen, epochs=2, batch_size=16, **PLAIN)
        found[name] = flat({str(r["epoch"]): (r["train"] | r["validation"]) for r in history.rows})
    for name in ("ones", "sevens"):
        assert found[name] == pytest.approx(found["none"], rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam", "sgd"])
def test_the_prior_on_rows_is_paid_by_rows_as_they_are(optimizer):
    table = tiny.learnable(40)
    ends = []
    for factor in (1.0, 5.0):
        with seeded(0):
            model = SharedBottom(table.schema, **SMALL)
        weighed = with_weight(table, factor * (1 + counts(40).float()))
        fit(model, weighed, epochs=2, batch_size=8, row_prior=0.05, optimizer=optimizer, **PLAIN)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-3, atol=1e-5)


def test_a_join_weighs_the_rows_of_a_table_without_weights_1():
    a, b = tiny.learnable(20), tiny.table(tiny.schema("click", "rating"), 24)
    times = counts(20, 3)
    joins = [Join({"a": with_weight(a, times), "b": b}), Join({"a": repeated(a, times), "b": b})]
    assert joins[0].weight.tolist() == [*times.tolist(), *[1.0] * 24]
    assert joins[1].weight is None
    with seeded(0):
        model = SharedBottom(joins[0].schema, **SMALL)
    found, expected = (flat(evaluate(model, join)) for join in joins)
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    means = []
    for join in joins:
        with seeded(0):
            model = SharedBottom(join.schema, **SMALL)
        history = fit(model, join, epochs=1, batch_size=8, learning_rate=1e-9, **PLAIN)
        means.append(history.rows[0]["train"])
    assert means[0] == pytest.approx(means[1], rel=1e-5)


def test_the_floor_and_the_trees_count_rows_by_their_weight():
    table = registry.table(rows=200, seed=1)
    times = counts(200, 2)
    weighed, several = with_weight(table, times), repeated(table, times)
    floors = [Constant(t) for t in (weighed, several)]
    for one, two in zip(floors[0].logits, floors[1].logits, strict=True):
        torch.testing.assert_close(one, two)
    assert not torch.equal(floors[0].logits[0], Constant(table).logits[0])
    # scikit-learn's trees count rows of leaves and categories: repeated rows are not the same
    kept = torch.arange(200) % 3 > 0
    grown = []
    for chosen in (with_weight(table, kept), table.take(kept)):
        trees = Trees(table.schema, rounds=8, min_rows=5)
        fit(trees, chosen, chosen)
        grown.append((flat(evaluate(trees, chosen)), trees.rounds))
    assert grown[0][0] == pytest.approx(grown[1][0], rel=1e-6, abs=1e-9, nan_ok=True)
    assert grown[0][1] == grown[1][1]
    liked = with_weight(table, 1 + 8 * table.label("click"))
    trees = [Trees(table.schema, rounds=8, min_rows=5) for _ in range(2)]
    fit(trees[0], liked)
    fit(trees[1], table)
    found, plain = (evaluate(t, liked)["click"]["pcoc"] for t in trees)
    assert found == pytest.approx(1, abs=0.05) and plain < 0.8


def test_a_table_that_weighs_nothing_is_refused():
    table = with_weight(tiny.learnable(20), torch.arange(20) % 2)
    nothing = table.take(torch.arange(0, 20, 2))
    model = SharedBottom(table.schema, **SMALL)
    for what, tables in (("train", (nothing, table)), ("validation", (table, nothing))):
        with pytest.raises(ValueError, match=f"All rows of the {what} table weigh 0"):
            fit(model, *tables, **PLAIN)


def test_a_task_whose_rows_weigh_nothing_gives_no_loss_and_no_gradient():
    table = tiny.learnable(20)
    table.observed[:, 0] = torch.arange(20) < 5
    table.labels[5:, 0] = 0
    batch = tiny.all_rows(with_weight(table, torch.arange(20) >= 5))
    model = SharedBottom(table.schema, **SMALL)
    losses = model.losses(model(batch), batch)
    assert losses[0] == 0 and losses[1] > 0
    losses.sum().backward()
    assert all((p.grad == 0).all() for p in model.task_parameters("click"))


def test_a_row_that_weighs_0_may_be_infinite_and_passes_no_gradient():
    rows = torch.tensor([1.0, math.inf, 3.0], requires_grad=True)
    seen, weight = torch.tensor([True, True, True]), torch.tensor([1.0, 0.0, 3.0])
    mean = masked_mean(rows, seen, weight)
    mean.backward()
    assert mean.item() == 2.5 and rows.grad.tolist() == [0.25, 0.0, 0.75]
    assert masked_mass(seen, weight) == 4 and masked_mass(seen) == 3
    assert masked_mean(rows, ~seen, weight) == 0
