"""Calibration: sums that agree, shifts found in two ways, and what samplers do to chances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import nn

from mtlkit import evaluate, fit, predict, wrap
from mtlkit.data import BalancedScenarios, DownsampledNegatives, Table
from mtlkit.models import LINKS, LogitShift, SharedBottom
from mtlkit.schema import Dense, Scenario, Schema, SchemaError, Task
from mtlkit.train import calibrate, seeded
from mtlkit.train.calibration import intercepts
from tests import tiny
from tests.models import registry

RUN = {
    "epochs": 12, "batch_size": 200, "learning_rate": 0.3, "device": "cpu", "progress": False,
    "row_prior": None,
}  # fmt: skip

# the first logits are all 0, which look like chances
pytestmark = pytest.mark.filterwarnings("ignore:All .* outputs of task")


class Bias(nn.Module):
    """One logit for each task, or for each scenario and task: it reads nothing else."""

    def __init__(self, schema, scenarios):
        super().__init__()
        self.scenarios, self.names = scenarios, schema.task_names
        sets = schema.num_scenarios + 1 if scenarios else 1
        self.bias = nn.Parameter(torch.zeros(sets, schema.num_tasks))

    def forward(self, batch):
        rows = self.bias[batch.scenario * int(self.scenarios)]
        return dict(zip(self.names, rows.T, strict=True))


def labelled(rows, rates, seed=0):
    """Rows of each scenario with exactly the share ``rates`` of clicks; half of the clicks buy, and
    a like goes along with a click four times in five, and without one once in five."""
    names = tuple(Scenario(f"s{i}") for i in range(len(rows)))
    tasks = (Task("click"), Task("buy", given="click"), Task("like"))
    schema = Schema(tasks, (), (Dense("x"),), (), names)
    scenario = torch.arange(len(rows)).repeat_interleave(torch.tensor(rows))
    parts = [torch.arange(n) < round(n * rate) for n, rate in zip(rows, rates, strict=True)]
    click = torch.cat(parts).float()
    order = torch.arange(len(click))
    buy = click * (order % 2)
    like = torch.where(click == 1, order % 5 != 0, order % 5 == 0).float()
    labels = torch.stack([click, buy, like], dim=1)
    observed = torch.ones_like(labels, dtype=torch.bool)
    observed[:, 1] = click == 1
    x = torch.randn(len(click), 1, generator=torch.Generator().manual_seed(seed))
    none = torch.zeros(len(click), 0, dtype=torch.int64)
    return Table(schema, none, x, {}, labels, observed, scenario)


def trained(table, *, scenarios, sampler=None, **more):
    model = wrap(Bias(table.schema, scenarios), table.schema)
    fit(model, table, sampler=sampler, **RUN | more)
    return model


def chance(model, table, task="click"):
    """The mean prediction of each scenario."""
    found = predict(model, table)[task]
    return [float(found[table.scenario == s].mean()) for s in range(table.schema.num_scenarios)]


# What samplers do


@pytest.mark.parametrize("keep", [0.1, 0.5])
def test_negatives_left_out_shift_the_logit_by_minus_ln_keep_and_the_shift_mends_it(keep):
    table, sampler = labelled([1000, 1000], [0.1, 0.3]), DownsampledNegatives("click", keep)
    model = trained(table, scenarios=True, sampler=sampler)
    for p, q in zip((0.1, 0.3), chance(model, table), strict=True):
        assert q == pytest.approx(p / (p + (1 - p) * keep), abs=0.03)
        assert q > p + 0.05
    mended = LogitShift(model, sampler.shifts)
    assert chance(mended, table) == pytest.approx([0.1, 0.3], abs=0.02)
    # a task given this one needs no shift, one that goes along with it is shifted
    assert chance(model, table, "buy") == pytest.approx([0.5, 0.5], abs=0.03)
    assert chance(model, table, "like")[0] > 0.26 + 0.03
    joint = mended.predict_joint(tiny.all_rows(table))["buy"]
    assert float(joint[:1000].mean()) == pytest.approx(0.05, abs=0.01)


def test_the_shift_of_negatives_is_that_of_odds():
    # an epoch of a sample: the odds of a 1 grow by 1 / keep, in numbers of rows
    table, sampler = labelled([4000], [0.2]), DownsampledNegatives("click", 0.125)
    labels = torch.cat([batch.labels[:, 0] for batch in sampler.over(table).batches(512)])
    before, after = (float(y.sum() / (1 - y).sum()) for y in (table.label("click"), labels))
    assert math.log(before / after) == pytest.approx(sampler.shifts["click"])


def test_balancing_shifts_a_model_that_cannot_tell_scenarios_apart_and_no_other():
    table = labelled([1800, 200], [0.1, 0.5])
    blind = trained(table, scenarios=False, sampler=BalancedScenarios(0))
    assert chance(blind, table) == pytest.approx([0.3, 0.3], abs=0.03)
    assert evaluate(blind, table)["click"]["pcoc"] == pytest.approx(0.3 / 0.14, abs=0.2)
    seeing = trained(table, scenarios=True, sampler=BalancedScenarios(0))
    assert chance(seeing, table) == pytest.approx([0.1, 0.5], abs=0.03)
    plain = trained(table, scenarios=False)
    assert chance(plain, table) == pytest.approx([0.14, 0.14], abs=0.02)
    whole = calibrate(blind, table, "click", by_scenario=False)
    assert chance(whole, table) == pytest.approx([0.14, 0.14], abs=1e-5)
    assert chance(calibrate(blind, table, "click"), table) == pytest.approx([0.1, 0.5], abs=1e-5)


# What calibrate finds


@pytest.mark.parametrize("name", ["shared-bottom", "single-task", "star", *LINKS])
@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_of_each_cell_sum_to_its_labels_and_their_order_stays(name, weighted):
    with seeded(1):
        model = registry.make(name).double()  # float32 joins logits that are very close
    table = registry.table(name, rows=400)
    table.dense = table.dense.double()
    if weighted:
        table.weight = torch.rand(400, generator=torch.Generator().manual_seed(2))
    found = calibrate(model, table)
    before, after = (evaluate(m, table, by_scenario=True) for m in (model, found))
    for place, metrics in after.items():
        for task in ("click", "cart", "purchase"):
            assert metrics[task]["pcoc"] == pytest.approx(1, abs=1e-5), (place, task)
            assert metrics[task]["auc"] == pytest.approx(before[place][task]["auc"], abs=1e-9)
            assert metrics[task]["log_loss"] <= before[place][task]["log_loss"] + 1e-9
        assert metrics["dwell"] == before[place]["dwell"]
    assert evaluate(found, table)["click"]["pcoc"] == pytest.approx(1, abs=1e-5)
    assert found.network is model


CELLS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-30, 30), st.booleans(), st.floats(0, 5)),
    min_size=1, max_size=40,
)  # fmt: skip


@given(CELLS, st.sampled_from([0.0, 0.01, 1.0, 100.0]), st.floats(-3, 3))
@settings(max_examples=150, deadline=None)
def test_a_shift_is_the_root_that_another_solver_finds(rows, precision, centre):
    cell, z, y, w = (np.array(column) for column in zip(*rows, strict=True))
    given_rows = [torch.tensor(c, dtype=torch.float64) for c in (z, y, w)]
    found = intercepts(*given_rows, torch.tensor(cell), 4, centre, precision)
    assert found.isfinite().all()
    for number, b in enumerate(found.tolist()):
        here = cell == number
        own, mass, ones = z[here], w[here], (w * y)[here].sum()
        solvable = mass.sum() > 0 if precision else 0 < ones < mass.sum()
        if not solvable:
            assert b == centre
            continue

        def gap(b, own=own, mass=mass, ones=ones):
            chances = 1 / (1 + np.exp(-np.clip(own + b, -700, 700)))
            return (mass * chances).sum() - ones + precision * (b - centre)

        # the sums agree, or b is the root to its last digits
        reach = 1e-6 * (1 + abs(b))
        if abs(gap(b)) > 1e-9 * (1 + mass.sum()):
            assert gap(b - reach) <= 0 <= gap(b + reach)
        if gap(-200) < 0 < gap(200) and gap(b + 1e-4) - gap(b - 1e-4) > 1e-9:
            assert b == pytest.approx(brentq(gap, -200, 200, xtol=1e-12), abs=1e-4)


def test_a_cell_of_one_class_or_without_rows_takes_the_shift_of_all():
    table = labelled([300, 50, 40, 0], [0.2, 0.0, 1.0, 0.0])
    model = wrap(Bias(table.schema, False), table.schema)
    shifts = calibrate(model, table, ["click"]).shifts["click"]
    whole = calibrate(model, table, "click", by_scenario=False).shifts["click"]
    assert len(set(whole.values())) == 1 and whole["s0"] == pytest.approx(
        math.log(100 / 290), abs=1e-6
    )
    for place in ("s1", "s2", "s3", "unknown"):
        assert shifts[place] == whole["s0"]
    assert shifts["s0"] == pytest.approx(math.log(60 / 240), abs=1e-6)


def test_an_unknown_scenario_with_rows_is_a_cell_of_its_own():
    table = labelled([200, 100, 100], [0.2, 0.5, 0.7])
    table.scenario[300:] = table.schema.unknown_scenario
    found = calibrate(wrap(Bias(table.schema, False), table.schema), table)
    assert found.shifts["click"]["unknown"] == pytest.approx(math.log(7 / 3), abs=1e-6)
    places = evaluate(found, table, by_scenario=True)
    assert places["unknown"]["click"]["pcoc"] == pytest.approx(1, abs=1e-6)


def test_a_prior_holds_small_cells_near_the_shift_of_all_and_large_ones_hardly():
    table = labelled([4000, 10, 8], [0.2, 0.5, 0.0])
    model = wrap(Bias(table.schema, False), table.schema)

    def shift(deviation):
        return calibrate(model, table, "click", deviation=deviation).shifts["click"]

    free, held, tight = shift(None), shift(0.5), shift(1e-3)
    whole = calibrate(model, table, "click", by_scenario=False).shifts["click"]["s0"]
    assert held["s0"] == pytest.approx(free["s0"], abs=0.01)
    assert whole + 0.1 < held["s1"] < free["s1"] - 0.3
    assert held["s2"] < whole - 0.1  # no positive: a shift of its own all the same
    assert all(b == pytest.approx(whole, abs=1e-4) for b in tight.values())
    assert shift(1e6)["s1"] == pytest.approx(free["s1"], abs=1e-4)


def test_a_task_of_one_class_is_not_moved_and_other_tasks_are_left_alone():
    table = labelled([50, 50], [0.0, 0.0])
    found = calibrate(wrap(Bias(table.schema, False), table.schema), table)
    assert set(found.shifts["click"].values()) == set(found.shifts["buy"].values()) == {0.0}
    only = calibrate(wrap(Bias(table.schema, False), table.schema), table, "like")
    assert set(only.shifts["click"].values()) == {0.0} and only.shifts["like"]["s0"] != 0


def test_what_does_not_fit_is_refused():
    table = registry.table(rows=40)
    model = SharedBottom(table.schema, **registry.SIZES)
    with pytest.raises(ValueError, match="deviation must be above 0, not 0; None: no prior"):
        calibrate(model, table, deviation=0)
    with pytest.raises(SchemaError, match="tasks names 'dwell', which is not binary"):
        calibrate(model, table, ["click", "dwell"])
    with pytest.raises(SchemaError, match="Unknown task 'nothing'"):
        calibrate(model, table, "nothing")
    with pytest.raises(ValueError, match="has no rows"):
        calibrate(model, table.take([]))
    with pytest.raises(SchemaError, match="must be a Table"):
        calibrate(model, None)
    amounts = tiny.schema("dwell", "rating")
    with pytest.raises(SchemaError, match="no binary task"):
        calibrate(SharedBottom(amounts, **registry.SIZES), tiny.table(amounts))
    with torch.no_grad():
        model.towers.of("click")[-1].bias += math.nan
    with pytest.raises(ValueError, match="logits of task 'click' are not all finite"):
        calibrate(model, table)


def test_mode_weights_and_random_numbers_stay_and_more_tasks_in_the_table_do_no_harm():
    table = registry.table(rows=60)
    alone = table.select_tasks(["click", "purchase"])
    with seeded(0):
        model = SharedBottom(alone.schema, dropout=0.5, **registry.SIZES).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    found = calibrate(model, table)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    other = calibrate(model, alone, batch_size=7).shifts
    for task, own in found.shifts.items():
        assert other[task] == pytest.approx(own, abs=1e-5)
