"""What a notebook recorded in its last run with full sizes, stored with the lesson as records.json.

The tests of a notebook's claims read it, so that they need not execute the notebook. Its key says
what the run rests on: the learner copy's code cells, the full sizes, torch, all frozen numbers of
that time, and the stored tables of its contest and its studies.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtlkit.course.learner import lesson
from mtlkit.course.runner import keys

REMEDY = "run `python -m mtlkit build --only {} --execute` and commit what it writes"


def place(number: str, lessons: Path | None = None) -> Path:
    """Where a lesson's records lie (or would lie)."""
    return (lessons or lesson.FOLDER) / f"nb{number}" / "records.json"


def key_of(number: str, notebook: Any) -> dict[str, Any]:
    """What the records of a notebook rest on now."""
    return {
        "cells": [cell["id"] for cell in notebook.cells if cell.cell_type == "code"],
        "sizes": keys.full_sizes(number),
        "torch": keys.torch_release(),
        "evidence": keys.evidence_hash(number),
        "studies": keys.study_hashes(number),
        "golden": keys.golden(),
    }


def as_json(number: str, notebook: Any, records: Sequence[dict[str, Any]]) -> str:
    """The text of records.json for a notebook that has just run."""
    content = {"key": key_of(number, notebook), "records": list(records)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read(number: str, lessons: Path | None = None) -> list[dict[str, Any]] | None:
    """The stored records, None without any. Raises ``ValueError`` for a damaged file."""
    path = place(number, lessons)
    return _content(path)["records"] if path.is_file() else None


def stale(number: str, notebook: Any, lessons: Path | None = None) -> list[str]:
    """One sentence if the stored records no longer hold for this notebook, else none."""
    try:
        old = _content(place(number, lessons))["key"]
    except ValueError as problem:
        return [str(problem)]
    moved = keys.moved(old, key_of(number, notebook))
    if not moved:
        return []
    what = f"The records of notebook {number} are stale: {', '.join(moved)} moved"
    return [f"{what}; {REMEDY.format(number)}."]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content["key"], dict) and isinstance(content["records"], list):
            return content
    except (ValueError, KeyError, TypeError):
        pass
    number = path.parent.name[2:]
    raise ValueError(f"{path.name} of notebook {number} is damaged; {REMEDY.format(number)}.")
