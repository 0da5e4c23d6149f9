"""The pooled AUC in two parts: against a count of every pair, scikit-learn, and what must hold."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mtlkit.metrics import AucParts, MetricError, auc, auc_parts, gauc

NAN = float("nan")
rows = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), st.integers(-1, 3),
        st.integers(0, 3),
    ), max_size=40,
)  # fmt: skip


def pair_by_pair(label, score, group, weight=None):
    """Every pair of a positive and a negative row, one after the other."""
    weight = np.ones(len(label)) if weight is None else weight
    won, pairs = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for i in np.flatnonzero(label == 1):
        for j in np.flatnonzero(label == 0):
            same, heavy = bool(group[i] == group[j]), float(weight[i] * weight[j])
            pairs[same] += heavy
            won[same] += heavy * (1.0 if score[i] > score[j] else 0.5 * (score[i] == score[j]))
    total = sum(pairs.values())

    def ratio(top, bottom):
        return top / bottom if bottom else NAN

    return AucParts(
        ratio(sum(won.values()), total), ratio(won[True], pairs[True]),
        ratio(won[False], pairs[False]), ratio(pairs[True], total),
    )  # fmt: skip


def data(rows=3_000, groups=4, seed=0, digits=2):
    """Labels whose rate differs between groups, scores with ties, group numbers, weights."""
    random = np.random.default_rng(seed)
    group = random.integers(0, groups, rows)
    label = (random.random(rows) < 0.1 + 0.6 * group / groups).astype(int)
    score = np.round(random.normal(0.5 * label + 0.3 * group, 1.0), digits)
    return label, score, group, random.random(rows) + 0.1


def same(found, expected, tolerance=1e-12):
    return list(found) == pytest.approx(list(expected), rel=0, abs=tolerance, nan_ok=True)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(rows)
def test_the_parts_are_those_of_a_count_of_every_pair(drawn):
    columns = [np.array(column) for column in zip(*drawn, strict=True)] or [np.array([])] * 4
    label, score, group = columns[0], columns[1].astype(float), columns[2].astype(int)
    assert same(auc_parts(label, score, group), pair_by_pair(label, score, group))
    weight = columns[3].astype(float)
    expected = pair_by_pair(label, score, group, weight)
    assert same(auc_parts(label, score, group, weight), expected)
    assert same(auc_parts(*(np.repeat(c, columns[3].astype(int)) for c in (label, score, group))),
                expected)  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [2, 7, 400])
def test_the_parts_add_up_to_the_pooled_auc(groups, weighted):
    label, score, group, weight = data(groups=groups)
    given = weight if weighted else None
    pooled, within, between, share = auc_parts(label, score, group, given)
    assert pooled == auc(label, score, given)
    assert share * within + (1 - share) * between == pytest.approx(pooled, rel=0, abs=1e-12)
    assert 0 < share < 1 and within != pytest.approx(between, abs=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_pooled_and_each_scenarios_own_auc_are_scikit_learns(weighted):
    label, score, group, weight = data()
    w = weight if weighted else np.ones(len(label))
    found = auc_parts(label, score, group, weight if weighted else None)
    assert found.pooled == pytest.approx(roc_auc_score(label, score, sample_weight=w), abs=1e-12)
    parts = []
    for g in range(4):
        mine = group == g
        pairs = w[mine & (label == 1)].sum() * w[mine & (label == 0)].sum()
        own = roc_auc_score(label[mine], score[mine], sample_weight=w[mine])
        parts.append((pairs, own))
    pairs = sum(p for p, _ in parts)
    assert found.within == pytest.approx(sum(p * own for p, own in parts) / pairs, abs=1e-12)
    everything = w[label == 1].sum() * w[label == 0].sum()
    assert found.share == pytest.approx(pairs / everything, rel=1e-12)


def test_between_is_the_mean_over_ordered_pairs_of_two_scenarios():
    label, score, group, _ = data(rows=600)
    total = pairs = 0.0
    for s in range(4):
        for t in set(range(4)) - {s}:
            chosen = ((group == s) & (label == 1)) | ((group == t) & (label == 0))
            number = ((group == s) & (label == 1)).sum() * ((group == t) & (label == 0)).sum()
            total += number * roc_auc_score(label[chosen], score[chosen])
            pairs += number
    assert auc_parts(label, score, group).between == pytest.approx(total / pairs, abs=1e-12)


def test_one_scenario_holds_all_pairs():
    label, score, _, weight = data(rows=300)
    for w in (None, weight):
        found = auc_parts(label, score, np.full(300, 7), w)
        assert found.pooled == auc(label, score, w)
        assert found.within == pytest.approx(found.pooled, rel=0, abs=1e-15)
        assert found.share == 1 and math.isnan(found.between)


def test_what_has_no_pairs_is_nan():
    score, group = np.array([0.1, 0.4, 0.3, 0.2]), np.array([0, 0, 1, 1])
    for label in ([0, 0, 0, 0], [1, 1, 1, 1], []):
        found = auc_parts(label, score[: len(label)], group[: len(label)])
        assert all(math.isnan(value) for value in found)
    apart = auc_parts([1, 1, 0, 0], score, group)  # each scenario has one class
    assert math.isnan(apart.within)
    assert (apart.pooled, apart.between, apart.share) == (0.5, 0.5, 0)
    weighed = auc_parts([1, 0, 1, 0], score, group, [0.1, 0.7, 0, 0])  # rows that weigh 0 are none
    assert (weighed.share, weighed.within) == (1, 0) and math.isnan(weighed.between)


def test_weights_leave_no_pairs_between_where_there_are_none():
    random = np.random.default_rng(5)
    for _ in range(200):  # sums of such weights do not cancel exactly
        weight, label = random.random(30), np.r_[0, 1, random.integers(0, 2, 28)]
        found = auc_parts(label, random.random(30), np.zeros(30, dtype=int), weight)
        assert found.share == 1 and math.isnan(found.between)
        found = auc_parts(label, random.random(30), label, weight)
        assert found.share == 0 and math.isnan(found.within)
        assert 0 <= found.between <= 1


def test_the_order_of_rows_and_the_names_of_scenarios_do_not_matter():
    label, score, group, weight = data()
    order = np.random.default_rng(1).permutation(len(label))
    expected = auc_parts(label, score, group)
    assert auc_parts(label[order], score[order], group[order]) == expected
    renamed = np.array([40, -3, 7, 0])[group]
    assert same(auc_parts(label, score, renamed), expected)
    found = auc_parts(label[order], score[order], group[order], weight[order])
    assert same(found, auc_parts(label, score, group, weight))


def test_a_constant_for_each_scenario_moves_the_part_between_alone():
    label, score, group, _ = data()
    before = auc_parts(label, score, group)
    moved = score + np.array([-1.0, 0.5, 2.0, 4.0])[group]  # halves: no tie is made or broken
    after = auc_parts(label, moved, group)
    assert after.within == before.within and after.share == before.share
    assert after.between > before.between + 0.05 and after.pooled > before.pooled + 0.03
    gain = after.minus(before)
    assert gain.within == 0 and gain.between == pytest.approx(after.pooled - before.pooled)
    assert gauc(label, moved, group) == gauc(label, score, group)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_each_part_adds_to_a_difference_is_the_difference(groups, weighted):
    label, score, group, weight = data(groups=groups)
    given = weight if weighted else None
    other = score + np.random.default_rng(2).normal(0, 1, len(score))
    a, b = auc_parts(label, score, group, given), auc_parts(label, other, group, given)
    gain = a.minus(b)
    assert gain.pooled == gain.within + gain.between
    assert gain.pooled == pytest.approx(
        auc(label, score, given) - auc(label, other, given), rel=0, abs=1e-12
    )
    assert gain.within == pytest.approx(a.share * (a.within - b.within), rel=1e-12)
    if groups == 1:
        assert gain.between == 0
    else:
        assert gain.between == pytest.approx((1 - a.share) * (a.between - b.between), rel=1e-12)


def test_a_difference_without_pairs_is_nan_and_one_of_other_rows_is_refused():
    nothing = auc_parts([0, 0], [0.1, 0.2], [0, 1])
    assert all(math.isnan(value) for value in nothing.minus(nothing))
    apart = auc_parts([1, 0], [0.1, 0.2], [0, 1])
    assert apart.minus(auc_parts([1, 0], [0.3, 0.2], [0, 1])) == (-1, 0, -1)
    for other in (auc_parts([1, 0], [0.1, 0.2], [0, 0]), nothing):
        with pytest.raises(MetricError, match="score the same rows in the same groups"):
            apart.minus(other)


@pytest.mark.parametrize(
    ("label", "group", "weight", "said"),
    [([0, 1, 2], [0, 0, 1], None, "label, row 2: 2.0 is not 0 or 1"),
     ([0, 1, 1], ["a", "b", "c"], None, "group must be whole numbers"),
     ([0, 1, 1], [0, 1], None, "group must be whole numbers"),
     ([0, 1, 1], [0, 1, 1], [1, -1, 1], "weight, row 1: -1.0 is below 0")],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused(label, group, weight, said):
    with pytest.raises(MetricError, match=said):
        auc_parts(label, [0.1, 0.2, 0.3], group, weight)


def test_memory_is_that_of_gauc_however_many_scenarios():
    peaks = {}
    for groups in (2, 2_000):
        label, score, group, _ = data(rows=40_000, groups=groups, digits=9)
        for measure in (gauc, auc_parts):
            tracemalloc.start()
            measure(label, score, group)
            peaks[measure, groups] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    for groups in (2, 2_000):
        assert peaks[auc_parts, groups] <= 1.2 * peaks[gauc, groups]
    assert peaks[auc_parts, 2_000] <= 1.2 * peaks[auc_parts, 2]
