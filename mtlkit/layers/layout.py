"""Which rows of an embedding table a schema's columns read, and how they become one vector."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.ragged import fixed_shapes, lengths, owners
from mtlkit.layers.sequence import Pooling, poolings
from mtlkit.schema import Schema


def has_scenario_field(schema: Schema) -> bool:
    """Whether the scenario is one more id field: there are several, and it is no field already."""
    return schema.num_scenarios > 1 and "scenario" not in schema.categorical_names


def id_sizes(schema: Schema, scenario_field: bool) -> dict[str, int]:
    """{what has rows of its own: their number}: fields, the scenario (""), own sequences.

    The scenario's last row is that of the unknown one.
    """
    sizes = {field.name: field.size for field in schema.categorical}
    if scenario_field:
        sizes[""] = schema.num_scenarios + 1
    return sizes | {s.name: s.size for s in schema.sequences if s.size is not None}


def fields_read(schema: Schema, scenario_field: bool) -> list[str]:
    """The categorical fields that rows read: without the scenario's, where it is not to be read."""
    return [name for name in schema.categorical_names if scenario_field or name != "scenario"]


def id_starts(sizes: Mapping[str, int]) -> dict[str, int]:
    """{name: its first row}, one after the other in a single table."""
    return dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))


class FieldLayout(nn.Module):
    """A schema's columns over one table: ``ids`` to look up, and the vector made of their rows.

    ``starts`` {field, "" for the scenario, sequence with ids of its own: its first row}; without
    "" there is no such field. ``read`` are the categorical fields that rows read (None: all);
    ``pooling`` and ``encoders`` as in ``FieldEmbedding``. The vector's order is categorical,
    scenario, sequences, dense; ``width`` is its length. Sequences beside another (``Sequence``)
    have no vector of their own: their entries are added to that one's, event by event.
    """

    offsets: Tensor
    columns: Tensor

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        starts: Mapping[str, int],
        *,
        pooling: Pooling | Mapping[str, Pooling] = "mean",
        encoders: Mapping[str, nn.Module] | None = None,
        read: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.with_scenario = "" in starts
        self.sequence_names = tuple(s.name for s in schema.sequences)
        every = list(schema.categorical_names)
        names = every if read is None else list(read)
        columns = torch.tensor([every.index(name) for name in names], dtype=torch.int64)
        self.register_buffer("columns", columns, persistent=False)  # (field,) of the table's
        self.reads_all = names == every
        self.fields = names + [""] * self.with_scenario
        self.num_fields = len(self.fields)  # ids that every row has exactly once
        self.poolings = poolings(pooling, schema, embedding_dim, self.fields)
        mains = [s.name for s in schema.sequences if s.beside is None]
        self.events = {  # pooled sequence -> those beside it
            main: tuple(s.name for s in schema.sequences if s.beside == main) for main in mains
        }
        self.sequence_sources = tuple(s.shares or s.name for s in schema.sequences)
        offsets = torch.zeros(self.num_fields, dtype=torch.int64)
        self.register_buffer("offsets", offsets, persistent=False)  # (field,)
        self.place(starts)
        widths = [getattr(pool, "width", embedding_dim) for pool in self.poolings]
        self.width = self.num_fields * embedding_dim + sum(widths) + schema.dense_width

        encoders = encoders or {}
        unknown = sorted(set(encoders) - set(names))
        if unknown:
            raise ValueError(
                f"encoders names {unknown[0]!r}, which is no categorical field that is read; "
                f"read are {', '.join(names) or 'none'}."
            )
        sizes = {field.name: field.size for field in schema.categorical}
        for name, encoder in encoders.items():
            features = getattr(encoder, "features", None)
            if features is not None and len(features) < sizes[name]:
                raise ValueError(
                    f"encoders[{name!r}] knows {len(features)} ids; the field has {sizes[name]}."
                )
        self.encoders = nn.ModuleList(encoders.values())
        self.encoded_columns = tuple(names.index(name) for name in encoders)
        place = {name: number for number, name in enumerate(encoders)}  # field -> its encoder
        self.encoded_sequences = tuple(place.get(str(s.shares)) for s in schema.sequences)

    def place(self, starts: Mapping[str, int]) -> None:
        """Say where the rows of fields and sequences begin: ``starts`` as at the start."""
        self.field_starts = {name: starts[name] for name in self.fields if name}
        self.sequence_starts = tuple(starts[name] for name in self.sequence_sources)
        self.offsets = torch.tensor(
            [starts[name] for name in self.fields], dtype=torch.int64, device=self.offsets.device
        )

    def read(self, batch: Batch) -> Tensor:
        """Ids of the categorical fields that are read, (batch, field)."""
        every = batch.categorical
        return every if self.reads_all else every.index_select(1, self.columns)

    def ids(self, batch: Batch) -> Tensor:
        """Rows of the table that the batch reads, (n,): fields row by row, then each sequence."""
        fields = self.read(batch)
        if self.with_scenario:
            fields = torch.cat([fields, batch.scenario.unsqueeze(1)], dim=1)
        parts = [(fields + self.offsets).flatten()]  # (batch * field,)
        for name, start in zip(self.sequence_names, self.sequence_starts, strict=True):
            parts.append(batch.sequences[name][0] + start)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

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
        if self.encoded_columns:
            fields = self._add_encoded(fields, batch)
        entries: dict[str, Tensor] = {}
        for place, name in enumerate(self.sequence_names):
            values, _ = batch.sequences[name]
            entries[name] = rows[start : start + values.shape[0]]
            encoder = self.encoded_sequences[place]
            if encoder is not None:
                encoded = self.encoders[encoder](values)
                entries[name] = entries[name] + encoded.to(rows.dtype)
            start = start + values.shape[0]
        parts = [fields.flatten(1)]
        for pool, (name, beside) in zip(self.poolings, self.events.items(), strict=True):
            events, offsets = entries[name], batch.sequences[name][1]
            for other in beside:
                _require_aligned(batch, other, name)
                events = events + _aligned(entries[other], events)
            parts.append(pool(events, offsets, fields))
        parts.append(batch.dense.to(rows.dtype))
        return torch.cat(parts, dim=1)  # (batch, width)

    def _add_encoded(self, fields: Tensor, batch: Batch) -> Tensor:
        """Add each encoder's vector to its field: (batch, field, dim)."""
        columns, read = list(fields.unbind(1)), self.read(batch)
        for encoder, column in zip(self.encoders, self.encoded_columns, strict=True):
            vector = encoder(read[:, column])
            if vector.shape[1] != self.embedding_dim:  # 1 would be broadcast without a word
                raise ValueError(
                    f"An encoder gives {vector.shape[1]} numbers an id; the embedding has "
                    f"{self.embedding_dim}."
                )
            columns[column] = columns[column] + vector.to(fields.dtype)
        return torch.stack(columns, dim=1)


def _require_aligned(batch: Batch, name: str, beside: str) -> None:
    """Raise ``ValueError`` where ``name`` has not one entry for each event of ``beside``.

    Row by row where that needs no wait: on a CPU, outside programs and transforms of functions.
    Elsewhere only the numbers of entries are compared, and while a program is traced nothing.
    """
    if torch.compiler.is_compiling():
        return
    (values, offsets), (events, others) = batch.sequences[name], batch.sequences[beside]
    start = f"Sequence {name!r} has "
    if values.shape != events.shape:
        raise ValueError(
            f"{start}{values.shape[0]} entries in this batch, {beside!r}, beside which it stands, "
            f"{events.shape[0]}: give both the same lengths in every row."
        )
    if offsets is others or offsets.device.type != "cpu" or fixed_shapes(offsets):
        return
    if not torch.equal(offsets, others):
        own, main = lengths(offsets, batch.rows), lengths(others, batch.rows)
        row = int((own != main).nonzero()[0])
        raise ValueError(
            f"{start}{int(own[row])} entries in row {row} of this batch, {beside!r}, beside which "
            f"it stands, {int(main[row])}: give both the same lengths in every row."
        )


def _aligned(entries: Tensor, events: Tensor) -> Tensor:
    """The entries (n, dim), as many as the events (n, dim)."""
    if torch.compiler.is_compiling():  # which may know each number by a symbol of its own
        return entries.index_select(0, torch.arange(events.shape[0], device=entries.device))
    return entries


def scenario_of_ids(layout: FieldLayout, batch: Batch) -> Tensor:
    """The scenario of the row that reads each of ``layout.ids(batch)``, int64 (n,)."""
    scenario = batch.scenario
    of_ids = [scenario.unsqueeze(1).expand(-1, layout.num_fields).flatten()]
    for name in layout.sequence_names:
        values, offsets = batch.sequences[name]
        owner = owners(lengths(offsets, batch.rows), values.shape[0])
        of_ids.append(scenario.index_select(0, owner))
    return torch.cat(of_ids)
