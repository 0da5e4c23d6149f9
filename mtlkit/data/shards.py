"""Tables larger than memory: the interface of ``Table`` over Parquet shards, one read ahead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mtlkit.data.batch import Batch, check_batches, epoch_order, stack_batches
from mtlkit.data.concatenate import concatenate
from mtlkit.data.manifest import AGAIN, flagged, read_manifest
from mtlkit.data.shard_file import read_shard, table_columns, tensor, to_table
from mtlkit.data.table import Table, require_key, row_numbers, same_tasks
from mtlkit.schema import Schema, SchemaError, Task


class ShardedTable:
    """A table in a folder that ``ShardWriter`` or ``write_shards`` made, used like a ``Table``.

    ``fit``, ``evaluate``, ``predict``, ``compare`` and the splits take it. At most two shards are
    in memory. Columns of one number a row (``label``, ``mask``, ``scenario``, ``row_id``, the
    entries of ``keys`` and ``truth``) are read whole when they are asked for; inputs come in
    batches, or by ``in_memory()``. Selecting rows or tasks reads nothing and copies no file.

    Shuffling permutes the shards and the rows inside each, so a shard should hold many batches. The
    order depends on (seed, epoch) alone. Every file is checked against its SHA-256 whenever it is
    read. Raises ``SchemaError`` naming file and reason for a folder that was damaged or edited.
    """

    def __init__(self, folder: str | Path) -> None:
        if not isinstance(folder, str | Path):
            raise SchemaError(f"folder must be a path, not a {type(folder).__name__}.")
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.schema: Schema = self.manifest.schema
        self._kinds = self.manifest.columns()
        self._rows: list[Tensor | None] = [None] * len(self.manifest.shards)  # masks; None: all
        self._counts = [shard.rows for shard in self.manifest.shards]
        self._device = torch.device("cpu")
        self._group: tuple[str, str | None] | None = None  # another key than the files have
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, Tensor] = {}  # columns read whole
        self._checked: set[int] = set()  # shards whose values fit the schema

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}, "_checked": set()}

    def __len__(self) -> int:
        return sum(self._counts)

    def __repr__(self) -> str:
        return (
            f"ShardedTable({len(self):,} rows in {sum(map(bool, self._counts))} shard(s) of "
            f"{self.folder}, {self.schema.num_scenarios} scenario(s), tasks: "
            f"{', '.join(self.schema.task_names)})"
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("categorical", "dense", "sequences"):
            raise AttributeError(
                f"A ShardedTable has no {name}: its inputs are not in memory. Take batches, or "
                "read some rows: table.take(rows).in_memory()."
            )
        raise AttributeError(f"A ShardedTable has no {name}.")

    @property
    def device(self) -> torch.device:
        """Where the batches are."""
        return self._device

    @property
    def nbytes(self) -> int:
        """Bytes of the files that hold rows of the table, compressed as they are on the disk."""
        pairs = zip(self.manifest.shards, self._counts, strict=True)
        return sum(shard.bytes for shard, count in pairs if count)

    def to(self, device: torch.device | str) -> ShardedTable:
        """Return the table whose batches and columns come on ``device``."""
        return self._changed(_device=torch.device(device))

    def content_hash(self) -> str:
        """32 hexadecimal digits for the rows and tasks, from the files' hashes: nothing is read."""
        found = hashlib.blake2b(digest_size=16)
        for shard, rows in zip(self.manifest.shards, self._rows, strict=True):
            found.update(f"{shard.sha256} {'all' if rows is None else 'some'};".encode())
            found.update(b"" if rows is None else rows.numpy().tobytes())
        found.update(json.dumps(self.schema.task_names).encode())
        found.update(b"" if self._group is None else json.dumps(self._group).encode())
        return found.hexdigest()

    def _changed(self, **changes: Any) -> ShardedTable:
        other = object.__new__(ShardedTable)
        other.__dict__.update(self.__dict__ | changes)
        other._forget()
        return other

    # --- some rows, some tasks ---------------------------------------------------------------

    def take(self, index: Tensor | np.ndarray | Sequence[int]) -> ShardedTable:
        """Return the rows at ``index`` (growing row numbers) or where a mask (row,) is true.

        Shards are read in order, so rows stay in theirs; ``take(...).in_memory()`` is a table whose
        rows come in any order.
        """
        numbers = row_numbers(index, len(self), "cpu")
        if bool((numbers.diff() <= 0).any()):
            raise SchemaError(
                "Rows of shards are read in order: give a mask or row numbers that grow, or read "
                "these rows with batch(index)."
            )
        chosen = torch.zeros(len(self), dtype=torch.bool)
        chosen[numbers] = True
        rows: list[Tensor | None] = []
        pieces = chosen.split(self._counts) if self._counts else ()
        for own, piece in zip(self._rows, pieces, strict=True):
            mask = piece.clone() if own is None else own.clone()
            if own is not None:
                mask[own] = piece
            rows.append(None if bool(mask.all()) else mask)
        return self._changed(_rows=rows, _counts=[int(piece.sum()) for piece in pieces])

    def select_tasks(self, names: str | Sequence[str]) -> ShardedTable:
        """Return the table with only these tasks, in this order."""
        return self._changed(schema=self.schema.select(names))

    def with_group(self, key: str | None) -> ShardedTable:
        """Return the table whose rows with one value of ``key`` are one page; None: no pages."""
        return self._changed(_group=("key", None if key is None else require_key(self, key)))

    def with_tasks(self, tasks: Iterable[Task]) -> ShardedTable:
        """Return the same columns under changed tasks of the same names, such as fitted ones."""
        return self._changed(schema=same_tasks(self.schema, tasks))

    def in_memory(self) -> Table:
        """Return all rows as a ``Table``; take the few that you need first."""
        tables = [table for _, table in self._ahead(self._filled())] or [self._empty()]
        whole = concatenate(*tables)
        whole.row_id = torch.cat([table.row_id for table in tables])
        return whole.to(self._device)

    # --- columns of one number a row ---------------------------------------------------------

    def label(self, name: str) -> Tensor:
        """Labels of one task, float32 (row,); 0 where ``mask(name)`` is false."""
        self.schema.task_index(name)
        return self._columns([f"l:{name}"])[0]

    def mask(self, name: str) -> Tensor:
        """Where one task's label is observed, bool (row,)."""
        self.schema.task_index(name)
        return self._kept(f"o:{name}")

    @property
    def labels(self) -> Tensor:
        """Labels of all tasks, float32 (row, task)."""
        return torch.stack(self._columns([f"l:{t}" for t in self.schema.task_names]), dim=1)

    @property
    def observed(self) -> Tensor:
        """Which labels are observed, bool (row, task)."""
        return torch.stack(self._columns([f"o:{t}" for t in self.schema.task_names]), dim=1)

    @property
    def censored(self) -> Tensor | None:
        """Which labels are only lower bounds, bool (row, task); None where there are no flags."""
        if not self.manifest.censored:
            return None
        result = torch.zeros(len(self), self.schema.num_tasks, dtype=torch.bool)
        names = flagged(self.schema)
        for name, flags in zip(names, self._columns([f"z:{n}" for n in names]), strict=True):
            result[:, self.schema.task_index(name)] = flags.cpu()
        return result.to(self._device)

    @property
    def scenario(self) -> Tensor:
        """Number of each row's scenario, int64 (row,)."""
        return self._columns(["scenario"])[0]

    @property
    def row_id(self) -> Tensor:
        """The row ids, int64 (row,)."""
        return self._columns(["row_id"])[0]

    @property
    def weight(self) -> Tensor | None:
        """How much each row counts, float32 (row,); None where the rows have no weights."""
        return self._columns(["w"])[0] if self.manifest.weight else None

    @property
    def group(self) -> Tensor | None:
        """The page of each row, int64 (row,); None where the rows have no pages."""
        if self._group is not None:
            return None if self._group[1] is None else self.keys[self._group[1]]
        return self._columns(["g"])[0] if self.manifest.group else None

    @property
    def keys(self) -> Mapping[str, Tensor]:
        """Keys by name, int64 (row,); each is read when it is first asked for."""
        return Columns(self.manifest.keys, lambda name: self._kept(f"k:{name}"))

    @property
    def truth(self) -> Mapping[str, Tensor]:
        """Truth by name, float32 (row,) or (row, k); each is read whenever it is asked for."""
        return Columns(tuple(self.manifest.truth), lambda name: self._columns([f"t:{name}"])[0])

    def _kept(self, name: str) -> Tensor:
        """A column that is read once and held in few bytes: days of a year need 2, not 8."""
        if name not in self._known:
            self._known[name] = _smallest(self._columns([name])[0])
        column = self._known[name]
        return column if column.dtype == torch.bool else column.long()

    def _columns(self, names: list[str]) -> list[Tensor]:
        """Columns of the files for all rows of the table, on its device."""
        parts: list[list[Tensor]] = [[] for _ in names]
        for number in self._filled() if names else ():
            frame, rows = self._frame(number, names), self._rows[number]
            for part, name in zip(parts, names, strict=True):
                column = tensor(frame[name])
                part.append(column if rows is None else column[rows])
        empty = pl.DataFrame(schema=self._kinds)
        return [
            torch.cat(part or [tensor(empty[name])]).to(self._device)
            for part, name in zip(parts, names, strict=True)
        ]

    # --- shards and batches ------------------------------------------------------------------

    def _filled(self) -> list[int]:
        """Numbers of the shards that hold rows of the table."""
        return [number for number, count in enumerate(self._counts) if count]

    def _frame(self, number: int, names: list[str]) -> pl.DataFrame:
        return read_shard(self.folder, self.manifest.shards[number], self._kinds, names)

    def _empty(self) -> Table:
        return to_table(pl.DataFrame(schema=self._kinds), self.manifest, self.schema)

    def load(self, number: int) -> Table:
        """Read the table's rows of one shard; a damaged, missing or foreign file is refused."""
        frame = self._frame(number, table_columns(self.manifest, self.schema))
        try:
            table = to_table(frame, self.manifest, self.schema, check=number not in self._checked)
        except SchemaError as error:
            path = self.folder / self.manifest.shards[number].file
            raise SchemaError(f"{path} does not fit its schema: {error} {AGAIN}") from error
        self._checked.add(number)
        table = table if self._group is None else table.with_group(self._group[1])
        rows = self._rows[number]
        return table if rows is None else table.take(rows)

    def _ahead(self, numbers: Sequence[int]) -> Iterator[tuple[int, Table]]:
        """Shards in turn, while the next one is read: at most two are in memory."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            following: Future[Table] | None = (
                pool.submit(self.load, numbers[0]) if numbers else None
            )
            for place, number in enumerate(numbers):
                assert following is not None
                table = following.result()
                later = numbers[place + 1 : place + 2]
                following = pool.submit(self.load, later[0]) if later else None
                yield number, table

    def batch(self, index: Tensor) -> Batch:
        """Return the rows at ``index``, int64 (k,) in any order, as a batch."""
        wanted, places = row_numbers(index, len(self), "cpu").unique(return_inverse=True)
        return self.take(wanted).in_memory().batch(places.to(self._device))

    def batch_count(self, batch_size: int) -> int:
        """Batches of one epoch, the last one maybe smaller."""
        check_batches(batch_size)
        return -(-len(self) // batch_size)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch from batch ``start`` on; shards before it are not read.

        (epoch, start) is the whole state of the sampler, as in ``Table.batches``. A batch may hold
        rows of two neighbouring shards.
        """
        check_batches(batch_size, start)
        filled = self._filled()
        places = epoch_order(len(filled), shuffle=shuffle, seed=seed, epoch=epoch).tolist()
        order, skip = [filled[place] for place in places], start * batch_size
        while order and skip >= self._counts[order[0]]:
            skip -= self._counts[order.pop(0)]
        begun: list[Batch] = []  # parts of a batch that the next shard completes
        missing = batch_size
        for number, shard in self._ahead(order):
            own_epoch = epoch * len(self._counts) + number  # another order in each shard
            rows = epoch_order(len(shard), shuffle=shuffle, seed=seed, epoch=own_epoch)[skip:]
            skip = 0
            while len(rows):
                begun.append(shard.batch(rows[:missing]))
                rows, missing = rows[missing:], missing - len(begun[-1])
                if not missing:
                    yield stack_batches(begun).to(self._device)
                    begun, missing = [], batch_size
        if begun and not drop_last:
            yield stack_batches(begun).to(self._device)


class Columns(Mapping[str, Tensor]):
    """Columns by name, each of which is read when it is asked for."""

    def __init__(self, names: tuple[str, ...], read: Callable[[str], Tensor]) -> None:
        self._names, self._read = names, read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _smallest(column: Tensor) -> Tensor:
    """The same whole numbers in the shortest type that holds them all; other types as they are."""
    if column.dtype != torch.int64 or not len(column):
        return column
    low, high = (int(end) for end in column.aminmax())
    for kind in (torch.int8, torch.int16, torch.int32):
        limits = torch.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return column.to(kind)
    return column
