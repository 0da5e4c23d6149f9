"""UPGrad: no conflict with anybody, and the projections themselves."""

import numpy as np
import pytest
import scipy.optimize
import torch
import torchjd.aggregation
from hypothesis import given, settings
from torchjd.linalg import DualConeProjector

from mtlkit.balance.cone import UPGrad
from mtlkit.balance.surgery import PCGrad
from tests.balance.gradients import KINDS, SIZES, balance, gradients, matrices


@pytest.mark.parametrize("kind", KINDS)
def test_no_task_is_hurt(kind):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        weights = balance(UPGrad(), G)
        norms = np.linalg.norm(G, axis=1)
        slack = 1e-6 if kind == "nearly_opposite" else 1e-9
        assert weights.min() >= 1
        assert ((weights @ G) @ G.T / norms).min() > -slack * norms.max() * tasks


@settings(max_examples=100, deadline=None)
@given(matrices())
def test_no_task_is_hurt_by_small_whole_numbers(G):
    assert (G @ (balance(UPGrad(), G) @ G)).min() > -1e-7


def test_two_tasks_are_pcgrad_and_agreeing_tasks_are_added():
    for seed in range(20):
        G = gradients("random", 2, seed)
        assert balance(UPGrad(), G) == pytest.approx(balance(PCGrad(), G))
    assert balance(UPGrad(), np.abs(gradients("random", 5))).tolist() == [1.0] * 5


class NNLSProjector(DualConeProjector):
    """What TorchJD's default does with quadprog, by scipy's NNLS and without its ridge of 1e-4."""

    def __call__(self, U, G):
        root = np.linalg.cholesky(G.numpy()).T  # columns are gradients
        rows = [u + scipy.optimize.nnls(root, -root @ u)[0] for u in U.numpy()]
        return torch.tensor(np.array(rows))


def test_upgrad_is_torchjds_mean_of_projections_times_the_number_of_tasks():
    """Concordance: TorchJD adds 1e-4 times the identity to K / trace(K) before it projects."""
    for kind in ("random", "conflict"):
        for tasks in (2, 3, 5):
            G = gradients(kind, tasks)
            theirs = torchjd.aggregation.UPGrad(projector=NNLSProjector())(torch.tensor(G))
            assert balance(UPGrad(), G) @ G == pytest.approx(tasks * theirs.numpy(), rel=1e-6)


def test_a_loss_times_a_factor_scales_its_own_projection_alone():
    G = gradients("conflict", 4)
    steps = [balance(UPGrad(), G * np.array([[1.0], [k], [1.0], [1.0]])) for k in (1.0, 2.0, 3.0)]
    vectors = [w @ (G * np.array([[1.0], [k], [1.0], [1.0]])) for w, k in zip(steps, (1, 2, 3))]
    assert vectors[2] - vectors[1] == pytest.approx(vectors[1] - vectors[0], abs=1e-9)
