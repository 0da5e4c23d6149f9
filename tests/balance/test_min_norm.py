"""MGDA: common descent, its four normalisers, and TorchJD as a second opinion."""

import numpy as np
import pytest
import torch
from torchjd.aggregation import MGDA as TorchJDMGDA

from mtlkit.balance.min_norm import MGDA
from mtlkit.schema import Schema, Task
from tests.balance.gradients import KINDS, SIZES, balance, gradients


@pytest.mark.parametrize("kind", KINDS)
def test_mgda_never_raises_a_loss_and_weights_sum_to_the_number_of_tasks(kind):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        weights = balance(MGDA(), G)
        d = weights @ G / tasks
        norms = np.linalg.norm(G, axis=1)
        assert weights.sum() == pytest.approx(tasks)
        assert (G @ d >= d @ d - 1e-8 * norms.min() ** 2).all()


def test_mgda_agrees_with_torchjd_times_the_number_of_tasks():
    for kind in ("random", "tiny"):
        for tasks in (2, 3, 5):
            G = gradients(kind, tasks, 1)
            theirs = TorchJDMGDA(epsilon=1e-9, max_iters=20_000)(torch.tensor(G)).numpy()
            ours = balance(MGDA(), G) @ G
            assert ours == pytest.approx(tasks * theirs, abs=1e-3 * np.linalg.norm(G)), kind


def test_torchjds_default_of_a_hundred_steps_is_longer_than_the_shortest_vector():
    """Concordance: same method; TorchJD stops after 100 Frank-Wolfe steps or a step below 0.001."""
    excess = []
    for seed in range(5):
        G = gradients("conflict", 8, seed)
        theirs = TorchJDMGDA()(torch.tensor(G)).numpy()
        ours = balance(MGDA(), G) @ G / 8
        excess.append(np.linalg.norm(theirs) / np.linalg.norm(ours))
    assert min(excess) > 1 - 1e-9 and max(excess) > 1.05


def test_the_task_with_the_small_gradient_takes_nearly_everything():
    G = np.array([[0.01, 0.0], [0.0, 1.0]])
    assert balance(MGDA(), G) == pytest.approx([2 / (1 + 1e-4), 2e-4 / (1 + 1e-4)])


@pytest.mark.parametrize("tasks", [2, 3, 8])
@pytest.mark.parametrize("normalise", ["none", "l2", "loss", "loss+"])
def test_a_normaliser_divides_the_gradients_and_the_weights_apply_to_raw_losses(normalise, tasks):
    G, losses = gradients("random", tasks), np.linspace(0.2, 3, tasks)
    size = {
        "none": np.ones(tasks),
        "l2": np.linalg.norm(G, axis=1),
        "loss": losses,
        "loss+": losses * np.linalg.norm(G, axis=1),
    }[normalise]
    by_hand = balance(MGDA(), G / size[:, None])
    assert balance(MGDA(normalise), G, losses) == pytest.approx(by_hand, abs=1e-9)
    normalised = balance(MGDA(normalise, weigh="normalised"), G, losses)
    assert normalised.sum() == pytest.approx(tasks)
    assert normalised / normalised.max() == pytest.approx((by_hand / size) / (by_hand / size).max())


def test_l2_and_loss_plus_forget_the_unit_of_a_loss_and_none_does_not():
    G, losses, unit = gradients("random", 4), np.ones(4), np.array([1.0, 100.0, 1.0, 0.01])
    for normalise in ("l2", "loss"):
        plain = balance(MGDA(normalise), G, losses)
        assert balance(MGDA(normalise), G * unit[:, None], losses * unit) == pytest.approx(plain)
    assert np.abs(balance(MGDA(), G * unit[:, None]) - balance(MGDA(), G)).max() > 0.5


def test_only_the_normalised_step_is_sure_to_descend_for_every_task():
    losing = 0
    for seed in range(30):
        G = gradients("conflict", 4, seed) * np.array([[1.0], [5.0], [20.0], [1.0]])
        normalised = balance(MGDA("l2", weigh="normalised"), G) @ G
        assert (G @ normalised > -1e-9).all()
        losing += (G @ (balance(MGDA("l2"), G) @ G) < -1e-3).any()
    assert losing > 0


def test_a_negative_loss_cannot_normalise_and_is_named():
    schema = Schema((Task("click"), Task("items", kind="count")))
    with pytest.raises(ValueError, match=r"'items'.*none"):
        balance(MGDA("loss").bind(schema), np.eye(2), np.array([0.5, -0.1]))


def test_an_unknown_option_is_refused():
    with pytest.raises(ValueError, match="normalise"):
        MGDA("l1")
    with pytest.raises(ValueError, match="weigh"):
        MGDA(weigh="losses")
