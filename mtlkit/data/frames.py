"""One door for what others call a table: everything becomes a polars DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mtlkit.schema import SchemaError

# a type is that of all rows: the first hundred of a log may hold nothing but gaps
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet, ".csv": partial(pl.read_csv, infer_schema_length=None),
    ".ipc": pl.read_ipc, ".arrow": pl.read_ipc, ".feather": pl.read_ipc,
    ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
}  # fmt: skip
KNOWN = (
    "a polars DataFrame or LazyFrame, a pandas DataFrame, an Arrow table, a dictionary of columns, "
    "a list of dictionaries, a structured NumPy array, or the path of a Parquet, CSV, Arrow or "
    "ndjson file"
)
SEVERAL = (
    'rows of several files are one query, pl.scan_parquet("folder/*.parquet"), rows of several '
    "frames are pl.concat(frames)"
)
KEY = "Tables that share a key are joined first:"
JOIN = 'one.join(other, on=key, how="left", validate="m:1")'


def as_frame(data: Any) -> pl.DataFrame:
    """Rows from elsewhere as a polars DataFrame; their values and types stay as they are.

    ``data`` may be a polars DataFrame or LazyFrame (which is collected), a pandas DataFrame (its
    NaN become null, its index is left out), an Arrow table or whatever offers Arrow's stream, a
    dictionary {column: values}, a list of dictionaries (a row each), a structured NumPy array, or a
    path. The types of a CSV file's columns are those of all its rows; its dates stay text, unless
    you read it by ``pl.read_csv(path, try_parse_dates=True)``. Raises ``SchemaError`` for anything
    else, columns without a text for a name, columns of unequal length, one value in place of a
    column, and a file that cannot be read.
    """
    try:
        return _frame(data)
    except SchemaError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OSError,
            OverflowError) as error:  # fmt: skip
        file = isinstance(data, str | Path)
        raise SchemaError(
            f"{data if file else f'The {type(data).__name__}'} cannot be read as a table: "
            f"{str(error).rstrip('.')}.{' Write it again, or give another file.' * file}"
        ) from error


def _frame(data: Any) -> pl.DataFrame:
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, str | Path):
        return _file(Path(data))
    if isinstance(data, np.ndarray):
        if data.dtype.names is None:
            raise SchemaError(
                f"An array of shape {data.shape} has no names of columns: give a dictionary, "
                "{name: column}."
            )
        return pl.DataFrame({name: data[name] for name in data.dtype.names})
    if isinstance(data, Mapping):
        return _columns(data)
    if isinstance(data, list | tuple) and data:
        return _records(data)
    if type(data).__module__.partition(".")[0] == "pandas":
        return _pandas(data)
    if hasattr(data, "__arrow_c_stream__"):
        return pl.DataFrame(data)
    raise SchemaError(f"A {type(data).__name__} is no table: give {KNOWN}.")


def collected(query: pl.LazyFrame) -> pl.DataFrame:
    """The rows of a query, computed as a stream; one that fails raises ``SchemaError``."""
    try:
        return query.collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError) as error:
        raise SchemaError(f"The LazyFrame cannot be read: {error}.") from error


def lazy_columns(frame: pl.LazyFrame) -> pl.Schema:
    """Names and types of a query's columns; one that fails raises ``SchemaError``."""
    try:
        return frame.collect_schema()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError) as error:
        raise SchemaError(f"The LazyFrame cannot be read: {error}.") from error


def _file(path: Path) -> pl.DataFrame:
    reader = READERS.get(path.suffix.lower())
    if path.is_dir():
        raise SchemaError(f"{path} is a folder: {SEVERAL}.")
    if "*" in path.name:
        raise SchemaError(f"{path} is no file, but may be several: {SEVERAL}.")
    if reader is None:
        raise SchemaError(f"{path}: files of the kind {path.suffix!r} are not read; give {KNOWN}.")
    if not path.is_file():
        raise SchemaError(f"{path} is no file, nothing is there: mend the path.")
    if path.stat().st_size == 0:
        raise SchemaError(f"{path} is empty: write it again, or give another file.")
    frame = reader(path)
    if path.suffix.lower() == ".csv" and frame.width == 1:
        mark = next((mark for mark in ";\t|" if mark in frame.columns[0]), None)
        if mark is not None:
            raise SchemaError(
                f"{path} has one column, {frame.columns[0]!r}: its columns are not separated by "
                f"commas. Read it by pl.read_csv(path, separator={mark!r})."
            )
    return frame


def _records(data: list[Any] | tuple[Any, ...]) -> pl.DataFrame:
    """Rows as dictionaries; a name that one of them lacks is a gap."""
    if all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return _columns({name: [row.get(name) for row in data] for name in names})
    kind = type(data).__name__
    if all(isinstance(row, str | Path) or _is_frame(row) for row in data):
        raise SchemaError(f"A {kind} of tables is no table: {SEVERAL}. {KEY} {JOIN}.")
    raise SchemaError(f"A {kind} is no table: give {KNOWN}.")


def _is_frame(value: Any) -> bool:
    return isinstance(value, pl.DataFrame | pl.LazyFrame) or hasattr(value, "columns")


def _columns(data: Mapping[Any, Any]) -> pl.DataFrame:
    for name in data:
        if not isinstance(name, str):
            raise SchemaError(f"Column {name!r}: a column's name is a text.")
    columns = [_series(name, values) for name, values in data.items()]
    for column in columns[1:]:
        if len(column) != len(columns[0]):
            raise SchemaError(
                f"Column {column.name!r} has {len(column)} rows, column {columns[0].name!r} has "
                f"{len(columns[0])}."
            )
    return pl.DataFrame(columns)


def _series(name: str, values: Any) -> pl.Series:
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu().numpy()
    require_column(name, values)
    try:
        return pl.Series(name, values)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        if _mixed_numbers(values):  # 3 and 2.5, as in JSON
            return pl.Series(name, values, dtype=pl.Float64, strict=False)
        reason = str(error).splitlines()[0].rstrip(".")
        raise SchemaError(f"Column {name!r} could not be read as one column: {reason}.") from error


def _mixed_numbers(values: Any) -> bool:
    """Whether a list holds whole numbers and floats alone, each of which a float holds exactly."""
    return isinstance(values, list | tuple) and all(
        value is None
        or isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53)
        for value in values
    )


def require_column(name: str, values: Any) -> None:
    """Raise ``SchemaError`` for one value in place of a column, and for a whole table in it."""
    if _is_frame(values):
        raise SchemaError(
            f"Column {name!r} could not be read as one column: it is a table. {KEY} {JOIN}."
        )
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise SchemaError(
            f"Column {name!r} could not be read as one column: it is one value. Give a list, "
            f"{{{name!r}: [{values!r}]}}."
        )


def _pandas(data: Any) -> pl.DataFrame:
    """A pandas DataFrame by its own columns, so that pyarrow is not needed."""
    if not hasattr(data, "columns"):
        raise SchemaError(f"A pandas {type(data).__name__} is no table: give a DataFrame.")
    try:
        return pl.from_pandas(data)
    except ModuleNotFoundError:  # pyarrow, which polars wants for some types
        missing = data.isna()
        return _columns({
            name: [None if gap else value
                   for value, gap in zip(data[name].tolist(), missing[name].tolist(), strict=True)]
            for name in data.columns
        })  # fmt: skip
