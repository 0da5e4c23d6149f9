"""Recording results: what a notebook finds, kept as small JSON files for the course report."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mtlkit.course.learner import home
from mtlkit.files import write_text

FOLDER_VARIABLE = "MTLKIT_RECORD"
MAX_ROWS = 500


def record(name: str, value: Any, *, source: str = "", note: str = "") -> Path:
    """Keep one result under a name, so that the course report can show it.

    ``value`` is a number, a text, a truth value, a dictionary or list of these, a polars DataFrame
    (up to 500 rows), or a ``Report``: its table, or where it has none its sentence. ``source``
    names the data behind it: tables of the same name and different sources are shown side by side,
    for example "synthetic shop" and "Complete Journey". ``note`` is one sentence shown below. The
    file goes to the folder in the environment variable MTLKIT_RECORD, otherwise to
    ``.mtlkit/records``; a second record of the same name and source replaces the first. Returns the
    file's path. Raises TypeError for a value that cannot be kept, ValueError for an empty name or a
    table that is too long.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError("record(name, value): the name must be a text such as 'auc of click'")
    value = _of_report(value)
    entry = {"name": name.strip(), "source": source, "note": note, **_encode(name, value)}
    target = record_folder() / f"{_file_name(name, source)}.json"
    text = json.dumps(entry, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_text(target, text)
    return target


def record_folder() -> Path:
    """The folder of the records: MTLKIT_RECORD, otherwise ``records`` in the learner's own folder.

    That is ``.mtlkit`` of the checkout, or of the folder that MTLKIT_HOME names; where the checkout
    is shared or read-only, the user's data folder.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else home.folder() / "records"


def read_records(folder: Path | str) -> list[dict[str, Any]]:
    """All records of a folder in the order they were made; a file that is no record is left out."""
    entries = []
    files = Path(folder).glob("*.json") if Path(folder).is_dir() else []
    for file in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            entry = json.loads(file.read_text(encoding="utf-8"), parse_constant=str)
        except (ValueError, OSError, RecursionError):
            continue
        if is_record(entry):
            entries.append(entry)
    return entries


def is_record(entry: object) -> bool:
    """Whether ``entry`` has the form that ``record`` writes: a notebook can write any file."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return False
    if not _is_shallow(entry):
        return False
    if any(not isinstance(entry.get(key, ""), str) for key in ("source", "note")):
        return False
    if entry.get("kind") == "table":
        columns, rows = entry.get("columns"), entry.get("rows")
        return (
            isinstance(columns, list)
            and isinstance(rows, list)
            and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
        )
    if entry.get("kind") == "values":
        return isinstance(entry.get("value"), dict | list)
    return entry.get("kind") == "value"


def _is_shallow(value: object, levels: int = 20) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in parts)


def _file_name(name: str, source: str) -> str:
    """Readable and unique: words of the name, and a short hash that also covers the source."""
    words = re.sub(r"[^a-z0-9]+", "_", f"{name} {source}".lower()).strip("_")[:48]
    digest = hashlib.sha256(f"{name.strip()}\0{source}".encode()).hexdigest()[:8]
    return f"{words or 'result'}-{digest}"


def _of_report(value: Any) -> Any:
    """Of a report (told apart without loading it) what can be kept; else the value itself."""
    if not all(hasattr(value, part) for part in ("table", "sentence", "picture")):
        return value
    return value.sentence if value.table is None else value.table


def _encode(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, pl.DataFrame):
        if value.height > MAX_ROWS:
            raise ValueError(
                f"record({name!r}): the table has {value.height} rows; record a summary of at "
                f"most {MAX_ROWS}"
            )
        rows = [[_plain(name, cell) for cell in row] for row in value.rows()]
        return {"kind": "table", "columns": value.columns, "rows": rows}
    plain = _plain(name, value)
    return {"kind": "values" if isinstance(plain, dict | list) else "value", "value": plain}


def _plain(name: str, value: Any) -> Any:
    """The value in JSON's own types; NaN and infinities become "nan", "inf" and "-inf"."""
    if hasattr(value, "detach"):  # a torch tensor, told apart without importing torch
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic | pl.Series):
        value = value.to_list() if isinstance(value, pl.Series) else value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(name, part) for key, part in value.items()}
    if isinstance(value, Sequence | set):
        return [_plain(name, part) for part in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(
        f"record({name!r}): cannot keep a {type(value).__name__}; give a number, a text, "
        "a dictionary, a list or a polars DataFrame"
    )
