"""Which rows an epoch of training has, and in which batches: ``fit(..., sampler=...)``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mtlkit.data.batch import Batch, check_batches
from mtlkit.data.join import Join
from mtlkit.data.shards import ShardedTable
from mtlkit.data.table import Table
from mtlkit.schema import SchemaError

Rows = np.ndarray[Any, np.dtype[np.int64]]  # row numbers, (k,)
BLOCK = 4096  # rows of a small scenario that are shuffled at once, in rounds


class Sampler(ABC):
    """Base of the samplers: what an epoch of training reads of a table.

    Only training is sampled; ``evaluate`` and validation see every row once. Batches depend on the
    table, the batch size and (seed, epoch) alone, so a resumed run meets those that it would have
    met, and a checkpoint of a run with another sampler is refused. The prior on embedding rows
    (``row_prior``) is paid by rows that are read: a row that comes twice pays twice, which leaves
    prior and loss of a row in proportion. One of your own keeps its options in attributes, by which
    a checkpoint knows it, and writes ``over``.
    """

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


@dataclass(frozen=True)
class HomogeneousBatches(Sampler):
    """Every batch has rows of one scenario alone; each row comes once an epoch.

    Batches of all scenarios come in one shuffled order, a scenario's rows shuffled anew each epoch.
    The n rows of a scenario are dealt evenly to their ceil(n / batch_size) batches, so that no
    batch has less than half of ``batch_size`` unless the scenario itself has less. A loss is the
    mean over its batch: rows of a smaller batch count more, those of a scenario with k rows, less
    than a batch, ``batch_size`` / k times. Rows of an unknown scenario have batches of their own.

    Calibration: scenarios keep their shares of the rows, but a step follows one of them, so at a
    high rate the last weights lean towards the scenarios of the last batches; a rate that falls to
    0 (``schedule="linear"``) takes that out. Statistics of a batch (batch normalisation) are those
    of one scenario in training and of the mixture in evaluation.

    Takes a ``Table``; shards and a ``Join`` raise ``SchemaError``.
    """

    def over(self, table: Any) -> Sampled:
        return _Homogeneous(_in_memory(table, self))


class _Homogeneous(Sampled):
    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.groups = scenario_rows(table)

    def batch_count(self, batch_size: int) -> int:
        check_batches(batch_size)
        return sum(-(-len(rows) // batch_size) for rows in self.groups)

    def epoch(self, batch_size: int, seed: int, epoch: int) -> tuple[Rows, list[int]]:
        random = np.random.default_rng([seed, 1, epoch, 0])
        pieces: list[Rows] = []
        for rows in self.groups:
            count = -(-len(rows) // batch_size)
            bounds = np.arange(1, count) * len(rows) // count
            pieces += np.split(random.permutation(rows), bounds)
        pieces = [pieces[i] for i in random.permutation(len(pieces))]
        return np.concatenate(pieces), [len(piece) for piece in pieces]


@dataclass(frozen=True)
class BalancedScenarios(Sampler):
    """Head and tail scenarios closer together: scenario s has a share ~ (rows of s) ** power.

    ``power`` 1: shares as they are; 0: all scenarios alike. An epoch has as many rows as before,
    each scenario its share of them to one row, mixed in every batch. A scenario's rows pass in
    rounds that are shuffled anew: none comes again before all others have, and a scenario that is
    shown less than whole goes on in the next epoch where it stopped. Rows of an unknown scenario
    are one scenario more.

    Calibration: within a scenario nothing changes, so a model that can tell scenarios apart is
    shifted in none of them. One that cannot learns the chances of another mixture, and its
    predictions no longer sum to what happens (``pcoc``): ``mtlkit.train.calibrate`` on validation
    rows mends the sums, not what it fails to tell apart. A tail row that comes k times as often is
    no more evidence than before, only more weight.

    Takes a ``Table``; shards and a ``Join`` raise ``SchemaError``. Raises ``ValueError`` for a
    power outside 0 to 1. Source: a power of the size, as for languages of unlike size
    (Conneau and Lample 2019, Cross-lingual language model pretraining, NeurIPS).
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        if not _is_number(self.power) or not 0 <= self.power <= 1:
            raise ValueError(
                f"power must be from 0 (all scenarios alike) to 1 (as they are), not "
                f"{self.power!r}."
            )

    def over(self, table: Any) -> Sampled:
        return _Balanced(_in_memory(table, self), self.power)


class _Balanced(Sampled):
    def __init__(self, table: Table, power: float) -> None:
        super().__init__(table)
        self.groups = scenario_rows(table)
        self.counts = quotas([len(rows) for rows in self.groups], power)

    def batch_count(self, batch_size: int) -> int:
        return self.table.batch_count(batch_size)

    def epoch(self, batch_size: int, seed: int, epoch: int) -> tuple[Rows, list[int]]:
        parts = [
            in_rounds(rows, epoch * count, (epoch + 1) * count, seed, place)
            for place, (rows, count) in enumerate(zip(self.groups, self.counts, strict=True))
        ]
        random = np.random.default_rng([seed, 3, epoch, 0])
        return _mixed(random, np.concatenate(parts), batch_size)


@dataclass(frozen=True)
class DownsampledNegatives(Sampler):
    """Keep a share ``keep`` of the rows where binary task ``task`` is 0, others each epoch.

    All other rows stay: those where it is 1 and those where it is not observed. Each epoch keeps
    the same number of negatives (``keep`` x their number, to one row), each with the same chance.

    Calibration: where p is the chance of a 1, the rows that are kept have

        q = p / (p + (1 - p) keep),  logit q = logit p - ln(keep),

    whatever the row, so a model of q is turned into one of p by ln(keep) on each of its logits:
    ``mtlkit.models.LogitShift(model, sampler.shifts)``. Tasks that are ``given`` this one need no
    shift, since all rows where it is 1 are kept. A row is dropped with all its labels: a task that
    goes along with this one (its parent, for one) is shifted too, by an amount that differs from
    row to row; for those there is ``mtlkit.train.calibrate``, which mends the sums.

    Takes a ``Table`` or a ``ShardedTable``; a ``Join`` raises ``SchemaError``, and so does a task
    that the table lacks or that is not binary. Raises ``ValueError`` for a share outside (0, 1] and
    for one that keeps less than one row. Source: He and others 2014, Practical lessons from
    predicting clicks on ads at Facebook, ADKDD.
    """

    task: str
    keep: float

    def __post_init__(self) -> None:
        if not _is_number(self.keep) or not 0 < self.keep <= 1:
            raise ValueError(
                f"keep must be a share of the negative rows, above 0 and at most 1, not "
                f"{self.keep!r}."
            )

    @property
    def shifts(self) -> dict[str, float]:
        """{task: ln(keep)}: what turns logits of a model trained so into those of all rows."""
        return {self.task: math.log(self.keep)}

    def over(self, table: Any) -> Sampled:
        if not isinstance(table, ShardedTable):
            return _Downsampled(_in_memory(table, self), self)
        return _DownsampledShards(table, self)


class _Downsampled(Sampled):
    def __init__(self, table: Any, sampler: DownsampledNegatives) -> None:
        super().__init__(table)
        if not table.schema.task(sampler.task).is_binary:
            raise SchemaError(
                f"{sampler} drops rows where its task is 0: give a binary task, not one of kind "
                f"{table.schema.task(sampler.task).kind!r}."
            )
        zero = table.mask(sampler.task) & (table.label(sampler.task) == 0)
        self.negatives: Rows = zero.nonzero().squeeze(1).cpu().numpy()
        self.others: Rows = (~zero).nonzero().squeeze(1).cpu().numpy()
        self.count = round(sampler.keep * len(self.negatives))
        if len(self.negatives) and not self.count:
            raise ValueError(
                f"keep={sampler.keep} of {len(self.negatives):,} negative rows is none: give a "
                "larger share."
            )

    def batch_count(self, batch_size: int) -> int:
        check_batches(batch_size)
        return -(-(len(self.others) + self.count) // batch_size)

    def kept(self, random: np.random.Generator) -> Rows:
        chosen = random.choice(self.negatives, self.count, replace=False, shuffle=False)
        return np.concatenate([self.others, chosen])

    def epoch(self, batch_size: int, seed: int, epoch: int) -> tuple[Rows, list[int]]:
        random = np.random.default_rng([seed, 4, epoch, 0])
        return _mixed(random, self.kept(random), batch_size)


class _DownsampledShards(_Downsampled):
    """A view of the rows that are kept: shards are read in order, as ever."""

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
    ) -> Iterator[Batch]:
        table: Any = self.table
        if shuffle:
            kept = self.kept(np.random.default_rng([abs(int(seed)), 4, epoch, 0]))
            table = table.take(torch.from_numpy(np.sort(kept)))
        yield from table.batches(batch_size, shuffle=shuffle, seed=seed, epoch=epoch, start=start)


def require_sampler(value: Any) -> Sampler:
    """Raise ``ValueError`` for what is no sampler; return what is one."""
    if isinstance(value, Sampler):
        return value
    given = value.__name__ if isinstance(value, type) else repr(value)
    raise ValueError(
        f"sampler must be a sampler, such as mtlkit.data.BalancedScenarios(power=0.5), not {given}."
    )


def scenario_rows(table: Table) -> list[Rows]:
    """Row numbers of each scenario that has rows, in order; the unknown one comes last."""
    scenario = table.scenario.cpu().numpy()
    order = np.argsort(scenario, kind="stable")
    counts = np.bincount(scenario)
    return np.split(order, counts[counts > 0].cumsum()[:-1])


def quotas(counts: list[int], power: float) -> list[int]:
    """Rows of each scenario in an epoch: their sum as it was, shares ~ count ** power."""
    total = sum(counts)
    wanted = np.asarray(counts, dtype=np.float64) ** power
    wanted *= total / wanted.sum()
    whole = np.floor(wanted).astype(np.int64)
    rest = total - int(whole.sum())
    whole[np.argsort(whole - wanted, kind="stable")[:rest]] += 1  # the largest remainders
    return [int(count) for count in whole]


def in_rounds(rows: Rows, start: int, stop: int, seed: int, place: int) -> Rows:
    """Entries ``start`` to ``stop`` of the rows in rounds without end, each shuffled anew."""
    many = max(1, BLOCK // len(rows))  # rounds of one block
    size = many * len(rows)
    first = start // size
    blocks = [
        np.random.default_rng([seed, 2, place, block])
        .permuted(np.tile(rows, (many, 1)), axis=1)
        .ravel()
        for block in range(first, -(-stop // size))
    ]
    return np.concatenate([rows[:0], *blocks])[start - first * size : stop - first * size]


def _mixed(random: np.random.Generator, rows: Rows, batch_size: int) -> tuple[Rows, list[int]]:
    """Rows in a random order, in full batches; the last one may be smaller."""
    full, rest = divmod(len(rows), batch_size)
    return random.permutation(rows), [batch_size] * full + ([rest] if rest else [])


def _in_memory(table: Any, sampler: Sampler) -> Table:
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
