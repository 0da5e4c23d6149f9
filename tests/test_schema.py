import math

import pytest

from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError, Sequence, Task


def shop_schema() -> Schema:
    return Schema(
        tasks=(
            Task("click"),
            Task("purchase", given="click"),
            Task("dwell", "regression", given="click", unit="seconds", log1p=True),
            Task("style", "multiclass", classes=4),
            Task("units", "censored_count"),
        ),
        categorical=(Categorical("user", 10), Categorical("item", 20)),
        dense=(Dense("price", unit="euro"), Dense("pixel", width=784)),
        sequences=(Sequence("history", shares="item"), Sequence("query", size=30)),
        scenarios=(Scenario("search"), Scenario("feed")),
    )


def test_a_schema_survives_a_round_trip_through_plain_data():
    schema = shop_schema()
    assert Schema.from_dict(schema.to_dict()) == schema


def test_dense_slices_cover_the_dense_block_in_order():
    schema = shop_schema()
    assert schema.dense_width == 785
    assert schema.dense_slices == {"price": slice(0, 1), "pixel": slice(1, 785)}


def test_outputs_follow_the_kind():
    assert [t.outputs for t in shop_schema().tasks] == [1, 1, 1, 4, 1]


def test_a_schema_without_scenarios_has_one():
    schema = Schema((Task("click"),))
    assert schema.num_scenarios == 1 and schema.scenario_names == ("all",)


def test_selecting_a_child_without_its_parent_drops_the_condition():
    schema = shop_schema()
    assert schema.select(["purchase"]).task("purchase").given is None
    assert schema.select(["click", "purchase"]).task("purchase").given == "click"
    assert schema.select("style").task_names == ("style",)


def test_children_are_the_tasks_given_a_task():
    assert shop_schema().children("click") == ("purchase", "dwell")


def test_a_fitted_regression_task_has_the_mean_and_deviation_of_log_labels():
    labels = [0.0, 1.0, 9.0]
    task = Task("dwell", "regression", log1p=True).fitted(labels)
    logs = [math.log(1 + v) for v in labels]
    mean = sum(logs) / 3
    assert task.location == pytest.approx(mean)
    assert task.scale == pytest.approx((sum((v - mean) ** 2 for v in logs) / 3) ** 0.5)


def test_fitting_leaves_other_kinds_alone_and_survives_constant_labels():
    assert Task("click").fitted([0, 1]) == Task("click")
    assert Task("x", "regression").fitted([2.0, 2.0]).scale == 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Task(""), "name"),
        (lambda: Task("click", "boolean"), "'click'.*'boolean'.*binary"),
        (lambda: Task("style", "multiclass"), "'style'.*classes"),
        (lambda: Task("click", classes=3), "'click'.*multiclass"),
        (lambda: Task("click", log1p=True), "'click'.*regression"),
        (lambda: Task("click", weight=math.nan), "'click'.*weight"),
        (lambda: Task("dwell", "regression", scale=0.0), "'dwell'.*scale"),
        (lambda: Task("click", given="click"), "given itself"),
        (lambda: Task("d", "regression", log1p=True).fitted([-1.0, 2.0]), "'d'.*-1"),
        (lambda: Task("d", "regression").fitted([1.0]), "'d'.*few"),
        (lambda: Categorical("user", 0), "'user'.*size"),
        (lambda: Dense("price", width=0), "'price'.*width"),
        (lambda: Sequence("history"), "'history'.*size or shares"),
        (lambda: Sequence("history", size=3, shares="item"), "'history'.*exactly one"),
        (lambda: Sequence("history", size=3, max_length=0), "'history'.*max_length"),
        (lambda: Schema(()), "at least one task"),
        (lambda: Schema((Task("a"), Task("a"))), "'a' appears twice"),
        (lambda: Schema((Task("a"),), dense=(Dense("a"),)), "leaks"),
        (lambda: Schema((Task("a"),), sequences=(Sequence("h", shares="x"),)), "'h' shares 'x'"),
        (lambda: Schema((Task("a", given="b"),)), "'b'.*no task"),
        (lambda: Schema((Task("a", given="b"), Task("b", "count"))), "'b'.*count"),
        (lambda: Schema((Task("a", given="b"), Task("b", given="a"))), "circle"),
        (lambda: Schema((Task("a"),)).task("buy"), "Unknown task 'buy'"),
        (lambda: Schema.from_dict({"tasks": [{"name": "a"}], "x": []}), "'x'"),
        (lambda: Schema.from_dict({"tasks": [{"name": "a", "colour": 1}]}), "colour"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(make, words):
    with pytest.raises(SchemaError, match=words):
        make()
