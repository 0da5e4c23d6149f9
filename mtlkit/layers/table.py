"""One table of embedding rows, and the only way in which it is read."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.repeats import SparseLookup


class EmbeddingTable(nn.Module):
    """Base of what embeds ids: one table (id, dim), read by ``lookup`` and in no other way.

    ``ids(batch)``, ``lookup(ids)`` and ``assemble(rows, batch)`` are its three steps, so that
    gradients can stop at the looked-up rows; a subclass writes the first and the last. batch ->
    (batch, width).

    ``sparse_gradient`` (set by the optimisers that can use it) makes the table's gradient a sparse
    tensor of the rows that the batch touched. While ``reads`` is a list, gradients stop at the
    looked-up rows: each lookup returns a new leaf and notes (ids (n,), rows (n, dim)) there. While
    ``noted`` is a list, each lookup notes its ids there.
    """

    width: int

    def __init__(self, rows: int, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.sparse_gradient = False
        self.reads: list[tuple[Tensor, Tensor]] | None = None
        self.noted: list[Tensor] | None = None
        self.table = nn.Parameter(torch.empty(rows, embedding_dim))  # (id, dim)
        nn.init.normal_(self.table, std=0.01)

    def ids(self, batch: Batch) -> Tensor:
        """Rows of the table that the batch reads, (n,)."""
        raise NotImplementedError(f"{type(self).__name__} must define ids(batch).")

    def lookup(self, ids: Tensor) -> Tensor:
        """Rows of the table, (n, dim)."""
        if self.noted is not None:
            self.noted.append(ids)
        if self.reads is not None:
            rows = self.table.detach().index_select(0, ids).requires_grad_()
            self.reads.append((ids, rows))
            return rows
        if self.sparse_gradient:
            return SparseLookup.apply(self.table, ids)
        if ids.device.type == "cpu":
            return self.table.index_select(0, ids)  # its backward is twice as fast there
        return F.embedding(ids, self.table)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        """Arrange looked-up rows (n, dim) and the dense columns as (batch, width)."""
        raise NotImplementedError(f"{type(self).__name__} must define assemble(rows, batch).")

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more (``MultiTaskModel.extend``); a subclass that can writes it."""
        raise NotImplementedError(
            f"{type(self).__name__} must define add_scenario(scenario) to know scenario "
            f"{scenario!r}: make room for its row with insert_row, or do nothing if it reads none."
        )

    def insert_row(self, place: int, like: int) -> None:
        """Put one row more at ``place``, equal to row ``like``; later rows move on by one."""
        rows = [*range(place), like, *range(place, len(self.table))]
        self.table = nn.Parameter(self.table.detach()[rows], self.table.requires_grad)

    def forward(self, batch: Batch) -> Tensor:
        return self.assemble(self.lookup(self.ids(batch)), batch)
