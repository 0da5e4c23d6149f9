"""The mean weight of every task in the history of a training run."""

import math

import pytest
import torch

from mtlkit.balance import (
    EVERY_BALANCER,
    Curriculum,
    EqualWeights,
    GradientObserver,
    RandomLossWeighting,
)
from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.models import SharedBottom
from mtlkit.train import fit, seeded
from tests import tiny
from tests.balance.test_grid import make

NO_WEIGHTS = {"graddrop", "metabalance", "db-mtl", "moco"}  # their update is no w^T G


class Noting(Balancer):
    """Weights 1, 2, 3, ... by step, the same for all tasks, in a tensor that is moved in place."""

    def __init__(self):
        self.now, self.labelled = torch.zeros(2), []

    def weights(self, losses, gramian=None):
        self.now += 1
        self.labelled.append((losses != 0).tolist())
        return self.now


def train(balancer, table, **options):
    with seeded(0):
        model = SharedBottom(table.schema, embedding_dim=3, hidden=(8,), tower=(4,))
    chosen = {"epochs": 2, "batch_size": 4, "progress": False, "device": "cpu"} | options
    return fit(model, table, balancer=balancer, **chosen)


def test_a_mean_weight_is_that_of_the_steps_with_a_labelled_row():
    table = tiny.table(tiny.schema("click", "rating"), 40)
    table.observed[::2] = False
    table.observed[5:, 1] = False
    table.labels[~table.observed] = 0
    balancer = Noting()
    history = train(balancer, table)
    assert not all(map(all, balancer.labelled))
    for epoch, row in enumerate(history.rows):
        for task, name in enumerate(table.schema.task_names):
            steps = [s for s in range(10 * epoch, 10 * epoch + 10) if balancer.labelled[s][task]]
            mean = sum(step + 1 for step in steps) / len(steps)
            assert row["weights"][name] == pytest.approx(mean), (epoch, name)


def test_many_steps_are_added_up_in_parts_and_a_resume_keeps_every_bit(tmp_path):
    table = tiny.learnable(600)
    rate = {"batch_size": 1, "epochs": 1, "schedule": "constant"}
    options = {"checkpoint": tmp_path / "run.pt", "resume": True, **rate}
    seen, rule = [], RandomLossWeighting()
    original = rule.weights
    rule.weights = lambda losses, gramian=None: seen.append(original(losses)) or seen[-1]
    whole = train(rule, table, **rate)
    train(RandomLossWeighting(), table, max_steps=270, checkpoint_every=100, **options)
    resumed = train(RandomLossWeighting(), table, **options)
    assert resumed.rows[-1]["weights"] == whole.rows[0]["weights"]
    weights = torch.stack(seen).double()
    for task, name in enumerate(table.schema.task_names):
        column = weights[:, task]
        assert whole.rows[0]["weights"][name] == pytest.approx(float(column[column > 0].mean()))


def test_a_task_without_a_label_in_the_epoch_has_no_mean_weight():
    table = tiny.table(tiny.schema("click", "rating"), 40)
    table.observed[:, 1] = False
    table.labels[:, 1] = 0
    [row] = train(None, table, epochs=1).rows
    assert row["weights"]["click"] == 1 and math.isnan(row["weights"]["rating"])


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_every_rule_that_has_weights_shows_them_in_the_history(name):
    table = tiny.table(tiny.schema(), 48)
    [row] = train(make(name), table, epochs=1, batch_size=16).rows
    if name in NO_WEIGHTS:
        assert row["weights"] is None
    else:
        assert list(row["weights"]) == list(table.schema.task_names)
        assert all(map(math.isfinite, row["weights"].values()))


@pytest.mark.parametrize("wrapped", ["alone", "observed", "in a curriculum"])
@pytest.mark.parametrize(
    "name", [n for n, b in EVERY_BALANCER.items() if not b.weighs_heads and n not in NO_WEIGHTS]
)
def test_the_weights_that_a_rule_of_gradients_shows_are_those_of_its_update(name, wrapped):
    schema = tiny.schema("click", "rating", "orders", "dwell")
    rule = make(name)
    if wrapped == "observed":
        rule = GradientObserver(rule)
    elif wrapped == "in a curriculum":
        rule = Curriculum([("click",), ("orders",)], floor=0.25, balancer=rule)
    rule.bind(schema)
    generator = torch.Generator().manual_seed(0)
    for missing in (None, 2):
        matrix = torch.randn(4, 9, generator=generator)
        losses = torch.tensor([0.4, 1.0, 0.8, 1.3])
        if missing is not None:
            matrix[missing], losses[missing] = 0, 0
        halves = (matrix, matrix) if rule.needs_halves else None
        update = rule.combine(losses, TaskGradients(matrix, {"layer": slice(0, 9)}, 9, halves))
        torch.testing.assert_close(rule.last_weights @ matrix, update, rtol=1e-4, atol=1e-5)
        if missing is not None:
            assert rule.last_weights[missing] == 0


def test_an_observer_of_equal_weighting_shows_ones_and_one_of_no_weights_none():
    table = tiny.table(tiny.schema("click", "rating"), 40)
    [row] = train(GradientObserver(EqualWeights()), table, epochs=1).rows
    assert row["weights"] == {"click": 1, "rating": 1}
    [row] = train(GradientObserver(EVERY_BALANCER["graddrop"]()), table, epochs=1).rows
    assert row["weights"] is None


def test_the_frame_of_a_history_holds_the_weights():
    table = tiny.table(tiny.schema("click", "rating"), 40)
    history = train(RandomLossWeighting(), table)
    frame = history.frame().filter(metric="weight", task="rating")
    assert frame["part"].to_list() == ["balance"] * 2
    assert frame["value"].to_list() == [row["weights"]["rating"] for row in history.rows]
