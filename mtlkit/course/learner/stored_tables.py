"""Named tables as text files in a lesson's folder: what is read back is what was written.

One CSV a table, and `key.json` beside them: what the tables rest on, and each table's columns with
their types and a hash of its text, so that a file changed by hand or half a write is seen.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from mtlkit.files import why_not_read, write_text

KEY = "key.json"
TYPES: dict[str, Any] = {
    "text": pl.Utf8,
    "whole number": pl.Int64,
    "number": pl.Float64,
    "truth": pl.Boolean,
}


def short_hash(text: str) -> str:
    """Eight hexadecimal digits of a text, the same whatever its line ends."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(plain.encode("utf-8")).hexdigest()[:8]


def plain_types(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The table with whole numbers and floats of 64 bits; refuses what CSV cannot hold."""
    casts = []
    for column, kind in frame.schema.items():
        if kind == pl.Null:
            wanted: Any = pl.Utf8
        elif kind.is_integer():
            wanted = pl.Int64
        elif kind.is_float():
            wanted = pl.Float64
        elif kind in (pl.Utf8, pl.Boolean):
            wanted = kind
        elif kind in (pl.Categorical, pl.Enum):
            wanted = pl.Utf8
        else:
            raise ValueError(
                f"table {name!r}, column {column!r}: cannot store {kind}; give texts, numbers or "
                "truth values."
            )
        casts.append(pl.col(column).cast(wanted))
    return frame.select(casts)


def rounded(column: pl.Series, digits: int = 5) -> pl.Series:
    """Floats with so many significant digits."""
    values = [None if value is None else float(f"{value:.{digits}g}") for value in column]
    return pl.Series(column.name, values, dtype=pl.Float64)


def write_tables(folder: Path, tables: Mapping[str, pl.DataFrame], key: Mapping[str, Any]) -> None:
    """Write every table and the key, each file whole; a table that is no longer there goes.

    The key comes last: until then the old one does not fit, and a reader says so.
    """
    described = {}
    for name, frame in tables.items():
        text = frame.write_csv(line_terminator="\n")
        names = {kind: word for word, kind in TYPES.items()}
        columns = {column: names[kind] for column, kind in frame.schema.items()}
        described[name] = {"hash": short_hash(text), "columns": columns}
        write_text(folder / f"{name}.csv", text)
    content = json.dumps({**key, "tables": described}, indent=1, ensure_ascii=False)
    write_text(folder / KEY, content + "\n")
    for old in folder.glob("*.csv"):
        if old.stem not in tables:
            old.unlink()


def read_key(folder: Path) -> dict[str, Any]:
    """The key of a folder; raises ``ValueError`` for a file that is none, or is not there."""
    path = folder / KEY
    state = "is damaged"
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(key, dict) and isinstance(key.get("tables"), dict):
            return key
    except OSError as error:
        state = f"cannot be read ({why_not_read(path, error)})"
    except (ValueError, RecursionError):  # not JSON, or not utf-8
        pass
    raise ValueError(f"{path} {state}: restore it, or make the tables anew.")


def read_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """All tables of a folder. Raises ``ValueError`` for one that is missing or was changed."""
    tables = {}
    for name, described in read_key(folder)["tables"].items():
        path = folder / f"{name}.csv"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            state = "differs from what was written"
        except OSError as error:
            text, state = "", f"is missing ({why_not_read(path, error)})"
        if short_hash(text) != described["hash"]:
            raise ValueError(f"{path} {state}: restore it, or make the tables anew.")
        schema = {column: TYPES[word] for column, word in described["columns"].items()}
        tables[name] = pl.read_csv(io.BytesIO(text.encode("utf-8")), schema=schema)
    return tables
