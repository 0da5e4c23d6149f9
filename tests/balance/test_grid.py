"""Every balancer in ``fit``: missing labels, bf16, resume, steps, copies.

That it trains every network is in tests/models/test_grid.py.
"""

import copy

import pytest
import torch

from mtlkit.balance import (
    EVERY_BALANCER,
    Balancer,
    DecaySchedule,
    EqualWeights,
    FixedWeights,
    MetaBalance,
)
from mtlkit.models import SharedBottom
from mtlkit.schema import SchemaError
from mtlkit.train import fit, seeded
from tests import tiny

SIZES = {"embedding_dim": 3, "hidden": (8,), "tower": (6,), "dropout": 0.1}
OWN = {
    "fixed": lambda: FixedWeights({"click": 2.0}),
    "schedule": lambda: DecaySchedule({"click": (2.0, 0.9)}, every="step"),
    "metabalance": lambda: MetaBalance("purchase"),
}
READ_GRADIENTS = [n for n, b in EVERY_BALANCER.items() if b.needs_gramian or b.needs_gradients]


def make(name):
    if name in OWN:
        return OWN[name]()
    return EVERY_BALANCER[name]()


def train(name, table=None, **options):
    table = tiny.table(tiny.schema(), 48) if table is None else table
    with seeded(3):
        model = SharedBottom(table.schema, **SIZES)
    chosen = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "progress": False}
    history = fit(model, table, balancer=make(name), device="cpu", **(chosen | options))
    return model, history


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _untrained():
    with seeded(3):
        return SharedBottom(tiny.schema(), **SIZES)


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_a_task_that_is_never_labelled_harms_no_balancer(name):
    table = tiny.table(tiny.schema(), 48)
    table.observed[:, 3] = False
    table.labels[:, 3] = 0
    model, history = train(name, table=table)
    assert weights(model).isfinite().all() and history.steps == 6
    untouched = _untrained()
    assert not torch.equal(weights(model), weights(untouched))
    for ours, old in zip(
        model.towers[3].parameters(), untouched.towers[3].parameters(), strict=True
    ):
        assert torch.equal(ours, old)


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_a_resumed_run_ends_with_the_very_weights_of_an_uninterrupted_one(name, tmp_path):
    rate = {"schedule": "constant", "batch_size": 24}  # two steps an epoch
    whole, _ = train(name, **rate)
    options = {**rate, "checkpoint": tmp_path / "run.pt"}
    train(name, max_steps=3, **options)  # in the middle of the second epoch
    resumed, _ = train(name, resume=True, **options)
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_every_balancer_trains_under_bfloat16(name):
    model, _ = train(name, precision="bf16", batch_size=24)
    assert weights(model).isfinite().all()
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("optimizer", ["lazy_adam", "sgd"])
@pytest.mark.parametrize("name", ["upgrad", "graddrop", "gradnorm"])
def test_gradients_of_touched_rows_reach_sparse_optimisers(name, optimizer):
    model, _ = train(name, optimizer=optimizer)
    assert weights(model).isfinite().all()
    assert not torch.equal(model.embedding.table, _untrained().embedding.table)


@pytest.mark.parametrize("name", [n for n in READ_GRADIENTS if n not in ("gradnorm", "excess-mtl")])
def test_every_rule_of_gradients_but_one_works_at_the_representation(name):
    model, history = train(name, shared="representation", batch_size=24)
    assert weights(model).isfinite().all()
    assert history.backward_passes == history.steps


def test_excess_risk_has_no_memory_at_the_representation_and_says_so():
    with pytest.raises(ValueError, match='use shared="parameters"'):
        train("excess-mtl", shared="representation")


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_a_rule_that_remembers_is_not_bound_to_other_tasks(name):
    balancer = make(name).bind(tiny.schema())
    with seeded(0):
        model = SharedBottom(tiny.schema(), **SIZES)
    fit(model, tiny.table(tiny.schema(), 32), balancer=balancer, epochs=2, progress=False)
    balancer.bind(tiny.schema())
    others = tiny.schema("click", "purchase", "orders", "units")
    state = balancer.state_dict()
    if any(isinstance(v, torch.Tensor) and k != "generator" for k, v in state.items()):
        with pytest.raises(SchemaError, match="make a new balancer"):
            balancer.bind(others)
    else:
        balancer.bind(others)


def test_the_history_counts_backward_passes():
    passes = {"equal": 1, "uw": 1, "gradnorm": 1, "pcgrad": 7, "graddrop": 7, "sdmgrad": 14}
    for name, per_step in passes.items():
        assert train(name)[1].backward_passes == 6 * per_step


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_a_copy_of_a_balancer_is_independent_of_it(name):
    balancer = make(name).bind(tiny.schema())
    twin = copy.deepcopy(balancer)
    before = repr(twin.state_dict())
    with seeded(0):
        model = SharedBottom(tiny.schema(), **SIZES)
    fit(model, tiny.table(tiny.schema(), 48), balancer=balancer, epochs=1, progress=False)
    assert repr(twin.state_dict()) == before


class Ones(Balancer):
    """Weight 1 for every task, but through the engine of task gradients."""

    needs_gramian, weighs_heads = True, False

    def task_weights(self, losses, gramian):
        return torch.ones_like(losses)


@pytest.mark.parametrize("shared", ["parameters", "representation"])
def test_with_all_weights_one_the_engine_trains_like_equal_weighting(shared):
    table = tiny.table(tiny.schema(), 48)
    ends = []
    for balancer, options in ((EqualWeights(), {}), (Ones(), {"shared": shared})):
        with seeded(3):
            model = SharedBottom(table.schema, **SIZES)
        fit(
            model, table, balancer=balancer, epochs=2, batch_size=16, learning_rate=0.01,
            optimizer="sgd", progress=False, device="cpu", **options,
        )  # fmt: skip
        ends.append(weights(model))
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_is_named_with_its_epoch_and_batch():
    table = tiny.table(tiny.schema(), 48)
    table.dense[20] = 1e38
    for name in ("uw", "pcgrad", "graddrop", "equal"):
        with pytest.raises(FloatingPointError, match=r"loss of task '.*' is .* epoch 0, batch \d"):
            train(name, table=table)
