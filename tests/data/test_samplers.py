"""What each sampler reads in an epoch, and what it does to the chances that are learned."""

import math
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit.data import (
    BalancedScenarios,
    DownsampledNegatives,
    HomogeneousBatches,
    Join,
    Sampler,
    ShardedTable,
    Table,
    write_shards,
)
from mtlkit.data.scenario_samplers import in_rounds, quotas, scenario_rows
from mtlkit.schema import Dense, Scenario, Schema, SchemaError, Task

SAMPLERS = [HomogeneousBatches(), BalancedScenarios(0.3), DownsampledNegatives("click", 0.4)]
COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any)


def table_of(counts, seed=0, *, mixed=True):
    """Rows of each scenario, the last of them unknown; the dense column is the row's number."""
    names = tuple(Scenario(f"s{i}") for i in range(max(len(counts) - 1, 2)))
    schema = Schema((Task("click"), Task("dwell", "regression")), (), (Dense("row"),), (), names)
    random = np.random.default_rng(seed)
    scenario = np.repeat(np.arange(len(counts)), counts)
    scenario[scenario == len(counts) - 1] = schema.unknown_scenario
    if mixed:
        random.shuffle(scenario)
    rows = len(scenario)
    observed = torch.from_numpy(random.random((rows, 2)) < 0.8)
    click = torch.from_numpy(random.random(rows) < 0.3).float()
    return Table(
        schema, torch.zeros(rows, 0, dtype=torch.int64), torch.arange(rows).float().unsqueeze(1),
        {}, torch.where(observed, torch.stack([click, click], dim=1), 0.0), observed,
        torch.from_numpy(scenario),
    )  # fmt: skip


def read(sampler, table, size, *, epoch=0, **more):
    """Row numbers of every batch of an epoch."""
    batches = sampler.over(table).batches(size, epoch=epoch, **more)
    return [batch.dense[:, 0].long().tolist() for batch in batches]


def flat(batches):
    return [row for batch in batches for row in batch]


@given(COUNTS, st.integers(1, 12), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_homogeneous_batch_has_one_scenario_and_each_row_comes_once(counts, size, epoch):
    table = table_of(counts)
    batches = read(HomogeneousBatches(), table, size, epoch=epoch)
    assert sorted(flat(batches)) == list(range(len(table)))
    assert all(len(set(table.scenario[batch].tolist())) == 1 for batch in batches)
    assert len(batches) == HomogeneousBatches().over(table).batch_count(size)
    assert len(batches) == sum(-(-n // size) for n in counts)
    of = Counter(table.scenario.tolist())
    for batch in batches:
        rows = of[int(table.scenario[batch[0]])]
        assert len(batch) <= size
        assert len(batch) == rows if rows <= size else 2 * len(batch) >= size


@given(COUNTS, st.sampled_from([0, 0.3, 0.5, 1]), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_a_balanced_epoch_is_as_long_and_scenarios_have_their_shares(counts, power, size):
    table = table_of(counts)
    sampler = BalancedScenarios(power)
    batches = read(sampler, table, size, epoch=2)
    assert [len(b) for b in batches] == [len(b) for b in table.batches(size)]
    assert len(batches) == sampler.over(table).batch_count(size)
    found = Counter(table.scenario[flat(batches)].tolist())
    of = Counter(table.scenario.tolist())
    whole = math.fsum(n**power for n in of.values())
    for scenario, rows in of.items():
        assert found[scenario] >= 1
        assert abs(found[scenario] - len(table) * rows**power / whole) < 1 + 1e-9
    if power == 1:
        assert sorted(flat(batches)) == list(range(len(table)))


@given(COUNTS, st.sampled_from([0, 0.4]), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_no_row_comes_again_before_all_of_its_scenario_have(counts, power, epochs):
    table = table_of(counts)
    times = Counter()
    for epoch in range(epochs):
        times.update(flat(read(BalancedScenarios(power), table, 7, epoch=epoch)))
        for rows in scenario_rows(table):
            seen = [times[int(row)] for row in rows]
            assert max(seen) - min(seen) <= 1


@given(COUNTS, st.sampled_from([0.2, 0.5, 1.0]), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_negatives_are_kept_at_their_rate_and_all_else_is_there(counts, keep, size):
    table = table_of(counts)
    negative = (table.mask("click") & (table.label("click") == 0)).tolist()
    count = round(keep * sum(negative))
    if sum(negative) and not count:
        with pytest.raises(ValueError, match="give a larger share"):
            DownsampledNegatives("click", keep).over(table)
        return
    sampler = DownsampledNegatives("click", keep)
    for epoch in range(2):
        batches = read(sampler, table, size, epoch=epoch)
        rows = flat(batches)
        assert len(rows) == len(set(rows))
        assert {r for r in rows if not negative[r]} == {
            r for r, is_negative in enumerate(negative) if not is_negative
        }
        assert sum(negative[r] for r in rows) == count
        assert len(batches) == sampler.over(table).batch_count(size)
        assert all(len(batch) == size for batch in batches[:-1])


def test_each_negative_is_kept_as_often_as_any_other():
    table = table_of([30, 30, 0])
    sampler, times = DownsampledNegatives("click", 0.25), Counter()
    epochs = 800
    for epoch in range(epochs):
        times.update(flat(read(sampler, table, 64, epoch=epoch)))
    negative = table.mask("click") & (table.label("click") == 0)
    rate = round(0.25 * int(negative.sum())) / int(negative.sum())
    for row in negative.nonzero().squeeze(1).tolist():
        # five standard deviations of a binomial count
        assert abs(times[row] - epochs * rate) < 5 * math.sqrt(epochs * rate * (1 - rate))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_the_order_depends_on_seed_and_epoch_and_any_batch_can_be_the_first(sampler):
    table = table_of([90, 30, 7])
    first = read(sampler, table, 8, seed=1)
    assert read(sampler, table, 8, seed=1) == first
    assert read(sampler, table, 8, seed=-1) == first  # as a table's own order
    others = [read(sampler, table, 8, seed=2), read(sampler, table, 8, seed=1, epoch=1)]
    assert all(flat(other) != flat(first) for other in others)
    for start in (1, 5, len(first), len(first) + 3):
        assert read(sampler, table, 8, seed=1, start=start) == first[start:]
    assert flat(read(sampler, table, 8, shuffle=False)) == list(range(len(table)))
    assert flat(first) != sorted(flat(first))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_random_numbers_of_the_caller_stay(sampler):
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    read(sampler, table_of([9, 4, 2]), 4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_batches_of_all_scenarios_are_mixed_in_a_homogeneous_epoch():
    table = table_of([400, 400, 0])
    order = [
        int(table.scenario[batch[0]]) for batch in read(HomogeneousBatches(), table, 10, seed=4)
    ]
    changes = sum(a != b for a, b in pairwise(order))
    assert 25 < changes < 55  # 39.5 in the mean where the order is random, 1 where it is sorted


def test_scenarios_are_mixed_in_a_balanced_batch():
    table = table_of([500, 20, 0], mixed=False)
    batches = read(BalancedScenarios(0), table, 52)
    tail = [sum(int(table.scenario[row]) == 1 for row in batch) for batch in batches]
    assert sum(tail) == 260 and all(12 < n < 40 for n in tail)


@given(st.integers(1, 9), st.integers(0, 60_000), st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_rounds_are_permutations_wherever_they_are_cut(count, start, length):
    rows = np.arange(100, 100 + count)
    found = in_rounds(rows, start, start + length, 5, 0)
    assert len(found) == length
    first = -start % count  # the first whole round
    for begin in range(first, length - count + 1, count):
        assert sorted(found[begin : begin + count]) == rows.tolist()
    cut = length // 3
    parts = [in_rounds(rows, start, start + cut, 5, 0)]
    parts.append(in_rounds(rows, start + cut, start + length, 5, 0))
    assert np.concatenate(parts).tolist() == found.tolist()


def test_rounds_are_shuffled_each_for_itself():
    rounds = in_rounds(np.arange(5), 0, 5 * 600, 0, 0).reshape(600, 5)
    orders = Counter(map(tuple, rounds.tolist()))
    assert len(orders) > 110  # of 120 orders of five rows
    assert (
        in_rounds(np.arange(5), 0, 50, 0, 0).tolist()
        != in_rounds(np.arange(5), 0, 50, 0, 1).tolist()
    )  # another scenario, another order


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=12), st.floats(0, 1))
def test_quotas_sum_to_the_rows_and_are_within_one_of_their_share(counts, power):
    found = quotas(counts, power)
    whole = math.fsum(n**power for n in counts)
    assert sum(found) == sum(counts) and min(found) >= 1
    for got, n in zip(found, counts, strict=True):
        assert abs(got - sum(counts) * n**power / whole) < 1 + 1e-6


def test_the_row_that_is_left_over_goes_to_the_share_that_lacks_most():
    assert quotas([9, 4, 1], 0.5) == [7, 5, 2]  # 14: 7, 4.67, 2.33
    assert quotas([9, 1, 1], 0.5) == [7, 2, 2]  # 11: 6.6, 2.2, 2.2
    assert quotas([5, 2, 1], 0) == [3, 3, 2]  # 8: 2.67 each, the first ones first


def test_shards_drop_the_same_rows_and_other_samplers_refuse_them(tmp_path):
    table = table_of([40, 20, 5])
    write_shards(table, tmp_path / "shards", rows_per_shard=16)
    shards = ShardedTable(tmp_path / "shards")
    sampler = DownsampledNegatives("click", 0.5)
    for epoch in (0, 3):
        whole = read(sampler, shards, 8, seed=2, epoch=epoch)
        assert sorted(flat(whole)) == sorted(flat(read(sampler, table, 8, seed=2, epoch=epoch)))
        assert len(whole) == sampler.over(shards).batch_count(8)
        assert read(sampler, shards, 8, seed=2, epoch=epoch, start=2) == whole[2:]
    assert flat(read(sampler, shards, 8, shuffle=False)) == list(range(65))
    for other in SAMPLERS[:2]:
        words = rf"sampler={re.escape(repr(other))} picks rows .* ShardedTable.*in_memory\(\)"
        with pytest.raises(SchemaError, match=words):
            other.over(shards)
        assert other.over(shards.in_memory()).batch_count(8) > 0


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_a_join_and_other_tables_are_refused_with_what_to_do(sampler):
    join = Join({"a": table_of([5, 5]), "b": table_of([4, 4])})
    with pytest.raises(SchemaError, match=r"not of a Join. Its shares .* leave sampler out"):
        sampler.over(join)
    with pytest.raises(SchemaError, match="the table has no rows"):
        sampler.over(table_of([5, 5]).take([]))
    with pytest.raises(SchemaError, match=r"not of a dict. Train on a mtlkit.data.Table"):
        sampler.over({})


@pytest.mark.parametrize("power", [-0.1, 1.5, math.nan, "half", None, True])
def test_a_power_outside_0_to_1_is_refused(power):
    with pytest.raises(ValueError, match=r"power must be from 0 .* to 1"):
        BalancedScenarios(power)


@pytest.mark.parametrize("keep", [0, -1, 1.01, math.nan, "all", None, False])
def test_a_share_that_is_none_is_refused(keep):
    with pytest.raises(ValueError, match="keep must be a share of the negative rows"):
        DownsampledNegatives("click", keep)


def test_negatives_of_an_unknown_task_and_of_no_class_are_refused():
    table = table_of([9, 9])
    with pytest.raises(SchemaError, match="Unknown task 'buy'"):
        DownsampledNegatives("buy", 0.5).over(table)
    with pytest.raises(SchemaError, match=r"give a binary task, not one of kind 'regression'"):
        DownsampledNegatives("dwell", 0.5).over(table)
    with pytest.raises(ValueError, match=r"keep=0.001 of \d+ negative rows is none"):
        DownsampledNegatives("click", 0.001).over(table)


def test_bad_batch_sizes_are_refused_and_weights_come_along():
    table = table_of([9, 9])
    table.weight = torch.arange(18).float()
    for sampler in SAMPLERS:
        with pytest.raises(ValueError, match="batch_size must be 1 or more"):
            sampler.over(table).batch_count(0)
        for batch in sampler.over(table).batches(5):
            assert torch.equal(batch.weight, batch.dense[:, 0])
    assert all(isinstance(sampler, Sampler) for sampler in SAMPLERS)
