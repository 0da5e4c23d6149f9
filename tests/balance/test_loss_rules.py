"""What holds for every balancer that needs only the losses."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit.balance.dynamic import DecaySchedule, DynamicTaskPriority, DynamicWeightAverage
from mtlkit.balance.famo import FAMO
from mtlkit.balance.positive import PositiveLosses
from mtlkit.balance.random_weights import RandomLossWeighting
from mtlkit.balance.scalarizations import GeometricLoss, LogSum, SmoothTchebycheff
from mtlkit.balance.uncertainty import IMTLL, UncertaintyWeighting
from mtlkit.models import SharedBottom
from mtlkit.schema import Schema, SchemaError, Task
from mtlkit.train import fit, seeded
from mtlkit.train.checkpoint import load_checkpoint, save_checkpoint
from tests import tiny

SCHEMA = Schema(
    (Task("click"), Task("dwell", "regression"), Task("category", "multiclass", classes=3))
)
RULES = {
    "RLW": RandomLossWeighting,
    "RLW dirichlet": lambda: RandomLossWeighting("dirichlet"),
    "UW": UncertaintyWeighting,
    "UW log1p": lambda: UncertaintyWeighting(regulariser="log1p"),
    "IMTL-L": IMTLL,
    "DWA": DynamicWeightAverage,
    "DTP": DynamicTaskPriority,
    "DTP rescaled": lambda: DynamicTaskPriority(rescale=True),
    "schedule by epoch": lambda: DecaySchedule({"click": (2.0, 0.5)}),
    "schedule by step": lambda: DecaySchedule({"click": (2.0, 0.5)}, every="step"),
    "GLS": GeometricLoss,
    "log-sum": LogSum,
    "log-sum rescaled": lambda: LogSum(rescale=True),
    "STCH": lambda: SmoothTchebycheff(0.3, {"click": 2.0}, {"dwell": 0.01}),
    "STCH after a warm-up": lambda: SmoothTchebycheff(0.3, warmup=2),
    "STCH of logs": lambda: SmoothTchebycheff(0.5, warmup=1, logs=True),
    "FAMO": FAMO,
}
every_rule = pytest.mark.parametrize("name", RULES)
some_losses = st.lists(st.floats(0.02, 50.0), min_size=3, max_size=3)


def make(name, schema=SCHEMA):
    return RULES[name]().bind(schema)


def losses_of(step, tasks=3):
    generator = torch.Generator().manual_seed(step)
    return 0.1 + torch.rand(tasks, generator=generator, dtype=torch.float64) * 3


def run(rule, steps, start=0, order=(0, 1, 2)):
    """The weights of some steps, with an epoch of five steps task 1 missing now and then."""
    found = []
    for step in range(start, start + steps):
        losses, after = losses_of(step)[list(order)], losses_of(step + 1000)[list(order)]
        missing = order.index(1)
        if step % 3 == 1:
            losses[missing] = after[missing] = 0.0
        found.append(rule.weights(losses))
        rule.after_step(after)
        if step % 5 == 4:
            means = losses_of(step + 2000)[list(order)]
            if step % 10 == 9:
                means[missing] = torch.nan
            rule.end_epoch(means)
    return torch.stack(found)  # (step, task)


def flat(state):
    """Every tensor and number of a state, nested or not."""
    for key, value in state.items():
        if isinstance(value, dict):
            yield from flat(value)
        else:
            yield key, value


def assert_same(one, other):
    one, other = dict(flat(one)), dict(flat(other))
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(-7.0), other[key].nan_to_num(-7.0)), key
        else:
            assert value == other[key], key


@every_rule
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_have_the_dtype_of_the_losses_and_no_gradient(name, dtype):
    losses = losses_of(0).to(dtype).requires_grad_()
    weights = make(name).weights(losses)
    assert weights.dtype == dtype and weights.shape == (3,) and not weights.requires_grad
    exact = make(name).weights(losses.detach().double())
    assert torch.equal(weights, exact.to(dtype))


@every_rule
def test_state_continues_bit_for_bit_through_a_checkpoint_file(name, tmp_path):
    rule = make(name)
    run(rule, 10)
    save_checkpoint(tmp_path / "run.pt", {"balancer": rule.state_dict()})
    expected = run(rule, 10, start=10)
    restored = make(name)
    run(restored, 3, start=50)  # another past, to be forgotten
    restored.load_state_dict(load_checkpoint(tmp_path / "run.pt")["balancer"])
    assert torch.equal(run(restored, 10, start=10), expected)
    assert_same(restored.state_dict(), rule.state_dict())


@every_rule
def test_a_deep_copy_continues_alike_and_apart(name):
    rule = make(name)
    run(rule, 7)
    before = copy.deepcopy(rule.state_dict())
    twin = copy.deepcopy(rule)
    ahead = run(twin, 8, start=7)
    assert_same(rule.state_dict(), before)
    assert torch.equal(run(rule, 8, start=7), ahead)


@every_rule
def test_a_batch_without_labels_has_weights_0_and_is_not_remembered(name):
    rule = make(name)
    run(rule, 10)
    before = copy.deepcopy(rule.state_dict())
    assert rule.weights(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    rule.after_step(torch.zeros(3))
    assert_same(rule.state_dict(), before)


@every_rule
def test_a_task_without_labels_has_weight_0_and_waits(name):
    rule = make(name)
    run(rule, 12)
    before = copy.deepcopy(rule.state_dict())
    weights = rule.weights(torch.tensor([0.7, 0.0, 1.3]))
    rule.after_step(torch.tensor([0.6, 0.0, 1.2]))
    rule.end_epoch(torch.tensor([0.6, torch.nan, 1.2]))
    assert weights[1] == 0 and (weights[[0, 2]] > 0).all()
    after = dict(flat(rule.state_dict()))
    for key, old in flat(before):
        if isinstance(old, torch.Tensor) and key != "generator":
            assert torch.equal(old[..., 1], after[key][..., 1]), key


@pytest.mark.parametrize("name", [n for n in RULES if not n.startswith("RLW")])
def test_the_order_of_tasks_does_not_matter(name):
    order = (2, 0, 1)
    permuted = Schema(tuple(SCHEMA.tasks[i] for i in order))
    expected = run(make(name), 15)[:, list(order)]
    torch.testing.assert_close(run(make(name, permuted), 15, order=order), expected)


@every_rule
@settings(max_examples=25, deadline=None)
@given(start=some_losses, end=some_losses)
def test_weights_are_finite_and_not_negative_for_any_positive_losses(name, start, end):
    rule = make(name)
    for losses in (start, end, start):
        losses = torch.tensor(losses, dtype=torch.float64)
        weights = rule.weights(losses)
        assert weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0
        rule.after_step(losses * 0.9)
        rule.end_epoch(losses)


SIMPLEX = ["RLW", "RLW dirichlet", "DWA", "DTP rescaled", "log-sum rescaled", "FAMO"]


@pytest.mark.parametrize("name", SIMPLEX)
def test_weights_of_a_simplex_sum_to_the_number_of_tasks(name):
    rule = make(name)
    run(rule, 10)
    torch.testing.assert_close(float(rule.weights(losses_of(3)).sum()), 3.0)
    if name != "DWA":  # its weights belong to the epoch, whoever is in the batch
        losses = losses_of(4)
        losses[0] = 0.0
        torch.testing.assert_close(float(rule.weights(losses).sum()), 2.0)


@pytest.mark.parametrize("name", ["UW", "UW log1p", "IMTL-L", "DWA", "GLS", "STCH after a warm-up"])
def test_equal_losses_start_as_equal_weights(name):
    schema = Schema((Task("a"), Task("b"), Task("c")))
    weights = make(name, schema).weights(torch.ones(3))
    assert weights.tolist() == [1.0, 1.0, 1.0]


LOGARITHMIC = [n for n in RULES if isinstance(RULES[n](), PositiveLosses) and n[:4] != "STCH"]


@pytest.mark.parametrize("name", LOGARITHMIC)
def test_a_negative_loss_is_refused_with_its_task_and_the_way_out(name):
    with pytest.raises(ValueError, match=r"'dwell' is -0.5.*minimum=\{'dwell'"):
        rule = make(name)
        rule.weights(torch.tensor([1.0, -0.5, 1.0]))
        rule.end_epoch(torch.tensor([1.0, -0.5, 1.0]))  # where DWA reads the losses


@pytest.mark.parametrize(
    "rule", [UncertaintyWeighting, IMTLL, DynamicTaskPriority, GeometricLoss, LogSum, FAMO]
)
def test_a_minimum_is_the_same_as_losses_counted_from_it(rule):
    low = rule(minimum={"dwell": -2.0}).bind(SCHEMA)
    plain = rule().bind(SCHEMA)
    shift = torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64)
    for step in range(5):
        losses = losses_of(step)
        torch.testing.assert_close(low.weights(losses - shift), plain.weights(losses))
        low.after_step(losses * 0.9 - shift)
        plain.after_step(losses * 0.9)


def test_a_minimum_needs_a_known_task_and_the_order_of_tasks():
    with pytest.raises(SchemaError, match=r"GeometricLoss.*minimum.*'return'.*click, dwell"):
        GeometricLoss({"return": -1.0}).bind(SCHEMA)
    with pytest.raises(RuntimeError, match=r"GeometricLoss.*bind\(schema\)"):
        GeometricLoss({"click": -1.0}).weights(torch.ones(3))
    with pytest.raises(ValueError, match=r"minimum\['click'\]"):
        GeometricLoss({"click": float("nan")})


@pytest.mark.parametrize(
    "rule",
    [UncertaintyWeighting(form="regression"), IMTLL(), DynamicWeightAverage()]
    + [DynamicTaskPriority(), FAMO()],
)
def test_another_number_of_tasks_is_refused_where_there_is_a_memory(rule):
    rule.weights(torch.ones(3))
    with pytest.raises(ValueError, match="remembers 3 tasks and was given 2"):
        rule.weights(torch.ones(2))


SMALL = {"embedding_dim": 4, "hidden": (8,), "tower": (4,), "dropout": 0.2}


def trained(rule, table, **options):
    with seeded(0):
        model = SharedBottom(table.schema, **SMALL)
    options = {"epochs": 4, "batch_size": 100, "device": "cpu", "precision": "fp32", **options}
    fit(model, table, balancer=rule, schedule="constant", progress=False, **options)
    return model


@every_rule
def test_fit_resumes_in_mid_epoch_to_the_same_model_and_memory(name, tmp_path):
    table = tiny.learnable(300)
    whole, part = RULES[name](), RULES[name]()
    if name.startswith("STCH"):  # they name a task that this table lacks
        whole, part = (SmoothTchebycheff(0.3, warmup=2, logs="logs" in name) for _ in range(2))
    rest = copy.deepcopy(part)
    expected = trained(whole, table)
    file = tmp_path / "run.pt"
    trained(part, table, checkpoint=file, max_steps=7)
    resumed = trained(rest, table, checkpoint=file, resume=True)
    for key, value in expected.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    assert_same(rest.state_dict(), whole.state_dict())


WITH_COUNTS = {
    "UW": UncertaintyWeighting,
    "IMTL-L": IMTLL,
    "DWA": DynamicWeightAverage,
    "DTP": DynamicTaskPriority,
    "GLS": GeometricLoss,
    "log-sum": LogSum,
    "STCH": lambda: SmoothTchebycheff(warmup=1),
    "STCH of logs": lambda: SmoothTchebycheff(warmup=1, logs=True),
    "FAMO": FAMO,
    "RLW": RandomLossWeighting,
    "schedule": lambda: DecaySchedule({"units": (2.0, 0.9)}, every="step"),
}


@pytest.mark.parametrize("name", WITH_COUNTS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fit_trains_every_kind_of_task_with_missing_labels(name, precision):
    table = tiny.table(tiny.schema(), rows=60)
    model = trained(
        WITH_COUNTS[name](), table, epochs=3, batch_size=8, precision=precision, learning_rate=0.01
    )
    losses = model.losses(model(tiny.all_rows(table)), tiny.all_rows(table))
    assert losses.isfinite().all()
    with seeded(0):
        start = SharedBottom(table.schema, **SMALL).eval()
    before = start.losses(start(tiny.all_rows(table)), tiny.all_rows(table))
    assert losses.sum() < before.sum()
