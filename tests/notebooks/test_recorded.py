"""The tests of claims read stored records, refuse stale ones, and can run a notebook anew."""

import nbformat
import pytest

from mtlkit.course.author.folders import source_paths
from mtlkit.course.author.make import build_one
from mtlkit.course.runner import full_runs


def test_stored_records_are_read_without_a_run(recorded, monkeypatch, pytestconfig):
    if pytestconfig.getoption("--execute-notebooks"):
        pytest.skip("asked for new runs")
    monkeypatch.setitem(recorded.__globals__, "run", None)
    assert len(recorded("00")["click rate by position"]) == 8


def test_stale_records_fail_the_test_and_say_what_moved(recorded):
    notebook = nbformat.from_dict(build_one(source_paths(only=["00"])[0]).learner)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[2].id = "edited"
    with pytest.raises(pytest.fail.Exception, match=r"from code cell 3 on moved.*--execute-n"):
        recorded.__globals__["_stored"]("00", notebook)


def test_a_notebook_without_stored_records_is_to_be_run(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(full_runs, "place", lambda number: tmp_path / "records.json")
    assert recorded.__globals__["_stored"]("00", None) is None
