"""Metrics against scikit-learn, slow references and hand-worked numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from mtlkit import metrics
from mtlkit.metrics import MetricError
from mtlkit.schema import Task

BINARY = Task("click")
few_scores = st.sampled_from(
    [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
)  # ties are the rule, not the exception
rows = st.lists(
    st.tuples(st.integers(0, 1), few_scores, st.integers(0, 4)), min_size=1, max_size=60
)


def columns(data):
    label, score, group = (np.array(column) for column in zip(*data, strict=True))
    return label, score, group


def auc_pair_by_pair(label, score):
    pairs = [(p, n) for p in score[label == 1] for n in score[label == 0]]
    if not pairs:
        return math.nan
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


def ndcg_group_by_group(gains, score, group, k):
    values = []
    for g in np.unique(group):
        mine = group == g
        if gains[mine].sum() == 0:
            continue
        if mine.sum() == 1:  # scikit-learn refuses a single document; one row is always in order
            values.append(1.0)
        else:
            values.append(sk.ndcg_score([gains[mine]], [score[mine]], k=k))
    return np.mean(values) if values else math.nan


def same(a, b):
    return a == pytest.approx(b, rel=1e-12, abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_auc_counts_every_pair_once_and_ties_half(data):
    label, score, _ = columns(data)
    assert same(metrics.auc(label, score), auc_pair_by_pair(label, score))


def test_auc_agrees_with_scikit_learn_on_many_rows():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 20_000)
    score = np.round(random.normal(label * 0.3, 1.0), 2).astype(np.float32)
    assert same(metrics.auc(label, score), sk.roc_auc_score(label, score))


def test_auc_of_opposite_scores_is_one_minus_auc():
    random = np.random.default_rng(1)
    label, score = random.integers(0, 2, 500), random.integers(0, 20, 500) / 20
    assert same(metrics.auc(label, score) + metrics.auc(label, -score), 1.0)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_gauc_is_the_row_weighted_mean_of_each_groups_auc(data):
    label, score, group = columns(data)
    parts = [(auc_pair_by_pair(label[group == g], score[group == g]), (group == g).sum())
             for g in np.unique(group)]  # fmt: skip
    kept = [(value, n) for value, n in parts if not math.isnan(value)]
    total = sum(n for _, n in kept)
    result = metrics.gauc(label, score, group)
    assert same(result.value, sum(v * n for v, n in kept) / total if total else math.nan)
    assert same(result.skipped_groups, 1 - len(kept) / len(parts))
    assert same(result.skipped_rows, 1 - total / len(label))


def test_gauc_weighs_a_user_by_impressions_and_reports_who_was_skipped():
    label = [1, 0, 1, 1, 0, 0, 1]
    score = [0.9, 0.1, 0.2, 0.2, 0.8, 0.3, 0.5]
    user = [7, 7, 9, 9, 9, 9, 3]  # user 7: AUC 1; user 9: AUC 0; user 3 has only a positive
    result = metrics.gauc(label, score, user)
    assert result.value == pytest.approx(2 / 6)
    assert result.skipped_groups == pytest.approx(1 / 3)
    assert result.skipped_rows == pytest.approx(1 / 7)


def test_gauc_ignores_a_shift_of_one_users_scores_but_auc_does_not():
    label = np.array([1, 0, 1, 0])
    score, user = np.array([0.6, 0.5, 0.6, 0.5]), np.array([0, 0, 1, 1])
    moved = score - 0.4 * user
    assert metrics.gauc(label, moved, user).value == metrics.gauc(label, score, user).value == 1.0
    assert metrics.auc(label, moved) < metrics.auc(label, score)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), few_scores, st.integers(0, 3)), min_size=1, max_size=40),
    st.sampled_from([None, 1, 2, 5]),
)
def test_ndcg_agrees_with_scikit_learn_group_by_group(data, k):
    gains, score, group = columns(data)
    assert same(metrics.ndcg(gains, score, group, k), ndcg_group_by_group(gains, score, group, k))


def test_ndcg_of_two_swapped_rows_by_hand():
    value = metrics.ndcg([3, 1], [0.1, 0.2], [0, 0])
    assert value == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_binary_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(2)
    p = random.uniform(0, 1, 3000)
    y = (random.uniform(0, 1, 3000) < p).astype(int)
    chosen = p >= 0.3
    assert same(metrics.log_loss(y, p), sk.log_loss(y, p))
    assert same(metrics.accuracy(y, p, 0.3), sk.accuracy_score(y, chosen))
    assert same(metrics.recall(y, p, 0.3), sk.recall_score(y, chosen))
    assert same(metrics.precision(y, p, 0.3), sk.precision_score(y, chosen))


def test_log_loss_of_a_saturated_float32_probability_is_finite_as_in_scikit_learn():
    y, p = np.array([0, 1, 1]), np.array([1.0, 0.0, 1.0], dtype=np.float32)
    assert metrics.log_loss(y, p) == pytest.approx(sk.log_loss(y, p), rel=1e-4)


def test_multiclass_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(3)
    p = random.dirichlet(np.ones(4), 500)
    y = random.integers(0, 4, 500)
    result = metrics.task_metrics(Task("category", "multiclass", classes=4), y, p)
    assert same(result["log_loss"], sk.log_loss(y, p))
    assert same(result["accuracy"], sk.accuracy_score(y, p.argmax(1)))
    base = np.bincount(y) / len(y)
    assert same(result["normalized_entropy"], sk.log_loss(y, p) / stats.entropy(base))


def test_predicting_the_base_rate_has_normalized_entropy_one_and_perfect_calibration():
    y = np.array([1, 0, 0, 0, 1, 0, 0, 0])
    p = np.full(8, 0.25)
    assert metrics.normalized_entropy(y, p) == pytest.approx(1.0)
    assert metrics.ece(y, p) == pytest.approx(0.0)
    assert metrics.pcoc(y, p) == pytest.approx(1.0)


def test_ece_by_hand_in_two_bins_of_equal_mass():
    y, p = [0, 1, 1, 1], [0.1, 0.2, 0.6, 0.9]
    assert metrics.ece(y, p, bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.25)


def test_ece_and_curve_agree_with_a_loop_over_sorted_rows_without_ties():
    random = np.random.default_rng(4)
    p = random.uniform(0, 1, 1000)
    y = (random.uniform(0, 1, 1000) < p**2).astype(int)
    order = np.argsort(p)
    parts = np.array_split(order, 10)
    assert metrics.ece(y, p) == pytest.approx(np.mean([abs((y[i] - p[i]).mean()) for i in parts]))
    curve = metrics.calibration_curve(y, p)
    assert curve.rate == pytest.approx([y[i].mean() for i in parts])
    assert curve.prediction == pytest.approx([p[i].mean() for i in parts])
    for i, part in enumerate(parts):
        reference = stats.binomtest(int(y[part].sum()), len(part)).proportion_ci(method="wilson")
        assert (curve.low[i], curve.high[i]) == pytest.approx((reference.low, reference.high))


def test_pcoc_of_doubled_predictions_is_two():
    assert metrics.pcoc([1, 0, 1, 2], [2, 0, 2, 4]) == 2.0


def test_regression_and_count_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(5)
    y, p = random.normal(3, 2, 400), random.normal(3, 2, 400)
    assert same(metrics.r2(y, p), sk.r2_score(y, p))
    assert same(metrics.rmse(y, p), sk.root_mean_squared_error(y, p))
    assert same(metrics.mae(y, p), sk.mean_absolute_error(y, p))
    rate = random.uniform(0.1, 5, 400)
    count = random.poisson(rate)
    assert same(metrics.poisson_deviance(count, rate), sk.mean_poisson_deviance(count, rate))


def test_r2_on_the_log_scale_is_that_of_scikit_learn_and_takes_predictions_below_minus_one():
    random = np.random.default_rng(6)
    y, p = random.exponential(30, 300), random.exponential(30, 300)
    assert same(metrics.r2_log(y, p), sk.r2_score(np.log1p(y), np.log1p(p)))
    middle = np.expm1(np.log1p(y).mean())
    assert metrics.r2_log(y, np.full(300, middle)) == pytest.approx(0.0)
    assert metrics.r2(y, np.full(300, middle)) < 0 < metrics.r2_log(y, y)
    low = metrics.r2_log(y, np.r_[-1.0, -5.0, y[2:]])  # as float32's expm1(-20) is
    assert math.isfinite(low) and low == metrics.r2_log(y, np.r_[2.0**-24 - 1, -1.0, y[2:]])
    with pytest.raises(metrics.MetricError, match=r"label, row 1: -1.0 is not above -1"):
        metrics.r2_log([0.0, -1.0], [1.0, 1.0])


def test_only_a_log1p_task_is_scored_on_the_log_scale():
    y, p = np.array([1.0, 5.0, 2.0]), np.array([1.0, 4.0, 2.5])
    logged = metrics.task_metrics(Task("dwell", "regression", log1p=True), y, p)
    assert logged["r2_log"] == metrics.r2_log(y, p)
    assert "r2_log" not in metrics.task_metrics(Task("rating", "regression"), y, p)
    assert metrics.METRIC_SIGNS["r2_log"] == 1
    assert metrics.metric_name("r2_log") == "R² of log(1 + y)"


def test_predicting_the_mean_has_r2_zero_and_the_label_itself_one():
    y = np.array([1.0, 2.0, 6.0])
    assert metrics.r2(y, np.full(3, 3.0)) == pytest.approx(0.0)
    assert metrics.r2(y, y) == 1.0


def test_censored_rows_add_minus_two_log_probability_of_at_least_the_count():
    rate = np.array([0.5, 2.0, 7.0, 30.0, 4.0, 3.0])
    count = np.array([0, 2, 5, 33, 12, 1])
    expected = -2 * np.array([0.0 if c == 0 else stats.poisson.logsf(c - 1, r)
                              for c, r in zip(count, rate, strict=True)])  # fmt: skip
    everything = np.ones(6, bool)
    assert same(metrics.poisson_deviance(count, rate, everything), expected.mean())
    nothing = np.zeros(6, bool)
    assert metrics.poisson_deviance(count, rate, nothing) == metrics.poisson_deviance(count, rate)


def test_a_censored_count_far_above_its_rate_stays_finite():
    value = metrics.poisson_deviance([500], [0.01], np.array([True]))
    log_first = 500 * math.log(0.01) - 0.01 - math.lgamma(501)
    assert value == pytest.approx(-2 * log_first, rel=1e-6)


def test_task_metrics_of_a_censored_count_keep_stockouts_out_of_the_plain_errors():
    task = Task("demand", "censored_count")
    result = metrics.task_metrics(task, [3, 5, 1], [3.0, 9.0, 2.0], np.array([False, True, False]))
    assert result["mae_uncensored"] == pytest.approx(0.5)
    assert result["rmse_uncensored"] == pytest.approx(math.sqrt(0.5))
    assert result["censored_share"] == pytest.approx(1 / 3)
    assert set(result) == {
        "poisson_deviance",
        "rmse_uncensored",
        "mae_uncensored",
        "censored_share",
    }


def test_every_kind_of_task_gets_its_own_metrics_and_each_has_a_sign():
    cases = [
        (BINARY, [0, 1], [0.2, 0.7]),
        (Task("c", "multiclass", classes=2), [0, 1], [[0.6, 0.4], [0.1, 0.9]]),
        (Task("dwell", "regression"), [1.0, 3.0], [2.0, 2.5]),
        (Task("units", "count"), [1, 3], [2.0, 2.5]),
        (Task("demand", "censored_count"), [1, 3], [2.0, 2.5]),
    ]
    names = [set(metrics.task_metrics(task, y, p)) for task, y, p in cases]
    assert [len(n) for n in names] == [8, 3, 3, 4, 4]
    assert set().union(*names) <= set(metrics.METRIC_SIGNS)


def test_all_metrics_are_the_same_for_any_order_of_the_rows():
    random = np.random.default_rng(6)
    p = np.round(random.uniform(0.05, 0.95, 300), 1)
    y = random.integers(0, 2, 300)
    group = random.integers(0, 20, 300)
    order = random.permutation(300)
    first = metrics.task_metrics(BINARY, y, p)
    second = metrics.task_metrics(BINARY, y[order], p[order])
    assert first == pytest.approx(second, rel=1e-12)
    assert metrics.gauc(y, p, group) == metrics.gauc(y[order], p[order], group[order])
    a, b = metrics.ndcg(y, p, group, 5), metrics.ndcg(y[order], p[order], group[order], 5)
    assert a == pytest.approx(b, rel=1e-12)


def test_a_monotone_change_of_scores_leaves_ranking_metrics_alone():
    random = np.random.default_rng(7)
    y, s, g = random.integers(0, 2, 200), random.normal(size=200), random.integers(0, 9, 200)
    assert metrics.auc(y, s) == metrics.auc(y, np.exp(3 * s))
    assert metrics.gauc(y, s, g) == metrics.gauc(y, np.exp(3 * s), g)


def test_without_rows_every_metric_is_nan_and_nothing_warns(recwarn):
    empty = np.zeros(0)
    for name, metric in metrics.METRICS.items():
        assert math.isnan(metric(empty, empty)), name
    assert math.isnan(metrics.gauc(empty, empty, empty.astype(int)).value)
    assert math.isnan(metrics.ndcg(empty, empty, empty.astype(int)))
    nothing = metrics.task_metrics(Task("c", "multiclass", classes=3), empty, np.zeros((0, 3)))
    assert all(math.isnan(value) for value in nothing.values())
    assert not recwarn.list


def test_undefined_values_are_nan_and_defined_ones_are_not():
    y, p = [1, 1, 1], [0.2, 0.7, 0.4]
    result = metrics.task_metrics(BINARY, y, p)
    undefined = {name for name, value in result.items() if math.isnan(value)}
    assert undefined == {"auc", "normalized_entropy"}
    assert math.isnan(metrics.recall([0, 0], [0.2, 0.9]))
    assert math.isnan(metrics.precision([0, 1], [0.2, 0.3]))
    assert math.isnan(metrics.pcoc([0, 0], [0.2, 0.9]))
    assert math.isnan(metrics.r2([2.0, 2.0], [1.0, 3.0]))
    assert math.isnan(metrics.ndcg([0, 0], [0.2, 0.9], [0, 0]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.auc([0, 1], [0.5]), "score has 1 rows and label has 2"),
        (lambda: metrics.auc([0, 2], [0.5, 0.1]), "label, row 1: 2.0 is not 0 or 1"),
        (lambda: metrics.auc([0, 1], [0.5, math.nan]), "score, row 1: nan"),
        (lambda: metrics.log_loss([0, 1], [0.5, 1.5]), "prediction, row 1: 1.5 is no probability"),
        (lambda: metrics.log_loss([0, 1], [-0.1, 1.0]), "prediction, row 0: -0.1"),
        (lambda: metrics.log_loss([0], [[0.5, 0.4]]), "does not sum to 1"),
        (lambda: metrics.log_loss([2], [[0.5, 0.5]]), "label, row 0: 2.0 is no class in 0 .. 1"),
        (lambda: metrics.ece([0, 1], [0.5, math.inf]), "prediction, row 1: inf"),
        (lambda: metrics.ece([0, 1], [0.5, 0.5], bins=0), "bins must be 1 or more"),
        (lambda: metrics.ndcg([1, -1], [0.5, 0.1], [0, 0]), "label, row 1: -1.0 is below 0"),
        (lambda: metrics.ndcg([1], [0.5], [0], k=0), "k must be 1 or more"),
        (lambda: metrics.gauc([0, 1], [0.5, 0.1], [0.5, 1.0]), "group must be whole numbers"),
        (lambda: metrics.poisson_deviance([1], [-2.0]), "prediction, row 0: -2.0 is below 0"),
        (lambda: metrics.poisson_deviance([1], [2.0], [1]), "censored must be bool"),
        (lambda: metrics.rmse(["a"], [2.0]), "label must hold numbers"),
        (
            lambda: metrics.task_metrics(BINARY, [0, 1], [0.5, 2.0]),
            "Task 'click': prediction, row 1",
        ),
        (lambda: metrics.task_metrics(BINARY, [0], [0.5], np.array([True])), "this one is binary"),
        (
            lambda: metrics.task_metrics(Task("c", "multiclass", classes=3), [0], [[0.5, 0.5]]),
            r"prediction must be \(row, 3\)",
        ),
    ],
)
def test_bad_columns_are_refused_by_name(call, words):
    with pytest.raises(MetricError, match=words):
        call()


def test_delta_m_averages_signed_relative_gains():
    model, single = {"click": 0.77, "dwell": 90.0}, {"click": 0.70, "dwell": 100.0}
    assert metrics.delta_m(model, single, {"click": 1, "dwell": -1}) == pytest.approx(0.1)
    assert metrics.delta_m(single, single, {"click": 1, "dwell": -1}) == 0.0
    assert math.isnan(metrics.delta_m({"a": 1.0}, {"a": 0.0}, {"a": 1}))


def test_delta_m_counts_a_rise_of_a_negative_r2_as_a_gain():
    assert metrics.delta_m({"a": -0.1}, {"a": -0.2}, {"a": 1}) == pytest.approx(0.5)


def test_delta_m_refuses_unequal_tasks_and_metrics_without_a_direction():
    with pytest.raises(MetricError, match="same tasks"):
        metrics.delta_m({"a": 1.0}, {"b": 1.0}, {"a": 1, "b": 1})
    with pytest.raises(MetricError, match="sign of 'a'"):
        metrics.delta_m({"a": 1.0}, {"a": 1.0}, {"a": 0})


def test_oracle_distance_is_zero_at_the_oracle_and_one_at_the_reference():
    assert metrics.oracle_distance(0.8, 0.8, 0.7) == 0.0
    assert metrics.oracle_distance(0.7, 0.8, 0.7) == 1.0
    assert metrics.oracle_distance(0.75, 0.8, 0.7) == pytest.approx(0.5)
    assert metrics.oracle_distance(0.35, 0.3, 0.4) == pytest.approx(0.5)  # a loss: no sign needed
    assert metrics.oracle_distance(0.75, 0.8) == pytest.approx(0.05)
    assert metrics.oracle_distance(0.35, 0.3, sign=-1) == pytest.approx(0.05)
    assert math.isnan(metrics.oracle_distance(0.7, 0.8, 0.8))
