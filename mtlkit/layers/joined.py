"""The inputs of several joined tables: one embedding table, one entrance a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.layers.embedding import FieldEmbedding, only_one_scenario
from mtlkit.layers.layout import FieldLayout, has_scenario_field, id_sizes, id_starts
from mtlkit.layers.sequence import Pooling
from mtlkit.layers.table import EmbeddingTable
from mtlkit.schema import Schema


class JoinedEmbedding(EmbeddingTable):
    """A vector of the same width for the rows of every joined table: entrance_t(fields of t).

    All ids stand in one embedding table; fields that the schema declares as shared read the same
    rows. A batch has the rows of one table (``batch.table``): its fields are laid out as in
    ``FieldEmbedding`` and go through that table's own linear layer, (batch, width_t) ->
    (batch, width). ``pooling`` as there, or {"table.sequence": one of these}. Raises ``KeyError``
    for a batch of no joined table.
    """

    def __init__(
        self,
        schema: JoinedSchema,
        embedding_dim: int = 32,
        *,
        width: int = 64,
        pooling: Pooling | Mapping[str, Pooling] = "mean",
    ) -> None:
        if isinstance(pooling, Mapping):
            _refuse_tables(pooling, [table for table, _ in schema.parts])
        sizes: dict[str, int] = {}
        names: dict[str, dict[str, str]] = {}  # table -> {field: whose rows it reads}
        one = {field: f"={name}" for name, fields in schema.shared for field in fields}
        for table, part in schema.parts:
            own = id_sizes(part, scenario_field=False)
            names[table] = {f: one.get(f"{table}.{f}", f"{table}.{f}") for f in own}
            sizes |= {names[table][field]: size for field, size in own.items()}
        with_scenario = any(has_scenario_field(part) for _, part in schema.parts)
        if with_scenario:
            sizes[""] = schema.num_scenarios + 1
        super().__init__(sum(sizes.values()), embedding_dim)
        self.schema = schema
        starts = id_starts(sizes)
        self.tables = tuple(table for table, _ in schema.parts)
        layouts = []
        for table, part in schema.parts:
            own_starts = {field: starts[name] for field, name in names[table].items()}
            if has_scenario_field(part):
                own_starts[""] = starts[""]
            layouts.append(
                FieldLayout(part, embedding_dim, own_starts, pooling=_of_table(pooling, table))
            )
        self.layouts = nn.ModuleList(layouts)
        self.entrances = nn.ModuleList(nn.Linear(layout.width, width) for layout in layouts)
        self.width = width
        self.scenario_start = starts.get("", 0)
        if with_scenario:
            with torch.no_grad():
                self.table[starts[""] + schema.unknown_scenario].zero_()

    def _place(self, batch: Batch) -> int:
        if batch.table not in self.tables:
            raise KeyError(
                f"The batch is of table {batch.table!r}; joined are {', '.join(self.tables)}: take "
                "batches from the Join, not from one of its tables."
            )
        return self.tables.index(batch.table)

    def layout(self, batch: Batch) -> Any:
        """The layout of the batch's table."""
        return self.layouts[self._place(batch)]

    def add_scenario(self, scenario: str) -> None:
        """Give the scenario "table/scenario" its row, equal to that of the unknown scenario.

        Raises ``SchemaError`` where the scenario becomes an input of its table only now.
        """
        known, self.schema = self.schema, self.schema.extend(scenario=scenario)
        table, _, name = scenario.partition("/")
        if has_scenario_field(known.part(table)) != has_scenario_field(self.schema.part(table)):
            raise only_one_scenario(known.part(table), name)
        if any(has_scenario_field(part) for _, part in known.parts):
            start = self.scenario_start  # after all ids, so nothing else moves
            self.insert_row(
                start + self.schema.scenario_index(scenario), start + known.unknown_scenario
            )

    def ids(self, batch: Batch) -> Tensor:
        """Rows of the table that the batch reads, (n,)."""
        return self.layout(batch).ids(batch)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        """Rows (n, dim) and dense columns through the table's entrance: (batch, width)."""
        return self.entrances[self._place(batch)](self.layout(batch).assemble(rows, batch))


def _refuse_tables(pooling: Mapping[str, Pooling], tables: list[str]) -> None:
    for name in pooling:
        if str(name).partition(".")[0] not in tables or "." not in str(name):
            raise ValueError(
                f'pooling names {name!r}: a sequence of a join is "table.sequence"; joined are '
                f"{', '.join(tables)}."
            )


def _of_table(
    pooling: Pooling | Mapping[str, Pooling], table: str
) -> Pooling | Mapping[str, Pooling]:
    """The poolings of one table's sequences."""
    if not isinstance(pooling, Mapping):
        return pooling
    start = f"{table}."
    return {n.removeprefix(start): p for n, p in pooling.items() if n.startswith(start)}


def field_inputs(schema: Schema, embedding_dim: int) -> EmbeddingTable:
    """The inputs of a schema by default: ``FieldEmbedding``, or ``JoinedEmbedding`` for a join."""
    if isinstance(schema, JoinedSchema):
        return JoinedEmbedding(schema, embedding_dim)
    return FieldEmbedding(schema, embedding_dim)
