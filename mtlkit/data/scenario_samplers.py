"""Samplers over scenarios: batches of one scenario each, and tail scenarios more often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlkit.data.batch import check_batches
from mtlkit.data.sampler import Rows, Sampled, Sampler, in_memory, is_number, mixed
from mtlkit.data.table import Table

BLOCK = 4096  # rows of a small scenario that are shuffled at once, in rounds


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
        return _Homogeneous(in_memory(table, self))


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
        if not is_number(self.power) or not 0 <= self.power <= 1:
            raise ValueError(
                f"power must be from 0 (all scenarios alike) to 1 (as they are), not "
                f"{self.power!r}."
            )

    def over(self, table: Any) -> Sampled:
        return _Balanced(in_memory(table, self), self.power)


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
        return mixed(random, np.concatenate(parts), batch_size)


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
