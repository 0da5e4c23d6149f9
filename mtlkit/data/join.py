"""Several tables, one training set: batches of one table at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.data.joined_schema import JoinedSchema, join_schemas
from mtlkit.data.splits import Split
from mtlkit.data.table import Table, weight_of
from mtlkit.schema import SchemaError

ROOM = 2**56  # row ids of one table


class Join:
    """``Join({name: table})``: the interface of ``Table`` over tables with other inputs and labels.

    A batch has the rows of one table, its inputs alone (``batch.table`` says whose) and the labels
    of all tasks, those of other tables not observed. Tasks are called ``table.task``, scenarios
    ``table/scenario``; row ids carry their table in their upper bits.

    Parameters
    ----------
    tables
        {name: table}.
    shares
        {name: share of the batches of an epoch}, above 0; they are divided by their sum. None: each
        table passes once an epoch. With shares an epoch has as many batches, and a table's rows go
        on where its last epoch ended, reshuffled at each new pass; each has one batch at least.
    shared
        {name: ("table.field", ...)}: categorical fields that are one and the same. Nothing else is
        shared by the inputs: ``category`` may be a field of one table and a label of another.

    ``batches`` without shuffling gives every row once, table after table, whatever the shares.
    Where one table has weights, rows of a table without weigh 1.
    Raises ``SchemaError`` for names, shares and fields that do not fit.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        shares: Mapping[str, float] | None = None,
        shared: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.tables = dict(tables)
        for name, table in self.tables.items():
            if not isinstance(table, Table):
                raise SchemaError(
                    f"Table {name!r} is a {type(table).__name__}; a join takes tables in memory."
                )
        self.schema: JoinedSchema = join_schemas(
            {name: table.schema for name, table in tables.items()}, shared
        )
        if shares is not None and (
            set(shares) != set(tables) or not all(map(_is_share, shares.values()))
        ):
            raise SchemaError(
                f"shares needs a number above 0 for each of {', '.join(tables)}, not "
                f"{dict(shares)!r}."
            )
        self.shares = None if shares is None else {name: float(shares[name]) for name in tables}
        for name, table in self.tables.items():
            if len(table) and not 0 <= int(table.row_id.min()) <= int(table.row_id.max()) < ROOM:
                raise SchemaError(
                    f"Table {name!r} has row ids outside 0 .. 2**56 - 1, which leave no room for "
                    "the table's own number: number its rows anew."
                )

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))

    def __repr__(self) -> str:
        return "Join(" + ", ".join(f"{n}: {len(t):,} rows" for n, t in self.tables.items()) + ")"

    @property
    def device(self) -> torch.device:
        return next(iter(self.tables.values())).device

    @property
    def nbytes(self) -> int:
        """Memory of all tables in bytes."""
        return sum(table.nbytes for table in self.tables.values())

    def to(self, device: torch.device | str) -> Join:
        """Return the join with every table on ``device``."""
        return self._with({name: table.to(device) for name, table in self.tables.items()})

    def _with(self, tables: Mapping[str, Table], schema: JoinedSchema | None = None) -> Join:
        result = object.__new__(Join)
        result.tables, result.shares = dict(tables), self.shares
        result.schema = self.schema if schema is None else schema
        return result

    @property
    def row_id(self) -> Tensor:
        """Row ids over all tables, int64 (row,): 2**56 x the table's number + its own row id."""
        places = [name for name, _ in self.schema.parts]
        parts = [table.row_id + places.index(n) * ROOM for n, table in self.tables.items()]
        return torch.cat(parts)

    @property
    def keys(self) -> dict[str, Tensor]:
        """Keys that every table has, int64 (row,)."""
        tables = list(self.tables.values())
        names = [name for name in tables[0].keys if all(name in table.keys for table in tables)]
        return {name: torch.cat([table.keys[name] for table in tables]) for name in names}

    @property
    def weight(self) -> Tensor | None:
        """How much each row counts, float32 (row,); None where no table has weights."""
        tables = self.tables.values()
        if all(table.weight is None for table in tables):
            return None
        return torch.cat([weight_of(table) for table in tables])

    def label(self, name: str) -> Tensor:
        """Labels of one task over all rows, float32 (row,); 0 where ``mask(name)`` is false."""
        return self._column(name, "label", torch.float32)

    def mask(self, name: str) -> Tensor:
        """Where one task's label is observed, bool (row,): in its own table at most."""
        return self._column(name, "mask", torch.bool)

    def _column(self, name: str, what: str, dtype: torch.dtype) -> Tensor:
        self.schema.task_index(name)
        table, _, task = name.partition(".")
        parts = [
            getattr(part, what)(task)
            if own == table
            else torch.zeros(len(part), dtype=dtype, device=part.device)
            for own, part in self.tables.items()
        ]
        return torch.cat(parts)

    def select_tasks(self, names: str | Sequence[str]) -> Join:
        """Return the join with only these tasks, and without the tables that have none of them.

        All inputs stay in the schema, so that a model of one task is built as large as one of all.
        """
        names = [names] if isinstance(names, str) else list(names)
        schema = self.schema.select(names)
        assert isinstance(schema, JoinedSchema)
        chosen: dict[str, list[str]] = {}
        for name in names:
            table, _, task = name.partition(".")
            chosen.setdefault(table, []).append(task)
        tables = {n: t.select_tasks(chosen[n]) for n, t in self.tables.items() if n in chosen}
        result = self._with(tables, schema)
        if self.shares is not None:
            result.shares = {name: self.shares[name] for name in tables}
        return result

    def batch_count(self, batch_size: int) -> int:
        """Batches of one epoch: as many as all tables need to pass once."""
        return sum(self._own_counts(batch_size).values())

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
        """Yield the batches of one epoch, from batch number ``start`` on.

        The order of tables and rows depends on (seed, epoch) alone, as a ``Table``'s does.
        """
        own = self._own_counts(batch_size, drop_last)
        counts = own
        if shuffle and self.shares is not None:
            counts = _by_shares(self.shares, sum(own.values()))
        order = [name for name, count in counts.items() for _ in range(count)]
        if shuffle:
            random = np.random.default_rng([abs(int(seed)), int(epoch), len(order)])
            order = [order[i] for i in random.permutation(len(order))]
        streams = {
            name: self._stream(
                name, batch_size, own[name], shuffle=shuffle, seed=seed,
                # where the stream of this table's batches stands, counted from the first epoch
                place=(epoch * counts[name] if shuffle else 0) + order[:start].count(name),
            )
            for name in counts
        }  # fmt: skip
        for name in order[start:]:
            yield next(streams[name])

    def _own_counts(self, batch_size: int, drop_last: bool = False) -> dict[str, int]:
        """Batches of one pass of each table that has any."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}.")
        counts = {
            name: len(table) // batch_size if drop_last else table.batch_count(batch_size)
            for name, table in self.tables.items()
        }
        empty = [name for name, count in counts.items() if not count]
        if empty and self.shares is not None:
            raise SchemaError(
                f"Table {empty[0]!r} has no batch of {batch_size} rows, so it cannot have its "
                "share of the batches: leave it out, or take smaller batches."
            )
        return {name: count for name, count in counts.items() if count}

    def _stream(
        self, name: str, batch_size: int, own: int, *, shuffle: bool, seed: int, place: int
    ) -> Iterator[Batch]:
        """A table's batches without end, from the ``place``-th on: ``own`` of them are a pass."""
        while True:
            batches = self.tables[name].batches(
                batch_size, shuffle=shuffle, seed=seed, epoch=place // own, start=place % own
            )
            for batch in islice(batches, own - place % own):
                yield self._widened(name, batch)
            place = (place // own + 1) * own

    def _widened(self, name: str, batch: Batch) -> Batch:
        """A table's batch with the columns of all tasks and the scenarios' numbers in the join."""
        schema, part = self.schema, self.schema.part(name)
        tasks = self.tables[name].schema.task_names
        columns = [schema.task_index(f"{name}.{task}") for task in tasks]
        first = schema.scenario_index(f"{name}/{part.scenario_names[0]}")
        known = batch.scenario < part.num_scenarios
        scenario = torch.where(known, batch.scenario + first, schema.unknown_scenario)

        def wide(column: Tensor) -> Tensor:
            out = column.new_zeros(len(batch), schema.num_tasks)
            out[:, columns] = column
            return out

        weight = batch.weight
        if weight is None and any(table.weight is not None for table in self.tables.values()):
            weight = torch.ones(len(batch), device=self.device)
        censored = None
        if any(table.censored is not None for table in self.tables.values()):
            flags = batch.censored
            censored = wide(torch.zeros_like(batch.observed) if flags is None else flags)
        return replace(
            batch, labels=wide(batch.labels), observed=wide(batch.observed), censored=censored,
            scenario=scenario, table=name, weight=weight,
        )  # fmt: skip


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value < np.inf


def _by_shares(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers, at least 1 each, that sum to ``total`` and are nearest to the shares."""
    whole = sum(shares.values())
    exact = {name: total * share / whole for name, share in shares.items()}
    counts = {name: max(1, int(value)) for name, value in exact.items()}
    while sum(counts.values()) < total:
        counts[min(counts, key=lambda name: counts[name] - exact[name])] += 1
    while sum(counts.values()) > total:  # each table has a batch at least, and so have all
        above = [name for name in counts if counts[name] > 1]
        counts[max(above, key=lambda name: counts[name] - exact[name])] -= 1
    return counts


def join_splits(
    splits: Mapping[str, Split],
    shares: Mapping[str, float] | None = None,
    shared: Mapping[str, Iterable[str]] | None = None,
) -> Any:
    """One ``Split`` of joins from {table: split}, for ``compare``; arguments as ``Join``."""
    parts = [{name: split[i] for name, split in splits.items()} for i in range(3)]
    return Split(*(Join(part, shares, shared) for part in parts))  # type: ignore[arg-type]
