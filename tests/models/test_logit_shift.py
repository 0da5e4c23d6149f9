"""A shift of logits around any model: what moves, what stays, and that it is a whole model."""

import math

import numpy as np
import pytest
import torch

from mtlkit import evaluate, export_onnx, predict, wrap
from mtlkit.losses.chain import log_joint
from mtlkit.models import LINKS, LogitShift, SharedBottom
from mtlkit.models.export import export_served, served_inputs
from mtlkit.schema import SchemaError
from mtlkit.train import seeded
from mtlkit.train.described import described
from tests import tiny
from tests.models import registry

SHIFTS = {"click": -0.7, "purchase": {"place 1": 1.5, "unknown": 0.25}}


def shifted(name="shared-bottom", shifts=SHIFTS):
    with seeded(0):
        model = registry.make(name).eval()
    return model, LogitShift(model, shifts)


def by_hand(schema, task, scenario):
    own = SHIFTS.get(task, 0.0)
    if not isinstance(own, dict):
        return torch.full((len(scenario),), own)
    number = {"unknown": schema.unknown_scenario, "place 1": schema.scenario_index("place 1")}
    found = torch.zeros(len(scenario))
    for name, value in own.items():
        found[scenario == number[name]] = value
    return found


@pytest.mark.parametrize("name", ["shared-bottom", "single-task", "star", "mmoe", *LINKS])
def test_logits_move_by_the_shift_of_task_and_scenario_and_nothing_else_does(name):
    model, moved = shifted(name)
    batch = tiny.all_rows(registry.table(name))
    before, after = model(batch), moved(batch)
    assert list(before) == list(after)
    for task, z in before.items():
        expected = z
        if task in SHIFTS:
            expected = z + by_hand(model.schema, task, batch.scenario)
        torch.testing.assert_close(after[task], expected)
    parts = moved.outputs(moved.embed(batch), batch)
    for task, z in after.items():
        torch.testing.assert_close(parts[task], z)
    assert torch.equal(moved.losses(before, batch), model.losses(before, batch))
    assert torch.equal(moved.row_losses(before, batch), model.row_losses(before, batch))
    assert torch.equal(moved.loss_rows(batch), model.loss_rows(batch))
    joint = moved.predict_joint(batch)
    for task, log_p in log_joint(model.schema, after).items():
        torch.testing.assert_close(joint[task], log_p.exp())


def test_the_shifts_are_read_as_they_were_given():
    _, moved = shifted()
    assert moved.shifts["purchase"] == {"place 0": 0, "place 1": 1.5, "place 2": 0, "unknown": 0.25}
    assert set(moved.shifts) == {"click", "cart", "purchase"}
    assert all(v == pytest.approx(-0.7) for v in moved.shifts["click"].values())


def test_auc_within_a_scenario_stays_and_the_pooled_one_need_not():
    table = registry.table(rows=300)
    model, moved = shifted(shifts={"click": {"place 0": 2.0, "place 1": -1.0, "unknown": 0.5}})
    before, after = (evaluate(m, table, by_scenario=True) for m in (model, moved))
    for place, metrics in before.items():
        assert after[place]["click"]["auc"] == metrics["click"]["auc"]
    assert evaluate(moved, table)["click"]["auc"] != evaluate(model, table)["click"]["auc"]
    assert evaluate(moved, table)["dwell"] == evaluate(model, table)["dwell"]


def test_a_scenario_more_begins_as_the_unknown_one():
    model, moved = shifted()
    table = registry.table()
    before = predict(moved, table)
    grown = moved.extend(scenario="ads")
    assert grown.shifts["purchase"]["ads"] == grown.shifts["purchase"]["unknown"] == 0.25
    assert grown.schema.scenario_names == (*model.schema.scenario_names, "ads")
    larger = model.schema.extend(scenario="ads")
    columns = table._columns()
    for number in (larger.unknown_scenario, larger.scenario_index("ads")):
        scenario = table.scenario.clone()
        scenario[scenario == model.schema.unknown_scenario] = number
        other = type(table)(larger, **columns | {"scenario": scenario})
        for task, values in predict(grown, other).items():
            np.testing.assert_array_equal(values, before[task])
    assert moved.schema == model.schema and moved.shift.shape == (4, 8)


def test_an_exported_program_has_the_shifts_inside():
    _, moved = shifted()
    table = registry.table(rows=11)
    batch = tiny.all_rows(table)
    columns = [torch.from_numpy(v) for v in served_inputs(moved.schema, batch).values()]
    found = export_served(moved).module()(*columns)
    for value, expected in zip(found, moved.predict(batch).values(), strict=True):
        torch.testing.assert_close(value, expected)


def test_onnx_has_the_shifts_inside(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    _, moved = shifted()
    batch = tiny.all_rows(registry.table(rows=11))
    export_onnx(moved, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    found = session.run(None, served_inputs(moved.schema, batch))
    for value, expected in zip(found, moved.predict(batch).values(), strict=True):
        np.testing.assert_allclose(value, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_state_mode_and_description_are_those_of_a_model():
    model, moved = shifted()
    assert not moved.training and LogitShift(model.train(), SHIFTS).training
    assert moved.network is model
    other = LogitShift(model, {})
    other.load_state_dict(moved.state_dict())
    assert other.shifts == moved.shifts
    assert described(other) == described(moved) != described(LogitShift(model, {}))


def test_shifts_add_up_one_around_the_other():
    model, once = shifted(shifts={"click": 0.5})
    batch = tiny.all_rows(registry.table())
    twice = LogitShift(once, {"click": -0.5})
    torch.testing.assert_close(twice(batch)["click"], model(batch)["click"])


def test_a_wrapped_module_can_be_shifted_and_a_plain_one_is_refused():
    schema = tiny.schema("click", sequences=False)

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(-torch.ones(1))

        def forward(self, batch):
            return {"click": self.bias.expand(batch.rows)}

    model = LogitShift(wrap(One(), schema), {"click": 1 + math.log(3)})
    assert predict(model, tiny.table(schema))["click"] == pytest.approx(0.75)
    with pytest.raises(SchemaError, match=r"not a One: mtlkit.wrap"):
        LogitShift(One(), {})


@pytest.mark.parametrize(
    ("shifts", "error", "words"),
    [
        ({"nothing": 1}, SchemaError, "Unknown task 'nothing'"),
        ({"dwell": 1}, SchemaError, "'dwell', which is not binary"),
        ({"click": {"nowhere": 1}}, SchemaError, "Unknown scenario 'nowhere'"),
        ({"click": math.nan}, ValueError, "shifts has nan for click; it must be a finite number"),
        ({"click": "much"}, ValueError, "shifts has 'much' for click"),
        ({"click": {"place 1": math.inf}}, ValueError, "shifts has inf for click, place 1"),
    ],
)
def test_shifts_that_do_not_fit_are_refused(shifts, error, words):
    model = SharedBottom(registry.schema(), **registry.SIZES)
    with pytest.raises(error, match=words):
        LogitShift(model, shifts)
