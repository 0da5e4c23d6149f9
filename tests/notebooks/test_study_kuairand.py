"""The stored study of KuaiRand-Pure: what its rows are, and what notebook 08 may say of it."""

import polars as pl
import pytest

from mtlkit.course import study
from mtlkit.data.real.public import find
from mtlkit.data.splits import check_disjoint
from mtlkit.lessons.nb08.studies import kuairand
from mtlkit.lessons.nb08.studies._contest import NETWORKS, heads

pytestmark = pytest.mark.notebook
LOG = "log_standard_4_25_to_5_08_sample.csv.gz"
OUTCOMES = {
    "is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_hate",
    "play_time_ms", "profile_stay_time", "comment_stay_time", "is_profile_enter",
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return study("08", "kuairand")


@pytest.fixture(scope="module")
def score(found):
    """One row of the scores."""

    def pick(candidate, task, metric, scenario="all"):
        where = {"candidate": candidate, "task": task, "metric": metric, "scenario": scenario}
        return found.table("scores").filter(**where).row(0, named=True)

    return pick


def test_five_tabs_of_which_one_is_the_head(found):
    tabs = found.table("scenarios")
    assert tabs["scenario"].to_list() == ["tab 0", "tab 1", "tab 2", "tab 4", "tab 6"]
    assert tabs.filter(pl.col("head"))["scenario"].to_list() == ["tab 1"]
    assert heads(dict(tabs.select("scenario", "train").iter_rows())) == {"tab 1"}
    rows = tabs.select("train", "validation", "test").sum()
    assert rows.sum_horizontal().item() == 104_498
    assert tabs["is_click"].max() > 5 * tabs["is_click"].min()
    assert (tabs["long_view"] < tabs["is_click"]).all()


@pytest.mark.skipif(find("kuairand_pure", LOG) is None, reason="KuaiRand-Pure is not there")
def test_no_outcome_is_an_input_and_the_days_of_the_parts_follow_each_other():
    split = kuairand.whole()
    schema = split.train.schema
    inputs = {field.name for field in (*schema.categorical, *schema.dense)}
    assert not inputs & OUTCOMES and "tab" not in inputs
    assert set(kuairand.PRIOR) <= inputs and schema.task_names == kuairand.TASKS
    check_disjoint(*split)
    log = kuairand.read(LOG)
    days = (0, kuairand.VALIDATION, kuairand.TEST, 99_999_999)
    for part, low, high in zip(split, days[:-1], days[1:], strict=True):
        own = log[part.row_id.numpy()]
        assert own["date"].is_between(low, high, closed="left").all()
        assert own["is_click"].to_list() == part.label("is_click").int().tolist()
        assert own["user_id"].to_list() == part.keys["user"].tolist()
        names = [f"tab {tab}" for tab in own["tab"]]
        assert names == [schema.scenario_names[k] for k in part.scenario]


def clear(row, name, column="wide"):
    """-1, 0 or 1: the whole interval of a difference below 0, neither, above 0."""
    ends = [row[f"{name}_{column}_{end}"] for end in ("low", "high")]
    return int(ends[0] > 0) - int(ends[1] < 0)


def test_most_of_the_pooled_gain_of_knowing_the_tab_is_not_within_tabs(score):
    pooled = score("one for all", "is_click", "auc")
    within = score("one for all", "is_click", "auc_within")
    assert -0.048 < pooled["feature"] < -0.028 and clear(pooled, "feature") == -1
    assert -0.013 < within["feature"] < -0.004 and clear(within, "feature") == 0
    assert within["feature"] / pooled["feature"] < 0.35


def test_nobody_is_clearly_above_the_better_plain_answer(score):
    for name in NETWORKS:
        for task in kuairand.TASKS:
            assert clear(score(name, task, "auc_within"), "envelope") == 0
            assert clear(score(name, task, "auc"), "envelope") < 1


def test_trees_are_clearly_behind_within_tabs(score):
    for task in kuairand.TASKS:
        assert clear(score("trees", task, "auc_within"), "feature") == -1
