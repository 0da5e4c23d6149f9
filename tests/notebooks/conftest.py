"""Runs a notebook once in full mode and hands its recorded results to the tests of its claims."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mtlkit.course.learner.record import read_records
from mtlkit.course.runner.execute import run

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[Any, Any]]:
    """recorded("02") executes the learner copy with full sizes and returns its records.

    The keys are the records' names, or (name, source) where one was given; a table is a list of
    dictionaries, one a row. Each notebook is executed once a test run.
    """
    results: dict[str, dict[Any, Any]] = {}

    def records_of(number: str) -> dict[Any, Any]:
        if number not in results:
            [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
            folder = tmp_path_factory.mktemp(f"records{number}")
            notebook = nbformat.read(path, as_version=4)
            run(notebook, NOTEBOOKS, mode="full", records=folder)
            results[number] = {_key(e): _value(e) for e in read_records(folder)}
        return results[number]

    return records_of


def _key(entry: dict[str, Any]) -> Any:
    return (entry["name"], entry["source"]) if entry.get("source") else entry["name"]


def _value(entry: dict[str, Any]) -> Any:
    if entry["kind"] != "table":
        return entry["value"]
    return [dict(zip(entry["columns"], row, strict=True)) for row in entry["rows"]]
