"""Right answers to notebook 03 that are written in other ways than the stored solutions."""

from mtlkit.course.learner.check import judge, load

load("03")


def test_an_update_that_writes_into_what_it_gets_is_right():
    def update(v, a, for_v, for_heads, weights, rate):
        v -= rate * (weights[:, None] * for_v).sum(dim=0)
        a -= rate * weights * for_heads
        return v, a

    assert judge("3.1", update).status == "right"


def test_loops_over_the_points_find_the_dominated_ones():
    def dominated(points):
        return [any((q >= p).all() and (q > p).any() for q in points) for p in points]

    assert judge("3.2", dominated).status == "right"


def test_another_losing_run_unmasks_the_measure_too():
    def fooled(improvement):
        return bool(improvement([0.50, 0.58, 0.61], 0.90) > 0)

    assert judge("3.3", fooled).status == "right"
