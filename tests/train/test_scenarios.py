"""Scenario by task as one table: every number is that of ``evaluate``, and of the rows by hand."""

import math
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

import mtlkit
from mtlkit import report
from mtlkit.comparison import compare
from mtlkit.data.splits import Split
from mtlkit.metrics import METRIC_SIGNS, auc_parts
from mtlkit.models import SharedBottom
from mtlkit.train import evaluate, predict, scenario_table
from tests import tiny

COUNTS = ["scenario", "task", "rows", "observed", "positives"]


def small(table):
    torch.manual_seed(0)
    return SharedBottom(table.schema, embedding_dim=3, hidden=(4,), tower=())


@pytest.fixture(scope="module")
def setting():
    """A model of every kind of task, and rows of which 60 are of no known scenario."""
    table = tiny.table(tiny.schema(), 300)
    table.scenario[:60] = table.schema.unknown_scenario
    return small(table), table


def by_cell(frame):
    return {(row["scenario"], row["task"]): row for row in frame.to_dicts()}


def test_there_is_one_row_for_each_scenario_and_task_and_all_rows_come_first(setting):
    model, table = setting
    frame = scenario_table(model, table)
    places = ["all", "place 0", "place 1", "unknown"]
    expected = [(place, task) for place in places for task in table.schema.task_names]
    assert frame.select("scenario", "task").rows() == expected
    assert frame.columns[:5] == COUNTS
    assert set(frame.columns[5:]) <= set(METRIC_SIGNS)
    assert frame.schema["rows"] == pl.Int64 and frame.schema["auc"] == pl.Float64
    assert mtlkit.scenario_table is scenario_table


@pytest.mark.parametrize("joint", [False, True])
def test_every_metric_is_the_one_of_evaluate_and_there_is_no_other(setting, joint):
    model, table = setting
    found = by_cell(scenario_table(model, table, "user", joint=joint))
    told = {"all": evaluate(model, table, group="user", joint=joint, auc_parts=True)}
    told |= evaluate(model, table, by_scenario=True, group="user", joint=joint)
    for (place, task), row in found.items():
        values = {name: value for name, value in row.items() if name not in COUNTS}
        own = {name: value for name, value in values.items() if value is not None}
        assert own == pytest.approx(told[place][task], rel=1e-12, nan_ok=True)
    assert {place for place, _ in found} == set(told)


def test_numbers_of_rows_are_counted_whatever_they_weigh(setting):
    model, table = setting
    heavy = tiny.table(tiny.schema(), 300)
    heavy.scenario[:60] = table.schema.unknown_scenario
    heavy.__dict__["weight"] = torch.rand(300) + 0.5
    frames = [by_cell(scenario_table(model, given)) for given in (table, heavy)]
    places = {"all": slice(None), "place 0": 0, "place 1": 1, "unknown": 2}
    for (place, name), row in frames[0].items():
        number = places[place]
        mine = torch.ones(300, dtype=torch.bool) if place == "all" else table.scenario == number
        known = mine & table.mask(name)
        assert (row["rows"], row["observed"]) == (int(mine.sum()), int(known.sum()))
        binary = table.schema.task(name).is_binary
        ones = int((table.label(name)[known] == 1).sum()) if binary else None
        assert row["positives"] == ones
        assert [frames[1][place, name][count] for count in COUNTS[2:]] == [
            row[count] for count in COUNTS[2:]
        ]
    assert frames[1]["all", "click"]["auc"] != frames[0]["all", "click"]["auc"]


def test_the_pooled_rows_have_the_parts_of_the_auc_by_scenario(setting):
    model, table = setting
    rows, mask = by_cell(scenario_table(model, table)), table.mask("click").numpy()
    y, p = table.label("click").numpy()[mask], predict(model, table)["click"][mask]
    place = table.scenario.numpy()[mask]
    found = rows["all", "click"]
    within = [(y[place == n].sum() * (1 - y[place == n]).sum(),
               roc_auc_score(y[place == n], p[place == n])) for n in range(3)]  # fmt: skip
    pairs = sum(n for n, _ in within)
    assert found["auc_within"] == pytest.approx(sum(n * a for n, a in within) / pairs, abs=1e-9)
    assert found["pairs_within"] == pytest.approx(pairs / (y.sum() * (1 - y).sum()), rel=1e-9)
    share = found["pairs_within"]
    whole = share * found["auc_within"] + (1 - share) * found["auc_between"]
    assert whole == pytest.approx(found["auc"], abs=1e-12)
    assert found["auc_between"] == auc_parts(y, p, place).between
    assert rows["place 0", "click"]["auc_within"] is None
    assert rows["all", "dwell"]["auc_within"] is None


def test_a_metric_of_another_kind_is_null_and_an_undefined_one_is_nan():
    table = tiny.table(tiny.schema("click", "dwell"), 200)
    table.labels[table.scenario == 1, 0] = 0.0
    rows = by_cell(scenario_table(small(table), table))
    assert rows["place 1", "click"]["positives"] == 0
    assert math.isnan(rows["place 1", "click"]["auc"])
    assert math.isnan(rows["place 1", "click"]["pcoc"])
    assert rows["place 1", "click"]["r2"] is None and rows["place 1", "dwell"]["auc"] is None
    empty = table.take(table.scenario == 0)
    rows = by_cell(scenario_table(small(empty), empty))
    assert rows["place 1", "click"]["rows"] == 0 and math.isnan(rows["place 1", "click"]["auc"])
    assert math.isnan(rows["all", "click"]["auc_between"])


def test_one_scenario_has_one_row_a_task_and_no_parts():
    for number in (1, 2):
        table = tiny.table(tiny.schema("click", scenarios=number), 100)
        frame = scenario_table(small(table), table)
        assert len(frame) == (1 if number == 1 else 3)
        assert ("auc_within" in frame.columns) == (number > 1)
    assert frame["scenario"].to_list() == ["all", "place 0", "place 1"]


def test_a_scenario_called_all_is_refused():
    schema = tiny.schema("click")
    named = type(schema)(
        schema.tasks, schema.categorical, schema.dense, schema.sequences,
        (mtlkit.Scenario("all"), mtlkit.Scenario("b")),
    )  # fmt: skip
    table = tiny.table(named, 50)
    with pytest.raises(ValueError, match="must not be called 'all'"):
        scenario_table(small(table), table)
    with pytest.raises(KeyError, match="no key 'basket'"):
        scenario_table(small(table), table, "basket")


def test_evaluate_has_parts_only_where_they_are_asked_for(setting):
    model, table = setting
    plain, split = evaluate(model, table), evaluate(model, table, auc_parts=True)
    for task, values in plain.items():
        extra = set(split[task]) - set(values)
        binary = table.schema.task(task).is_binary
        assert extra == ({"auc_within", "auc_between", "pairs_within"} if binary else set())
        assert {n: v for n, v in split[task].items() if n in values} == pytest.approx(
            values, nan_ok=True
        )
    below = evaluate(model, table, by_scenario=True, auc_parts=True)
    assert "auc_within" not in below["place 0"]["click"]


def test_a_comparison_gives_the_same_grid_with_paired_intervals():
    whole = tiny.table(tiny.schema("click", "dwell"), 600)
    tables = [whole.take(torch.arange(start, start + 300)) for start in (0, 300)]
    schema = whole.schema

    def make(hidden):
        return lambda seed: SharedBottom(schema, embedding_dim=3, hidden=(hidden,), tower=())

    found = compare(
        {"narrow": make(2), "middle": make(4), "wide": make(8)}, Split(*tables, None),
        seeds=range(3), fit_options={"epochs": 1}, evaluator=partial(evaluate, auc_parts=True),
    )  # fmt: skip
    task = schema.task_names[0]
    rows = {place: {"scenario": place} for place in ("all", *schema.scenario_names)}
    columns = {task: {"task": task, "candidate": "wide", "minus": "middle", "show": "gap"}}
    grid = report.grid(found, rows, columns, first="scenario").table
    for place, value in grid.rows():
        own, base = (found.by_seed(name, "auc", task, place) for name in ("wide", "middle"))
        assert value == pytest.approx(np.mean(own - base))
    texts = report.grid(found, rows, {task: columns[task] | {"show": "short"}}).table[task]
    assert all(" to " in text for text in texts)
    parts = [found.by_seed("wide", f"auc_{part}", task) for part in ("within", "between")]
    share = found.by_seed("wide", "pairs_within", task)
    np.testing.assert_allclose(
        share * parts[0] + (1 - share) * parts[1], found.by_seed("wide", "auc", task), atol=1e-12
    )
