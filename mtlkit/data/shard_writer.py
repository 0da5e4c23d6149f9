"""Writing tables larger than memory: Parquet shards in a folder, one table after the other."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import weakref
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.data.agreement import require_inputs, require_tasks
from mtlkit.data.checks import check_columns
from mtlkit.data.manifest import Manifest, ShardEntry, write_manifest
from mtlkit.data.shard_file import to_frame
from mtlkit.data.table import Table
from mtlkit.files import write_bytes
from mtlkit.schema import Schema, SchemaError


class ShardWriter:
    """Writes the rows of any number of tables as one folder of shards.

    ``with ShardWriter(schema, folder) as writer: writer.add(table)`` for each table in turn, or
    ``writer.add(...)`` and ``writer.close()``. Only the rows of one shard wait in memory, and 8
    bytes of every row, its id. The folder appears when it is closed, complete; after an error, or
    if it is never closed, nothing is left.

    Parameters
    ----------
    schema
        The schema that every table has.
    folder
        A folder that does not exist yet.
    rows_per_shard
        Rows of each file; the last has the rest. Shuffling goes shard by shard, and two are in
        memory at a time, so a shard should hold many batches.

    Raises ``FileExistsError`` for a folder that is there, ``SchemaError`` for a table that does not
    fit, has other keys or truth than the first one, or a row id that was written before, and
    ``ValueError`` for ``rows_per_shard`` below 1 and for rows after closing.
    """

    def __init__(self, schema: Schema, folder: str | Path, rows_per_shard: int = 100_000) -> None:
        if not isinstance(schema, Schema):
            raise SchemaError(f"Shards need a Schema, not a {type(schema).__name__}.")
        if not isinstance(folder, str | Path):
            raise ValueError(f"folder must be a path, not a {type(folder).__name__}.")
        whole = isinstance(rows_per_shard, int | np.integer) and not isinstance(
            rows_per_shard, bool
        )
        if not whole or rows_per_shard < 1:
            raise ValueError(f"rows_per_shard must be 1 or more, not {rows_per_shard!r}.")
        self.schema, self.folder, self.rows_per_shard = schema, Path(folder), int(rows_per_shard)
        self._refuse_taken()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = f".{self.folder.name[:40]}.{secrets.token_hex(4)}.part"
        self._unfinished = self.folder.parent / hidden
        self._unfinished.mkdir()
        self._remove = weakref.finalize(self, shutil.rmtree, self._unfinished, ignore_errors=True)
        self._kind: dict[str, Any] | None = None  # of the first table
        self._censored = False
        self._seen = _RowIds()
        self._waiting: list[pl.DataFrame] = []
        self._shards: list[ShardEntry] = []
        self.rows = 0

    def _refuse_taken(self) -> None:
        if self.folder.exists():
            raise FileExistsError(
                f"{self.folder} exists already; remove it or choose another folder."
            )

    def add(self, table: Table) -> ShardWriter:
        """Write the rows of a table after those before; returns the writer."""
        self._refuse_closed()
        self._check(table)
        table = table.to("cpu")
        self._seen.add(table.row_id)
        self._censored |= table.censored is not None
        begin = 0
        while begin < len(table):
            room = self.rows_per_shard - self.rows % self.rows_per_shard
            end = min(begin + room, len(table))
            self._waiting.append(to_frame(table.take(torch.arange(begin, end))))
            self.rows += end - begin
            begin = end
            if self.rows % self.rows_per_shard == 0:
                self._write()
        return self

    def close(self) -> Path:
        """Write what waits and the manifest, and give the folder its name; returns it."""
        self._refuse_closed()
        try:
            if self._waiting:
                self._write()
            kind = self._kind or {"truth": {}, "keys": (), "weight": False, "group": False}
            write_manifest(
                self._unfinished,
                Manifest(self.schema, **kind, censored=self._censored, shards=tuple(self._shards)),
            )
            self._refuse_taken()
            self._unfinished.replace(self.folder)
        finally:
            self._remove()
        return self.folder

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._remove()
        elif self._remove.alive:  # not closed by hand
            self.close()

    def _refuse_closed(self) -> None:
        if not self._remove.alive:
            raise ValueError(f"The writer of {self.folder} is closed; nothing can be added to it.")

    def _check(self, table: Any) -> None:
        if not isinstance(table, Table):
            raise SchemaError(f"Shards are written from a Table, not a {type(table).__name__}.")
        require_inputs(self.schema, table.schema)
        require_tasks(self.schema, table.schema)
        if table.schema != self.schema:
            raise SchemaError(
                "The table has other tasks than the shards, or tasks of another order, scale or "
                f"weight: {', '.join(map(repr, table.schema.tasks))}. Use select_tasks, then "
                "with_tasks(schema.tasks)."
            )
        check_columns(table.schema, vars(table))
        kind = _kind(table)
        self._kind = kind if self._kind is None else self._kind
        for what, first in self._kind.items():
            if kind[what] != first:
                raise SchemaError(
                    f"The table has {what} {_told(kind[what])}; the tables before it have "
                    f"{_told(first)}. All rows of one folder have the same."
                )

    def _write(self) -> None:
        frame, self._waiting = pl.concat(self._waiting), []
        content = BytesIO()
        frame.write_parquet(content, compression="zstd")
        name, whole = f"shard-{len(self._shards):05d}.parquet", content.getvalue()
        write_bytes(self._unfinished / name, whole)
        digest = hashlib.sha256(whole).hexdigest()
        self._shards.append(ShardEntry(name, frame.height, len(whole), digest))


def _kind(table: Table) -> dict[str, Any]:
    """What tables of one folder have in common beside the schema, in a fixed order."""
    widths = {name: v.shape[1] if v.dim() > 1 else 0 for name, v in sorted(table.truth.items())}
    weight = getattr(table, "weight", None) is not None
    group = getattr(table, "group", None) is not None
    keys = tuple(sorted(table.keys))
    return {"truth": widths, "keys": keys, "weight": weight, "group": group}


def _told(value: Any) -> str:
    return str(value) if isinstance(value, bool) else ", ".join(value) or "none"


class _RowIds:
    """Row ids written so far, to find one that comes twice."""

    def __init__(self) -> None:
        self._known: list[Tensor] = []  # of each table, sorted

    def add(self, row_id: Tensor) -> None:
        if not len(row_id):
            return
        new = row_id.sort().values
        for old in self._known:
            if old[0] > new[-1] or new[0] > old[-1]:
                continue
            twice = torch.isin(new, old)
            if bool(twice.any()):
                raise SchemaError(
                    f"Row id {int(new[twice][0])} was written before ({int(twice.sum()):,} row(s) "
                    "in all): every row needs an id of its own. Give row_id where the table is "
                    "made, or leave out what is there already."
                )
        self._known.append(new)


def write_shards(table: Table, folder: str | Path, rows_per_shard: int = 100_000) -> Path:
    """Write a table as Parquet shards; the folder appears only when it is complete.

    For more rows than fit into memory see ``ShardWriter``, whose errors these are.
    """
    if not isinstance(table, Table):
        raise SchemaError(f"Shards are written from a Table, not a {type(table).__name__}.")
    with ShardWriter(table.schema, folder, rows_per_shard) as writer:
        writer.add(table)
    return writer.folder
