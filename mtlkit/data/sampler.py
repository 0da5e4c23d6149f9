"""What a sampler is: which rows an epoch of training has, and in which batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch

from mtlkit.data.batch import Batch, check_batches
from mtlkit.data.join import Join
from mtlkit.data.shards import ShardedTable
from mtlkit.data.table import Table
from mtlkit.schema import SchemaError

Rows = np.ndarray[Any, np.dtype[np.int64]]  # row numbers, (k,)


class Sampler(ABC):
    """Base of the samplers: what an epoch of training reads of a table.

    Only training is sampled; ``evaluate`` and validation see every row once. Batches depend on the
    table, the batch size and (seed, epoch) alone, so a resumed run meets those that it would have
    met, and a checkpoint of a run with another sampler is refused. The prior on embedding rows
    (``row_prior``) is paid by rows that are read: a row that comes twice pays twice, which leaves
    prior and loss of a row in proportion. One of your own keeps its options in attributes, by which
    a checkpoint knows it, and writes ``over``.
    """

    whole_pages: ClassVar[bool] = False  # True: rows of one page (``Table.group``) stay together

    @abstractmethod
    def over(self, table: Any) -> Sampled:
        """The batches of one table. Raises ``SchemaError`` for a table that it cannot sample."""


class Sampled(ABC):
    """The batches of one table in the order of a sampler; ``fit`` reads them as a table's."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @abstractmethod
    def batch_count(self, batch_size: int) -> int:
        """Batches of one epoch, the same for every epoch."""

    @abstractmethod
    def epoch(self, batch_size: int, seed: int, epoch: int) -> tuple[Rows, list[int]]:
        """Row numbers of one epoch, (k,), and how many of them each batch has."""

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch, from batch number ``start`` on.

        Without ``shuffle`` every row of the table once, in order, whatever the sampler.
        """
        check_batches(batch_size, start)
        if not shuffle:
            yield from self.table.batches(batch_size, start=start)
            return
        rows, sizes = self.epoch(batch_size, abs(int(seed)), epoch)
        order = torch.from_numpy(rows).to(self.table.device)
        for index in order.split(sizes)[start:]:
            yield self.table.batch(index)


def require_sampler(value: Any) -> Sampler:
    """Raise ``ValueError`` for what is no sampler; return what is one."""
    if isinstance(value, Sampler):
        return value
    given = value.__name__ if isinstance(value, type) else repr(value)
    raise ValueError(
        f"sampler must be a sampler, such as mtlkit.data.BalancedScenarios(power=0.5), not {given}."
    )


def in_memory(table: Any, sampler: Sampler) -> Table:
    """The table, if its rows can be picked one by one; others raise ``SchemaError``."""
    if isinstance(table, Table):
        if not len(table):
            raise SchemaError(f"sampler={sampler} has nothing to pick from: the table has no rows.")
        return table
    mend = "Train on a mtlkit.data.Table, or leave sampler out."
    if isinstance(table, ShardedTable):
        mend = (
            "Shards are read in order: train on rows that fit, table.take(rows).in_memory(), or "
            "leave sampler out."
        )
    elif isinstance(table, Join):
        mend = (
            "Its shares say how often each table comes, Join(tables, shares=...): leave sampler "
            "out."
        )
    raise SchemaError(
        f"sampler={sampler} picks rows of one table in memory, not of a {type(table).__name__}. "
        f"{mend}"
    )


def mixed(random: np.random.Generator, rows: Rows, batch_size: int) -> tuple[Rows, list[int]]:
    """Rows in a random order, in full batches; the last one may be smaller."""
    full, rest = divmod(len(rows), batch_size)
    return random.permutation(rows), [batch_size] * full + ([rest] if rest else [])


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
