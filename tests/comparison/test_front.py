"""The Pareto front against a slow one."""

import numpy as np
import pytest

from mtlkit.comparison import pareto_front


def slow(points):
    """One pair after the other."""

    def beats(q, p):
        return all(b >= a for a, b in zip(p, q)) and any(b > a for a, b in zip(p, q))

    return [not any(beats(q, p) for q in points) for p in points]


@pytest.mark.parametrize("aims", [1, 2, 3, 4])
def test_the_front_is_that_of_a_slow_search_with_ties_and_twins(aims):
    rng = np.random.default_rng(aims)
    for count in (1, 2, 7, 40):
        points = rng.integers(0, 5, size=(count, aims)).astype(float)
        assert pareto_front(points).tolist() == slow(points.tolist())


def test_twins_stay_together_and_a_gap_beats_nobody():
    assert pareto_front([[1, 2], [1, 2], [0, 2]]).tolist() == [True, True, False]
    assert pareto_front([[np.nan, 9], [1, 2]]).tolist() == [True, True]


def test_other_shapes_are_refused():
    for wrong in ([1.0, 2.0], np.zeros((0, 2))):
        with pytest.raises(ValueError, match="points: expected"):
            pareto_front(wrong)
