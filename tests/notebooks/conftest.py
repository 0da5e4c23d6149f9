"""Hands what a notebook records in full mode to the tests of its claims, each notebook once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mtlkit.course.learner.record import read_records
from mtlkit.course.runner import full_runs
from mtlkit.course.runner.execute import run

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture(scope="session")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Callable[..., dict[Any, Any]]:
    """recorded("02") returns the records of the learner copy's run with full sizes.

    They are those that `mtlkit build --execute` has stored with the lesson; stale ones fail the
    test. Where there are none, and with `--execute-notebooks` or MTLKIT_FRESH=1, the copy is
    executed. The keys are the records' names, or (name, source) where one was given; a table is a
    list of dictionaries, one a row.
    """
    fresh = pytestconfig.getoption("--execute-notebooks") or os.environ.get("MTLKIT_FRESH") == "1"
    results: dict[str, dict[Any, Any]] = {}

    def records_of(number: str) -> dict[Any, Any]:
        if number not in results:
            [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
            notebook = nbformat.read(path, as_version=4)
            entries = None if fresh else _stored(number, notebook)
            if entries is None:
                folder = tmp_path_factory.mktemp(f"records{number}")
                run(notebook, NOTEBOOKS, mode="full", records=folder)
                entries = read_records(folder)
            results[number] = {_key(e): _value(e) for e in entries}
        return results[number]

    return records_of


def _stored(number: str, notebook: Any) -> list[dict[str, Any]] | None:
    """The stored records; None where there are none."""
    if not full_runs.place(number).is_file():
        return None
    stale = full_runs.stale(number, notebook)
    if stale:
        pytest.fail(f"{stale[0]} To test a new run: pytest --execute-notebooks.", pytrace=False)
    return full_runs.read(number)


def _key(entry: dict[str, Any]) -> Any:
    return (entry["name"], entry["source"]) if entry.get("source") else entry["name"]


def _value(entry: dict[str, Any]) -> Any:
    if entry["kind"] != "table":
        return entry["value"]
    return [dict(zip(entry["columns"], row, strict=True)) for row in entry["rows"]]
