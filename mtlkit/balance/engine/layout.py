"""Where each shared number stands in a row of G: layers whole, tables by their touched rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtlkit.layers.repeats import Repeats
from mtlkit.layers.table import EmbeddingTable

# of every task, its gradient on every target; None where it has none. Of a table's lookups, the
# first stands for all of them and holds their sum by id
Found = list[Sequence[Tensor | None]]


class Whole(NamedTuple):
    """A target that takes part with all its numbers: a layer's parameter or a representation."""

    name: str
    place: int  # among the targets
    target: Tensor


class Touched(NamedTuple):
    """A table that takes part with the rows that the batch read."""

    name: str
    embedding: EmbeddingTable
    leaves: list[Tensor]  # looked-up rows, one (n, dim) a lookup
    start: int  # place of the first leaf among the targets
    repeats: Repeats  # of the ids of all lookups

    def summed(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients on all targets, those on the looked-up rows added up by id.

        The sum (k, dim) takes the place of the first lookup, None that of all others.
        """
        stop = self.start + len(self.leaves)
        read = gradients[self.start : stop]
        total = None
        if any(g is not None for g in read):
            rows = [
                torch.zeros_like(leaf) if g is None else g
                for leaf, g in zip(self.leaves, read, strict=True)
            ]
            total = self.repeats.sum(torch.cat(rows) if len(rows) > 1 else rows[0])
        rest = [None] * (len(self.leaves) - 1)
        return [*gradients[: self.start], total, *rest, *gradients[stop:]]


class Columns:
    """Everything shared side by side, first what is whole and then the touched rows of tables.

    ``blocks`` {name: slice} says which columns a part has, ``width`` how many there are in all, and
    ``whole_width`` how many belong to what is whole.
    """

    def __init__(self, whole: Sequence[Whole], tables: Sequence[Touched]) -> None:
        self.whole, self.tables = whole, tables
        sizes = [(part.name, part.target.numel()) for part in whole]
        sizes += [(t.name, len(t.repeats.touched) * t.embedding.embedding_dim) for t in tables]
        self.blocks: dict[str, slice] = {}
        self.width = self.whole_width = 0
        for i, (name, size) in enumerate(sizes):
            self.blocks[name] = slice(self.width, self.width + size)
            self.width += size
            if i < len(whole):
                self.whole_width = self.width

    def matrix(self, found: Found, like: Tensor) -> Tensor:
        """G of the gradients found, (task, width), in the type and on the device of ``like``."""
        matrix = like.new_empty(len(found), self.width)
        for row, gradients in zip(matrix, found, strict=True):
            for part in self.whole:
                _write(row[self.blocks[part.name]], gradients[part.place])
            for table in self.tables:
                _write(row[self.blocks[table.name]], gradients[table.start])
        return matrix

    def part(self, update: Tensor, part: Whole) -> Tensor:
        """The columns of one whole part of update (width,), in its shape and type."""
        return update[self.blocks[part.name]].view_as(part.target).to(part.target.dtype)

    def rows(self, update: Tensor, table: Touched) -> Tensor:
        """The columns of one table of update (width,), as touched rows (k, dim)."""
        return update[self.blocks[table.name]].view(-1, table.embedding.embedding_dim)


def _write(columns: Tensor, gradient: Tensor | None) -> None:
    if gradient is None:
        columns.zero_()
    else:
        columns.copy_(gradient.flatten())
