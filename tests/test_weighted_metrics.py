"""Weighted metrics: those of rows that stand so many times, and those of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from mtlkit import metrics as m
from mtlkit.schema import Task

TASKS = [
    Task("binary"),
    Task("classes", "multiclass", classes=3),
    Task("amount", "regression"),
    Task("seconds", "regression", log1p=True),
    Task("count", "count"),
    Task("bound", "censored_count"),
]
UNWEIGHTED = {"ndcg", "delta_m", "oracle_distance"}  # places of a list; numbers of whole models


def columns(task, rows, seed):
    """Labels, predictions (few different ones: ties) and flags of censored rows."""
    random = np.random.default_rng(seed)
    flags = None
    if task.is_binary:
        label, prediction = random.integers(0, 2, rows), random.integers(0, 5, rows) / 4
    elif task.kind == "multiclass":
        label = random.integers(0, 3, rows)
        prediction = random.integers(1, 4, (rows, 3)).astype(float)
        prediction /= prediction.sum(1, keepdims=True)
    else:
        label = random.integers(0, 4, rows)
        prediction = random.integers(1, 9, rows) / 2
        flags = random.random(rows) < 0.4 if task.kind == "censored_count" else None
    return label, prediction, flags


def again(times, *parts):
    return [None if part is None else np.repeat(part, times, axis=0) for part in parts]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@given(times=st.lists(st.integers(0, 3), max_size=14), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_whole_weights_give_every_metric_of_repeated_rows(task, times, seed):
    label, prediction, flags = columns(task, len(times), seed)
    weight = np.array(times, dtype=float)
    found = m.task_metrics(task, label, prediction, flags, weight=weight)
    expected = m.task_metrics(task, *again(times, label, prediction, flags))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
    halved = m.task_metrics(task, label, prediction, flags, weight=weight / 2)
    assert halved == pytest.approx(found, rel=1e-9, abs=1e-12, nan_ok=True)


@given(times=st.lists(st.integers(0, 3), max_size=20), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_grouped_auc_and_calibration_are_those_of_repeated_rows(times, seed):
    label, prediction, _ = columns(TASKS[0], len(times), seed)
    group = np.random.default_rng(seed).integers(0, 4, len(times))
    weight = np.array(times, dtype=float)
    found = m.gauc(label, prediction, group, weight)
    expected = m.gauc(*again(times, label, prediction, group))
    assert list(found) == pytest.approx(list(expected), rel=1e-9, abs=1e-12, nan_ok=True)
    for bins in (1, 3):
        found = m.calibration_curve(label, prediction, bins, weight=weight)
        expected = m.calibration_curve(*again(times, label, prediction), bins)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


REFERENCES = {
    "auc": lambda y, p, w: reference.roc_auc_score(y, p, sample_weight=w),
    "log_loss": lambda y, p, w: reference.log_loss(y, p, sample_weight=w),
    "accuracy": lambda y, p, w: reference.accuracy_score(y, p >= 0.5, sample_weight=w),
    "recall": lambda y, p, w: reference.recall_score(y, p >= 0.5, sample_weight=w),
    "precision": lambda y, p, w: reference.precision_score(y, p >= 0.5, sample_weight=w),
    "normalized_entropy": lambda y, p, w: (
        reference.log_loss(y, p, sample_weight=w)
        / reference.log_loss(y, np.full(len(y), np.average(y, weights=w)), sample_weight=w)
    ),
    "pcoc": lambda y, p, w: np.average(p, weights=w) / np.average(y, weights=w),
    "r2": lambda y, p, w: reference.r2_score(y, p, sample_weight=w),
    "r2_log": lambda y, p, w: reference.r2_score(np.log1p(y), np.log1p(p), sample_weight=w),
    "rmse": lambda y, p, w: reference.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: reference.mean_absolute_error(y, p, sample_weight=w),
    "poisson_deviance": lambda y, p, w: reference.mean_poisson_deviance(y, p, sample_weight=w),
}


@pytest.mark.parametrize("name", m.METRICS)
def test_any_weights_give_what_scikit_learn_gives(name):
    if name == "ece":
        pytest.skip("scikit-learn has none: held by repeated rows")
    random = np.random.default_rng(3)
    for rows in (40, 300):
        y = np.r_[0, 1, random.integers(0, 2, rows)]
        p, w = np.round(random.random(rows + 2), 2) * 0.98 + 0.01, random.random(rows + 2) * 9
        if name in ("r2", "r2_log", "rmse", "mae", "poisson_deviance"):
            y, p = random.integers(0, 9, rows + 2), p * 5
        found, expected = m.METRICS[name](y, p, weight=w), REFERENCES[name](y, p, w)
        assert found == pytest.approx(expected, rel=1e-9)
        assert m.METRICS[name](y, p) != pytest.approx(expected, rel=1e-9)


def test_multiclass_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    y, w = random.integers(0, 3, 60), random.random(60)
    p = random.random((60, 3))
    p /= p.sum(1, keepdims=True)
    assert m.log_loss(y, p, w) == pytest.approx(reference.log_loss(y, p, sample_weight=w))
    assert m.accuracy(y, p, weight=w) == pytest.approx(
        reference.accuracy_score(y, p.argmax(1), sample_weight=w)
    )


@pytest.mark.parametrize("name", m.METRICS)
@pytest.mark.parametrize(
    ("weight", "said"),
    [([1, 1, -2, 1], "weight, row 2: -2"), ([1, np.nan, 1, 1], "weight, row 1: nan"),
     ([1, 1, 1, np.inf], "weight, row 3: inf"), ([1, 1, 1], "weight has 3 rows and label has 4"),
     (["a"] * 4, "weight must hold numbers"), (np.ones((4, 1)), "weight must have 1 dim")],
)  # fmt: skip
def test_what_is_no_weight_is_refused_by_its_row(name, weight, said):
    with pytest.raises(m.MetricError, match=said):
        m.METRICS[name]([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.7], weight=weight)


@pytest.mark.parametrize("name", m.METRICS)
def test_rows_that_all_weigh_0_are_no_rows(name):
    assert np.isnan(m.METRICS[name]([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.7], weight=[0, 0, 0, 0]))


def test_an_infinite_deviance_of_a_row_that_weighs_0_does_not_count():
    assert m.poisson_deviance([2, 1], [0.0, 1.0], weight=[0, 1]) == 0
    assert m.poisson_deviance([2, 1], [0.0, 1.0], weight=[1, 1]) == np.inf
