"""All inputs of a row as one vector: embedded ids, pooled sequences, dense columns."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.repeats import sum_repeated
from mtlkit.schema import Schema


class FieldEmbedding(nn.Module):
    """All inputs of a row as one vector: embedded ids, pooled sequences and dense columns.

    Every id of every field has one row in a single table; a field's ids start at its offset. One
    table means one lookup a batch instead of one a field. A sequence is the mean (or sum) of its
    ids' rows, zero when it is empty; with ``shares`` it reads the rows of that categorical field.
    Where the schema has several scenarios, the scenario is one more id field, unless
    ``scenario_field=False`` or a categorical field called "scenario" is there already. Dense
    columns pass through unchanged.

    batch -> (batch, width), in the order categorical, scenario, sequences, dense.

    ``sparse_gradient`` (set by the optimisers that can use it) makes the table's gradient a sparse
    tensor of the rows that the batch touched. While ``reads`` is a list, gradients stop at the
    looked-up rows: each lookup returns a new leaf and notes (ids (n,), rows (n, dim)) there. Raises
    ``ValueError`` for an unknown ``pooling``.
    """

    offsets: Tensor

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int = 16,
        *,
        pooling: str = "mean",
        scenario_field: bool = True,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "sum"):
            raise ValueError(f'pooling is "mean" or "sum", not {pooling!r}.')
        self.embedding_dim = embedding_dim
        self.pooling = pooling
        self.sparse_gradient = False
        self.reads: list[tuple[Tensor, Tensor]] | None = None
        listed = "scenario" in schema.categorical_names  # then it is a field already
        self.with_scenario = scenario_field and schema.num_scenarios > 1 and not listed
        self.sequence_names = tuple(s.name for s in schema.sequences)

        sizes = [c.size for c in schema.categorical]
        if self.with_scenario:
            sizes.append(schema.num_scenarios)
        self.num_fields = len(sizes)  # ids that every row has exactly once
        sizes += [s.size for s in schema.sequences if s.size is not None]
        starts = [0, *itertools.accumulate(sizes)]
        own = iter(range(self.num_fields, len(sizes)))
        names = list(schema.categorical_names)
        self.sequence_starts = tuple(
            starts[names.index(s.shares) if s.shares is not None else next(own)]
            for s in schema.sequences
        )
        self.field_starts = dict(zip(names, starts, strict=False))
        offsets = torch.tensor(starts[: self.num_fields], dtype=torch.int64)
        self.register_buffer("offsets", offsets, persistent=False)  # (field,)

        columns = self.num_fields + len(schema.sequences)
        self.width = columns * embedding_dim + schema.dense_width
        self.table = nn.Parameter(torch.empty(starts[-1], embedding_dim))  # (id, dim)
        nn.init.normal_(self.table, std=0.01)

    def ids(self, batch: Batch) -> Tensor:
        """Rows of the table that the batch reads, (n,): fields row by row, then each sequence."""
        fields = batch.categorical
        if self.with_scenario:
            fields = torch.cat([fields, batch.scenario.unsqueeze(1)], dim=1)
        parts = [(fields + self.offsets).flatten()]  # (batch * field,)
        for name, start in zip(self.sequence_names, self.sequence_starts, strict=True):
            parts.append(batch.sequences[name][0] + start)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def lookup(self, ids: Tensor) -> Tensor:
        """Rows of the table, (n, dim)."""
        if self.reads is not None:
            rows = self.table.detach().index_select(0, ids).requires_grad_()
            self.reads.append((ids, rows))
            return rows
        if self.sparse_gradient:
            return _SparseLookup.apply(self.table, ids)
        if ids.device.type == "cpu":
            return self.table.index_select(0, ids)  # its backward is twice as fast there
        return F.embedding(ids, self.table)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        """Arrange looked-up rows (n, dim) and the dense columns as (batch, width)."""
        device = rows.device.type
        if torch.is_autocast_enabled(device):  # convert once here, not once for every reader
            rows = rows.to(torch.get_autocast_dtype(device))
        size = len(batch)
        start = size * self.num_fields
        # a slice of everything would cost its backward pass a copy of everything
        fields = rows[:start] if self.sequence_names else rows
        parts = [fields.reshape(size, self.num_fields * self.embedding_dim)]
        for name in self.sequence_names:
            values, offsets = batch.sequences[name]
            parts.append(self._pool(rows[start : start + len(values)], offsets))
            start += len(values)
        parts.append(batch.dense.to(rows.dtype))
        return torch.cat(parts, dim=1)  # (batch, width)

    def _pool(self, rows: Tensor, offsets: Tensor) -> Tensor:
        """Mean or sum of the rows between offsets: (n, dim) -> (batch, dim)."""
        lengths = offsets.diff()  # (batch,)
        size = len(lengths)
        owner = torch.repeat_interleave(lengths, output_size=len(rows))  # (n,)
        pooled = rows.new_zeros(size, self.embedding_dim).index_add(0, owner, rows)
        if self.pooling == "mean":
            pooled = pooled / lengths.clamp(min=1).unsqueeze(1)
        return pooled  # (batch, dim)

    def forward(self, batch: Batch) -> Tensor:
        return self.assemble(self.lookup(self.ids(batch)), batch)


class _SparseLookup(torch.autograd.Function):
    """Rows of a table whose gradient is a sparse tensor over the rows read, each once."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = table.shape
        return table.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        touched, summed = sum_repeated(ids, gradient)
        sparse = torch.sparse_coo_tensor(
            touched.unsqueeze(0), summed, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return sparse, None
