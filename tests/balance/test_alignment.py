"""Aligned-MTL and IMTL-G against their definitions on whole gradients, and TorchJD."""

import numpy as np
import pytest
import torch
import torchjd.aggregation

from mtlkit.balance.alignment import IMTLG, SMALLEST_SUM, AlignedMTL
from tests.balance.gradients import SIZES, balance, gradients

EXACT = float(np.finfo(np.float64).eps)
SOUND = ("random", "orthogonal", "tiny", "huge")


def unit_rows(G):
    return G / np.linalg.norm(G, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", [*SOUND, "mixed", "duplicated", "parallel"])
@pytest.mark.parametrize("tasks", SIZES)
def test_imtl_projections_on_all_gradients_are_equal_and_positive(kind, tasks):
    for seed in range(3):
        G = gradients(kind, tasks, seed)
        projections = unit_rows(G) @ (balance(IMTLG(), G) @ G)
        assert projections.min() > 0
        assert projections == pytest.approx(np.full(tasks, projections.mean()), rel=1e-6)


def test_imtl_weights_of_two_tasks_are_inverse_to_the_norms():
    for kind in ("random", "conflict", "parallel", "mixed"):
        G = gradients(kind, 2)
        inverse = 1 / np.linalg.norm(G, axis=1)
        assert balance(IMTLG(), G) == pytest.approx(2 * inverse / inverse.sum(), rel=1e-6)


def test_imtl_agrees_with_the_papers_formula_and_with_torchjd():
    for tasks in (2, 3, 5):
        for seed in range(10):
            G = gradients("random", tasks, seed)
            D, U = G[0] - G[1:], unit_rows(G)[0] - unit_rows(G)[1:]
            rest = G[0] @ U.T @ np.linalg.inv(D @ U.T)
            paper = np.append(1 - rest.sum(), rest)
            if SMALLEST_SUM * np.abs(paper).sum() > 1:
                continue  # where our guard acts
            assert balance(IMTLG(), G) == pytest.approx(tasks * paper, rel=1e-6, abs=1e-8)
            theirs = torchjd.aggregation.IMTLG()(torch.tensor(G)).numpy()
            assert balance(IMTLG(), G) @ G == pytest.approx(tasks * theirs, rel=1e-6, abs=1e-8)


def uphill_for_the_paper():
    """Three gradients for which sum(K^+ n) < 0: the third, tiny one has a negative weight."""
    cosines = np.array([[1.0, 0.0, 0.8], [0.0, 1.0, 0.59], [0.8, 0.59, 1.0]])
    return np.linalg.cholesky(cosines) * np.array([[1.0], [1.0], [0.01]])


def test_imtl_does_not_climb_where_the_papers_division_would():
    """Concordance: our guard. TorchJD and the paper divide by a sum that is negative here."""
    G = uphill_for_the_paper()
    theirs = torchjd.aggregation.IMTLG()(torch.tensor(G)).numpy()
    assert (unit_rows(G) @ theirs < 0).all()
    ours = balance(IMTLG(), G)
    projections = unit_rows(G) @ (ours @ G)
    assert projections.min() > 0 and projections.max() == pytest.approx(projections.min())
    assert np.abs(ours).sum() <= 3 / SMALLEST_SUM * (1 + 1e-9)


def test_imtl_weights_opposed_pairs_with_zero():
    G = np.array([[1.0, 0.0], [-3.0, 0.0]])
    assert balance(IMTLG(), G).tolist() == [0.0, 0.0]


def test_imtl_direction_is_free_of_units():
    G, unit = gradients("random", 4), np.array([[1.0], [1e-3], [50.0], [1.0]])
    first, second = balance(IMTLG(), G) @ G, balance(IMTLG(), G * unit) @ (G * unit)
    assert first / np.linalg.norm(first) == pytest.approx(second / np.linalg.norm(second), rel=1e-6)


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("scale", ["min", "median", "mean"])
def test_aligned_step_is_the_sum_of_the_nearest_orthogonal_system(kind, scale):
    for tasks in SIZES:
        G = gradients(kind, tasks)
        U, values, Vt = np.linalg.svd(G, full_matrices=False)
        squares = values**2
        size = {"min": squares.min(), "median": np.median(squares), "mean": squares.mean()}[scale]
        aligned = np.sqrt(size) * U @ Vt  # equal singular values: rows orthogonal
        step = balance(AlignedMTL(scale, noise=EXACT), G) @ G
        assert step == pytest.approx(aligned.sum(0), rel=1e-6, abs=1e-9 * np.abs(G).max())


@pytest.mark.parametrize("scale", ["min", "median", "mean"])
def test_aligned_agrees_with_torchjd_times_the_number_of_tasks(scale):
    """TorchJD's name for "mean" is "rmse"; its median of an even number is the lower one."""
    theirs = torchjd.aggregation.AlignedMTL(scale_mode="rmse" if scale == "mean" else scale)
    for kind in ("random", "conflict", "duplicated"):
        for tasks in (3, 5) if kind != "duplicated" else (4, 6):
            G = gradients(kind, tasks)
            expected = tasks * theirs(torch.tensor(G)).numpy()
            assert balance(AlignedMTL(scale, noise=EXACT), G) @ G == pytest.approx(
                expected, abs=1e-8
            )


def test_equal_orthogonal_gradients_are_aligned_already():
    for size in (1e-6, 1.0, 1e8):
        assert balance(AlignedMTL(), size * np.eye(5)) == pytest.approx(np.ones(5))
        assert balance(IMTLG(), size * np.eye(5)) == pytest.approx(np.ones(5))


def test_aligned_gradients_times_a_factor_leave_the_weights():
    G = gradients("conflict", 4)
    for factor in (1e-6, 1e8):
        assert balance(AlignedMTL(), G * factor) == pytest.approx(balance(AlignedMTL(), G))


def test_a_nearly_opposed_pair_stops_the_aligned_step_of_the_paper_and_not_of_the_mean():
    G = np.array([[1.0, 0.0, 0.0], [-1.0, 1e-4, 0.0], [0.0, 0.0, 1.0]])
    assert np.linalg.norm(balance(AlignedMTL(noise=EXACT), G) @ G) < 1e-3
    assert np.linalg.norm(balance(AlignedMTL("mean"), G) @ G) > 1


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale"):
        AlignedMTL("max")


def test_rounding_in_a_float32_gramian_does_not_stop_two_tasks_that_are_one():
    g = torch.randn(1, 500)
    G = torch.cat([g, g, torch.randn(1, 500)])
    K = (G @ G.T).double()
    K += 1e-7 * K.diagonal().mean() * torch.diag(torch.tensor([1.0, 1.0, 0.0]))
    ones = torch.ones(3)
    step = AlignedMTL().weights(ones, K) @ G
    stopped = AlignedMTL(noise=EXACT).weights(ones, K) @ G
    assert float(stopped.norm()) < 0.01 * float(step.norm())


def test_imtl_projections_are_the_nearest_to_equal_where_equal_is_impossible():
    across = np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert balance(IMTLG(), across) == pytest.approx([0, 0, 3], abs=1e-12)
    for seed in range(20):
        G = gradients("crowded", 8, seed)
        units = unit_rows(G)
        projections = units @ (balance(IMTLG(), G) @ G)
        step, *_ = np.linalg.lstsq(units, np.ones(8), rcond=None)  # the step nearest to all ones
        nearest = units @ step
        scale = projections @ nearest / (nearest @ nearest)
        assert np.ptp(nearest) > 0.1  # equal is impossible
        assert scale > 0
        assert projections == pytest.approx(scale * nearest, rel=1e-8, abs=1e-10)
