"""All inputs of a row as one vector: embedded ids, pooled sequences, dense columns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.repeats import SparseLookup
from mtlkit.layers.sequence import Pooling, poolings
from mtlkit.schema import Schema


class FieldEmbedding(nn.Module):
    """All inputs of a row as one vector: embedded ids, pooled sequences and dense columns.

    Every id of every field has one row in a single table; a field's ids start at its offset. One
    table means one lookup a batch instead of one a field. Where the schema has several scenarios,
    the scenario is one more id field, unless ``scenario_field=False`` or a categorical field called
    "scenario" is there already. The unknown scenario's row is the last of that field; it starts at
    0, so that an unknown scenario adds nothing until training has rows of it. Dense columns pass
    through unchanged.

    batch -> (batch, width), in the order categorical, scenario, sequences, dense.

    Parameters
    ----------
    schema, embedding_dim
        Fields, and the width of every embedding.
    pooling
        What a sequence's looked-up rows become: "mean", "sum", a module, or {sequence: one of
        these}; see ``mtlkit.layers.sequence``. With ``shares`` a sequence reads the rows of that
        categorical field.
    encoders
        {categorical field: module (n,) ids -> (n, embedding_dim)}: a picture, words or attributes
        that are known by the field's id (``Lookup``). Their vector is added to the id's own row, in
        the field and in every sequence that shares it.

    ``sparse_gradient`` (set by the optimisers that can use it) makes the table's gradient a sparse
    tensor of the rows that the batch touched. While ``reads`` is a list, gradients stop at the
    looked-up rows: each lookup returns a new leaf and notes (ids (n,), rows (n, dim)) there. Raises
    ``ValueError`` for an unknown pooling and for an encoder of an unknown field.
    """

    offsets: Tensor

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int = 16,
        *,
        pooling: Pooling | Mapping[str, Pooling] = "mean",
        encoders: Mapping[str, nn.Module] | None = None,
        scenario_field: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.sparse_gradient = False
        self.reads: list[tuple[Tensor, Tensor]] | None = None
        listed = "scenario" in schema.categorical_names  # then it is a field already
        self.with_scenario = scenario_field and schema.num_scenarios > 1 and not listed
        self.sequence_names = tuple(s.name for s in schema.sequences)
        self.poolings = poolings(pooling, self.sequence_names)

        sizes = [c.size for c in schema.categorical]
        if self.with_scenario:
            sizes.append(schema.num_scenarios + 1)  # the last one: unknown
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

        widths = [getattr(pool, "width", embedding_dim) for pool in self.poolings]
        self.width = self.num_fields * embedding_dim + sum(widths) + schema.dense_width
        self.table = nn.Parameter(torch.empty(starts[-1], embedding_dim))  # (id, dim)
        nn.init.normal_(self.table, std=0.01)
        if self.with_scenario:
            with torch.no_grad():
                self.table[starts[self.num_fields] - 1].zero_()

        encoders = encoders or {}
        unknown = sorted(set(encoders) - set(names))
        if unknown:
            raise ValueError(
                f"encoders names {unknown[0]!r}, which is no categorical field; the schema has "
                f"{', '.join(names) or 'none'}."
            )
        self.encoders = nn.ModuleList(encoders.values())
        self.encoded = {name: place for place, name in enumerate(encoders)}  # field -> its encoder
        self.encoded_columns = tuple(names.index(name) for name in encoders)
        self.encoded_sequences = tuple(self.encoded.get(str(s.shares)) for s in schema.sequences)

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
            return SparseLookup.apply(self.table, ids)
        if ids.device.type == "cpu":
            return self.table.index_select(0, ids)  # its backward is twice as fast there
        return F.embedding(ids, self.table)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        """Arrange looked-up rows (n, dim) and the dense columns as (batch, width)."""
        device = rows.device.type
        # under autocast convert once here, not once for every reader
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            rows = rows.to(torch.get_autocast_dtype(device))
        size = batch.rows
        start = size * self.num_fields
        # a slice of everything would cost its backward pass a copy of everything
        fields = rows[:start] if self.sequence_names else rows
        fields = fields.reshape(size, self.num_fields, self.embedding_dim)
        if self.encoded:
            fields = self._add_encoded(fields, batch)
        parts = [fields.flatten(1)]
        for place, name in enumerate(self.sequence_names):
            values, offsets = batch.sequences[name]
            entries = rows[start : start + values.shape[0]]
            encoder = self.encoded_sequences[place]
            if encoder is not None:
                entries = entries + self.encoders[encoder](values).to(entries.dtype)
            parts.append(self.poolings[place](entries, offsets, fields))
            start = start + values.shape[0]
        parts.append(batch.dense.to(rows.dtype))
        return torch.cat(parts, dim=1)  # (batch, width)

    def _add_encoded(self, fields: Tensor, batch: Batch) -> Tensor:
        """Add each encoder's vector to its field: (batch, field, dim)."""
        columns = list(fields.unbind(1))
        for encoder, column in zip(self.encoders, self.encoded_columns, strict=True):
            vector = encoder(batch.categorical[:, column])
            columns[column] = columns[column] + vector.to(fields.dtype)
        return torch.stack(columns, dim=1)

    def forward(self, batch: Batch) -> Tensor:
        return self.assemble(self.lookup(self.ids(batch)), batch)
