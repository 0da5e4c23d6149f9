"""A sampler that leaves out negatives of one task, and the shift of logits that mends it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mtlkit.data.batch import Batch, check_batches
from mtlkit.data.sampler import Rows, Sampled, Sampler, in_memory, is_number, mixed
from mtlkit.data.shards import ShardedTable
from mtlkit.schema import SchemaError


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
        if not is_number(self.keep) or not 0 < self.keep <= 1:
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
            return _Downsampled(in_memory(table, self), self)
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
        return mixed(random, self.kept(random), batch_size)


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
