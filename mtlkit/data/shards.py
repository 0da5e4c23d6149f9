"""Tables larger than memory: Parquet shards in a folder, streamed with one shard read ahead."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from mtlkit.data.batch import Batch, epoch_order
from mtlkit.data.concatenate import concatenate
from mtlkit.data.table import Table
from mtlkit.schema import Schema, SchemaError

MANIFEST = "manifest.json"


def write_shards(table: Table, folder: str | Path, rows_per_shard: int = 100_000) -> Path:
    """Write a table as Parquet shards; the folder appears only when it is complete."""
    if table.weight is not None:
        raise SchemaError(
            "Shards do not hold weights of rows, and without them every row would count alike: "
            "train on the table itself, or write one without weight."
        )
    folder = Path(folder)
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard must be 1 or more, not {rows_per_shard}.")
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; remove it or choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        shards = []
        for number, begin in enumerate(range(0, len(table), rows_per_shard)):
            part = table.take(torch.arange(begin, min(begin + rows_per_shard, len(table))))
            name = f"shard-{number:05d}.parquet"
            _to_frame(part).write_parquet(unfinished / name, compression="zstd")
            shards.append({"file": name, "rows": len(part)})
        manifest = {
            "format": 1,
            "schema": table.schema.to_dict(),
            "truth": sorted(table.truth),
            "keys": sorted(table.keys),
            "censored": table.censored is not None,
            "shards": shards,
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _to_frame(table: Table) -> pl.DataFrame:
    def two(t: torch.Tensor) -> np.ndarray:
        return t.cpu().numpy()

    columns: dict[str, Any] = {"row_id": two(table.row_id), "scenario": two(table.scenario)}
    for i, c in enumerate(table.schema.categorical):
        columns[f"c:{c.name}"] = two(table.categorical[:, i])
    for name, part in table.schema.dense_slices.items():
        for j in range(part.start, part.stop):
            columns[f"d:{name}:{j - part.start}"] = two(table.dense[:, j])
    for name, (values, offsets) in table.sequences.items():
        pieces = np.split(two(values), two(offsets)[1:-1]) if len(table) else []
        columns[f"s:{name}"] = pl.Series([p.tolist() for p in pieces], dtype=pl.List(pl.Int64))
    for i, t in enumerate(table.schema.tasks):
        columns[f"l:{t.name}"] = two(table.labels[:, i])
        columns[f"o:{t.name}"] = two(table.observed[:, i])
        if table.censored is not None:
            columns[f"z:{t.name}"] = two(table.censored[:, i])
    for kind, entries in (("t", table.truth), ("k", table.keys)):
        for name, value in entries.items():
            columns[f"{kind}:{name}"] = two(value)
    return pl.DataFrame(columns)


class ShardedTable:
    """The interface of ``Table.batches`` over a folder that ``write_shards`` made.

    At most two shards are in memory. Shuffling permutes the shards and the rows inside each, so a
    shard should hold many batches. The order depends on (seed, epoch) alone.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise SchemaError(f"{path} is missing: {self.folder} holds no complete set of shards.")
        try:
            self.manifest = json.loads(path.read_text(encoding="utf-8"))
            self.schema = Schema.from_dict(self.manifest["schema"])
            self.shards = [(str(s["file"]), int(s["rows"])) for s in self.manifest["shards"]]
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise SchemaError(f"{path} is damaged ({error}); write the shards again.") from error

    def __len__(self) -> int:
        return sum(rows for _, rows in self.shards)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def load(self, number: int) -> Table:
        """Read one shard as a table; a missing, short or foreign file is refused by name."""
        name, rows = self.shards[number]
        path = self.folder / name
        try:
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise SchemaError(
                f"{path} cannot be read ({error}); write the shards again."
            ) from error
        if frame.height != rows:
            raise SchemaError(f"{path} has {frame.height} rows; the manifest says {rows}.")
        return self._to_table(frame, path)

    def _to_table(self, frame: pl.DataFrame, path: Path) -> Table:
        def tensor(name: str) -> torch.Tensor:
            if name not in frame.columns:
                raise SchemaError(f"{path} lacks column {name!r}; write the shards again.")
            return torch.from_numpy(np.array(frame[name].to_numpy()))

        def block(names: list[str], dtype: torch.dtype) -> torch.Tensor:
            if not names:
                return torch.zeros(frame.height, 0, dtype=dtype)
            return torch.stack([tensor(n) for n in names], 1)

        schema = self.schema
        sequences = {}
        for s in schema.sequences:
            lists = frame[f"s:{s.name}"]
            lengths = np.array(lists.list.len().cast(pl.Int64).to_numpy())
            values = lists.filter(lists.list.len() > 0).explode().cast(pl.Int64)
            sequences[s.name] = (
                torch.from_numpy(np.array(values.to_numpy())),
                torch.from_numpy(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])),
            )
        tasks = schema.task_names
        stored = self.manifest
        return Table(
            schema,
            block([f"c:{c.name}" for c in schema.categorical], torch.int64),
            block([f"d:{d.name}:{j}" for d in schema.dense for j in range(d.width)], torch.float32),
            sequences,
            block([f"l:{t}" for t in tasks], torch.float32),
            block([f"o:{t}" for t in tasks], torch.bool),
            tensor("scenario"),
            censored=block([f"z:{t}" for t in tasks], torch.bool) if stored["censored"] else None,
            truth={k: tensor(f"t:{k}") for k in stored["truth"]},
            keys={k: tensor(f"k:{k}") for k in stored["keys"]},
            row_id=tensor("row_id"),
        )

    def batch_count(self, batch_size: int) -> int:
        """Batches of one epoch, the last one maybe smaller."""
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
        """Yield the batches of one epoch from batch ``start`` on; shards before it are not read."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}.")
        order = epoch_order(len(self.shards), shuffle=shuffle, seed=seed, epoch=epoch).tolist()
        skip = start * batch_size
        while order and skip >= self.shards[order[0]][1]:
            skip -= self.shards[order.pop(0)][1]
        rest: Table | None = None
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead: Future[Table] | None = pool.submit(self.load, order[0]) if order else None
            for position, number in enumerate(order):
                assert ahead is not None
                shard = ahead.result()
                following = order[position + 1 : position + 2]
                ahead = pool.submit(self.load, following[0]) if following else None
                rows = epoch_order(
                    len(shard), shuffle=shuffle, seed=seed, epoch=epoch * len(self.shards) + number
                )
                shard = shard.take(rows[skip:])
                skip = 0
                joined = shard if rest is None else concatenate(rest, shard)
                full = len(joined) // batch_size * batch_size
                for begin in range(0, full, batch_size):
                    yield joined.batch(torch.arange(begin, begin + batch_size))
                rest = joined.take(torch.arange(full, len(joined))) if full < len(joined) else None
        if rest is not None and not drop_last:
            yield rest.batch(torch.arange(len(rest)))
