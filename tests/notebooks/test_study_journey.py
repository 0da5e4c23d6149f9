"""The stored study of Complete Journey: the same rows in few and in many scenarios."""

import math

import polars as pl
import pytest
import torch

from mtlkit.course import study
from mtlkit.data.splits import check_disjoint
from mtlkit.lessons.nb08.studies import journey

pytestmark = pytest.mark.notebook
NUMBER = {"department": 7, "category": 26}


@pytest.fixture(scope="module")
def found():
    return study("08", "journey")


@pytest.fixture(scope="module")
def score(found):
    """One row of the scores."""

    def pick(view, candidate, task, metric, scenario="all"):
        where = {"view": view, "candidate": candidate, "task": task, "metric": metric}
        return found.table("scores").filter(scenario=scenario, **where).row(0, named=True)

    return pick


@pytest.mark.parametrize("view", journey.VIEWS)
def test_scenarios_hold_all_rows(found, view):
    own = found.table("scenarios").filter(view=view)
    assert own.height == NUMBER[view]
    for part, rows in zip(("train", "validation", "test"), (75_768, 18_942, 21_648), strict=True):
        assert own[part].sum() == rows
    assert own.filter(pl.col("head"))["train"].sum() >= own["train"].sum() / 2
    assert own.filter(pl.col("head"))["train"].min() >= own.filter(~pl.col("head"))["train"].max()


def test_both_views_have_the_same_rows_labels_and_inputs():
    few, many = (journey.whole(view) for view in journey.VIEWS)
    for one, other in zip(few, many, strict=True):
        assert torch.equal(one.row_id, other.row_id)
        for name in ("labels", "observed", "dense", "categorical"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert torch.equal(one.keys["group"], other.keys["group"])
    schema = few.train.schema
    assert [field.name for field in schema.categorical] == ["brand"]
    assert schema.dense == many.train.schema.dense and schema.tasks == many.train.schema.tasks
    outcomes = {"units", "sold", "coupon", "discounted", "spike"}
    assert not outcomes & {field.name for field in schema.dense}
    check_disjoint(*few)


def test_every_finer_scenario_lies_in_one_department():
    few, many = (journey.whole(view).train for view in journey.VIEWS)
    departments = few.schema.scenario_names
    for number, name in enumerate(many.schema.scenario_names):
        own = few.scenario[many.scenario == number].unique()
        assert len(own) == 1
        department = departments[int(own)]
        assert name.startswith(f"{department}: ") or name == f"rest of {department}"


def test_a_category_with_too_few_products_goes_to_the_rest_of_its_department():
    frame = pl.DataFrame({
        "product": [*range(journey.PRODUCTS), *range(100, 99 + journey.PRODUCTS)] * 2,
        "department": "A",
        "category": (["big"] * journey.PRODUCTS + ["small"] * (journey.PRODUCTS - 1)) * 2,
    })  # fmt: skip
    group = journey.grouped(frame)
    assert set(group.filter(category="big")["group"]) == {"A: big"}
    assert set(group.filter(category="small")["group"]) == {"rest of A"}


def clear(row, name):
    """-1, 0 or 1: the whole widened interval of a difference below 0, neither, above 0."""
    ends = [row[f"{name}_wide_{end}"] for end in ("low", "high")]
    return int(ends[0] > 0) - int(ends[1] < 0)


def test_many_scenarios_cost_one_each_and_hardly_the_feature(score):
    few, many = (
        {n: score(view, n, "spike", "gauc")["mean"] for n in ("one each", "scenario feature")}
        for view in journey.VIEWS
    )
    assert 0.012 < few["one each"] - many["one each"] < 0.022
    assert 0 < few["scenario feature"] - many["scenario feature"] < 0.006
    for task in journey.TASKS:
        assert clear(score("category", "one each", task, "gauc"), "feature") == -1
        for view in journey.VIEWS:
            own = score(view, "embedding shift", task, "gauc")
            assert math.isclose(own["feature"], 0, abs_tol=0.006) and clear(own, "feature") == 0


def test_trees_are_clearly_best_at_the_discount_and_at_no_other_task(score):
    for view in journey.VIEWS:
        assert clear(score(view, "trees", "discounted", "gauc"), "feature") == 1
        assert clear(score(view, "trees", "spike", "gauc"), "feature") == 0


def test_one_for_all_is_the_same_whatever_the_scenarios_are(score):
    for task in journey.TASKS:
        few, many = (score(view, "one for all", task, "auc")["mean"] for view in journey.VIEWS)
        assert few == pytest.approx(many, abs=1e-5)
