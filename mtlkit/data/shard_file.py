"""One shard: rows of a table as the columns of a Parquet file, and back.

Columns are called by what they are: ``row_id``, ``scenario``, ``c:`` categorical, ``d:`` dense,
``s:`` sequence, ``l:`` label, ``o:`` observed, ``z:`` censored, ``t:`` truth, ``k:`` key, ``w``
weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.data.batch import Ragged
from mtlkit.data.checks import check_row_weights
from mtlkit.data.manifest import AGAIN, Manifest, ShardEntry, flagged
from mtlkit.data.table import Table
from mtlkit.files import why_not_read
from mtlkit.schema import Schema, SchemaError


def to_frame(table: Table) -> pl.DataFrame:
    """The rows of a table on the CPU as a frame, with the columns that ``Manifest.columns`` names.

    Flags of censored counts are there for every such task, False where the table has none.
    """
    schema, columns = table.schema, {"row_id": _own(table.row_id), "scenario": _own(table.scenario)}
    for i, c in enumerate(schema.categorical):
        columns[f"c:{c.name}"] = _own(table.categorical[:, i])
    for name, part in schema.dense_slices.items():
        block = table.dense[:, part]
        columns[f"d:{name}"] = _own(block if block.shape[1] > 1 else block[:, 0])
    for name, (values, offsets) in table.sequences.items():
        columns[f"s:{name}"] = _lists(values, offsets)
    for i, task in enumerate(schema.tasks):
        columns[f"l:{task.name}"] = _own(table.labels[:, i])
        columns[f"o:{task.name}"] = _own(table.observed[:, i])
    for name in flagged(schema):
        flags = torch.zeros(len(table), schema.num_tasks, dtype=torch.bool)
        flags = flags if table.censored is None else table.censored
        columns[f"z:{name}"] = _own(flags[:, schema.task_index(name)])
    columns |= {f"t:{name}": _own(value) for name, value in table.truth.items()}
    columns |= {f"k:{name}": _own(value) for name, value in table.keys.items()}
    for letter, name in (("w", "weight"), ("g", "group")):
        column = getattr(table, name, None)
        columns |= {} if column is None else {letter: _own(column)}
    return pl.DataFrame(columns)


def _own(column: Tensor) -> Any:
    return column.contiguous().numpy()


def _lists(values: Tensor, offsets: Tensor) -> pl.Series:
    lengths = offsets.diff()
    rows = pl.DataFrame({"row": np.repeat(np.arange(len(lengths)), lengths.numpy()),
                         "value": values.numpy()})  # fmt: skip
    lists = rows.group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": np.arange(len(lengths))})
    joined = every.join(lists, on="row", how="left", maintain_order="left")
    return joined["value"].cast(pl.List(pl.Int64)).fill_null([])


def read_shard(
    folder: Path, entry: ShardEntry, kinds: dict[str, Any], names: Iterable[str]
) -> pl.DataFrame:
    """Columns ``names`` of a shard, of which all of the file's bytes were checked.

    ``kinds`` {column: polars type} is what the whole file must have. Raises ``SchemaError`` that
    names the file: other bytes than were written, no Parquet, other columns, types or rows, gaps.
    """
    path = folder / entry.file
    try:
        content = path.read_bytes()
    except OSError as error:
        told = why_not_read(path, error)
        raise SchemaError(f"{path} cannot be read ({told}). {AGAIN}") from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise SchemaError(
            f"{path} is not the file that was written: its SHA-256 is another. It was damaged, "
            f"edited or swapped. {AGAIN}"
        )
    try:
        found = dict(pl.read_parquet_schema(BytesIO(content)))
        _refuse_kinds(path, found, kinds)
        frame = pl.read_parquet(BytesIO(content), columns=list(names))
    except SchemaError:
        raise
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise SchemaError(
            f"{path} is no Parquet file that can be read ({error}). {AGAIN}"
        ) from error
    if frame.height != entry.rows:
        raise SchemaError(
            f"{path} has {frame.height} rows; the manifest says {entry.rows}. {AGAIN}"
        )
    for series in frame:
        if series.null_count():
            raise SchemaError(f"{path} has gaps in column {series.name!r}. {AGAIN}")
    return frame


def _refuse_kinds(path: Path, found: dict[str, Any], kinds: dict[str, Any]) -> None:
    for name in [*kinds, *found]:
        if name not in found or name not in kinds:
            told = "lacks column" if name not in found else "has a column too many,"
            raise SchemaError(f"{path} {told} {name!r}. {AGAIN}")
        if found[name] != kinds[name]:
            raise SchemaError(
                f"{path}: column {name!r} has type {found[name]}, not {kinds[name]}. {AGAIN}"
            )


def table_columns(manifest: Manifest, schema: Schema) -> list[str]:
    """The columns of a shard that a table of ``schema``, some tasks of the shards', needs."""
    wanted = {f"{kind}:{name}" for kind in "loz" for name in schema.task_names}
    return [name for name in manifest.columns() if name[:2] not in ("l:", "o:", "z:")
            or name in wanted]  # fmt: skip


def to_table(
    frame: pl.DataFrame, manifest: Manifest, schema: Schema, *, check: bool = True
) -> Table:
    """The table that ``to_frame`` wrote, with the tasks of ``schema`` alone, in its order."""
    tasks = schema.task_names
    parts: dict[str, Any] = {
        "categorical": _block(frame, [f"c:{c.name}" for c in schema.categorical], torch.int64),
        "dense": _block(frame, [f"d:{d.name}" for d in schema.dense], torch.float32),
        "sequences": {s.name: _ragged(frame[f"s:{s.name}"]) for s in schema.sequences},
        "labels": _block(frame, [f"l:{t}" for t in tasks], torch.float32),
        "observed": _block(frame, [f"o:{t}" for t in tasks], torch.bool),
        "scenario": tensor(frame["scenario"]),
        "censored": flags(frame, schema) if manifest.censored else None,
        "truth": {name: tensor(frame[f"t:{name}"]) for name in manifest.truth},
        "keys": {name: tensor(frame[f"k:{name}"]) for name in manifest.keys},
        "row_id": tensor(frame["row_id"]),
        "group": tensor(frame["g"]) if manifest.group else None,
    }
    table = Table(schema, **parts, check=check)
    if manifest.weight:
        weight = tensor(frame["w"])
        if check:
            check_row_weights("weight", weight)
        table.weight = weight  # all of one shard may weigh 0
    return table


def tensor(series: pl.Series) -> Tensor:
    """A column as a tensor of its own: (row,), or (row, k) for arrays."""
    return torch.from_numpy(np.array(series.to_numpy()))


def flags(frame: pl.DataFrame, schema: Schema) -> Tensor:
    """Which labels are only lower bounds, bool (row, task)."""
    result = torch.zeros(frame.height, schema.num_tasks, dtype=torch.bool)
    for name in flagged(schema):
        result[:, schema.task_index(name)] = tensor(frame[f"z:{name}"])
    return result


def _block(frame: pl.DataFrame, names: Sequence[str], dtype: torch.dtype) -> Tensor:
    columns = [tensor(frame[name]) for name in names]
    wide = [c if c.dim() > 1 else c.unsqueeze(1) for c in columns]
    return torch.cat([torch.zeros(frame.height, 0, dtype=dtype), *wide], 1)  # (row, column)


def _ragged(lists: pl.Series) -> Ragged:
    lengths = np.array(lists.list.len().cast(pl.Int64).to_numpy())
    values = lists.filter(lists.list.len() > 0).explode()
    if values.null_count():
        raise SchemaError(f"Sequence column {lists.name[2:]!r} has gaps inside its lists.")
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return tensor(values.cast(pl.Int64)), torch.from_numpy(offsets)
