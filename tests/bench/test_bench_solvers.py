from mtlkit.bench import as_table
from mtlkit.bench.solvers import measure_solvers


def test_solver_times_are_reported_for_every_solver_size_and_kind():
    result = measure_solvers(tasks=(2, 3), repeats=3)
    assert len(result) == 4
    for times in result.values():
        assert len(times) == 5 and all(time > 0 for time in times.values())
    assert "UPGrad" in as_table(result)
