"""A sampler of whole pages: rows that are compared with each other stand in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mtlkit.data.batch import check_batches
from mtlkit.data.sampler import Rows, Sampled, Sampler, in_memory
from mtlkit.data.table import Table
from mtlkit.schema import SchemaError


@dataclass(frozen=True)
class WholePages(Sampler):
    """Every batch has all rows of ``pages`` pages; each row comes once an epoch.

    A page is all rows with one value of ``Table.group``: ``table.with_group("session")`` sets it.
    Pages come in an order that is shuffled anew each epoch, the rows of one as they stand in the
    table; the last batch may have fewer pages. ``pages`` takes the place of ``batch_size``: batches
    have as many rows as their pages have together.

    Calibration: every row counts alike in an epoch, and a step follows whole pages: nothing shifts.

    Takes a ``Table`` with pages; others raise ``SchemaError``. Raises ``ValueError`` for ``pages``
    below 1.
    """

    pages: int = 64
    whole_pages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole = isinstance(self.pages, int | np.integer) and not isinstance(self.pages, bool)
        if not whole or self.pages < 1:
            raise ValueError(f"pages must be a whole number of 1 or more, not {self.pages!r}.")

    def over(self, table: Any) -> Sampled:
        return _Whole(in_memory(table, self), int(self.pages))


class _Whole(Sampled):
    def __init__(self, table: Table, pages: int) -> None:
        super().__init__(table)
        if table.group is None:
            raise SchemaError(
                "WholePages needs to know the pages: give fit table.with_group(key), with the key "
                f"that rows of one page share; the table has {', '.join(table.keys) or 'no keys'}."
            )
        self.pages = pages
        group = table.group.cpu().numpy()
        self.rows: Rows = np.argsort(group, kind="stable")  # page by page
        self.sizes = np.unique(group, return_counts=True)[1]
        self.starts = self.sizes.cumsum() - self.sizes

    def batch_count(self, batch_size: int) -> int:
        check_batches(batch_size)
        return -(-len(self.sizes) // self.pages)

    def epoch(self, batch_size: int, seed: int, epoch: int) -> tuple[Rows, list[int]]:
        order = np.random.default_rng([seed, 5, epoch, 0]).permutation(len(self.sizes))
        sizes, starts = self.sizes[order], self.starts[order]
        ends = sizes.cumsum()
        shift = np.repeat(starts - (ends - sizes), sizes)
        rows = self.rows[shift + np.arange(len(self.rows))]
        cuts = np.arange(0, len(sizes), self.pages)
        return rows, [int(count) for count in np.add.reduceat(sizes, cuts)]


def require_whole_pages(sampler: Sampler | None, rows: int, batch_size: int) -> None:
    """Raise ``ValueError`` where batches of ``batch_size`` of the ``rows`` would split pages."""
    if sampler is None and batch_size >= rows:
        return
    if sampler is None or not sampler.whole_pages:
        given = "without a sampler" if sampler is None else f"with sampler={sampler}"
        raise ValueError(
            f"The model learns by pages, and batches {given} split them: use "
            "fit(sampler=mtlkit.data.WholePages(pages=64)) on table.with_group(key)."
        )
