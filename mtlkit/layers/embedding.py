"""All inputs of a row as one vector: embedded ids, pooled sequences, dense columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.layout import FieldLayout, fields_read, has_scenario_field, id_sizes, id_starts
from mtlkit.layers.sequence import Pooling
from mtlkit.layers.table import EmbeddingTable
from mtlkit.schema import Schema, SchemaError


def only_one_scenario(schema: Schema, scenario: str) -> SchemaError:
    """What to say where a second scenario comes to a model that never read the first."""
    return SchemaError(
        f"The model was made for the one scenario {schema.scenario_names[0]!r}, so it does not "
        f"read scenarios and cannot tell {scenario!r} apart. Train a new one on tables with both."
    )


class FieldEmbedding(EmbeddingTable):
    """All inputs of a row as one vector: embedded ids, pooled sequences and dense columns.

    Every id of every field has one row in a single table; a field's ids start at its offset. One
    table means one lookup a batch instead of one a field. Where the schema has several scenarios,
    the scenario is one more id field, unless a categorical field called "scenario" is there
    already. The unknown scenario's row is the last of that field; it starts at 0, so that an
    unknown scenario adds nothing until training has rows of it. With ``scenario_field=False``
    neither is read, nor has it rows. Dense columns pass through unchanged.

    batch -> (batch, width), in the order categorical, scenario, sequences, dense.

    Parameters
    ----------
    schema, embedding_dim
        Fields, and the width of every embedding.
    pooling
        What a sequence's looked-up rows become: a name of ``mtlkit.layers.POOLINGS``, a module,
        what makes one of (dim, fields, max_length), as ``partial(TargetAttention, target="item")``,
        or {sequence: one of these}. With ``shares`` a sequence reads the rows of that categorical
        field; with ``beside`` its rows are added to those of another, event by event, before that
        one is pooled. "mean" and "sum" read all entries of a row, the others the newest
        ``max_length``; in a ``Table`` no row has more.
    encoders
        {categorical field: module (n,) ids -> (n, embedding_dim)}: a picture, words or attributes
        that are known by the field's id (``Lookup``). Their vector is added to the id's own row, in
        the field and in every sequence that shares it.

    Raises ``ValueError`` for an unknown pooling and for an encoder of an unknown field.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int = 32,
        *,
        pooling: Pooling | Mapping[str, Pooling] = "mean",
        encoders: Mapping[str, nn.Module] | None = None,
        scenario_field: bool = True,
    ) -> None:
        if not (schema.categorical or schema.dense or schema.sequences):
            raise SchemaError("The schema has no input: a model needs at least one field to read.")
        with_scenario = scenario_field and has_scenario_field(schema)
        read = fields_read(schema, scenario_field)
        shared = {s.shares for s in schema.sequences}
        left_out = set(schema.categorical_names).difference(read, shared)
        sizes = id_sizes(schema, with_scenario)
        sizes = {name: size for name, size in sizes.items() if name not in left_out}
        super().__init__(sum(sizes.values()), embedding_dim)
        self.schema, self.scenario_field = schema, scenario_field
        starts = id_starts(sizes)
        self.layout = FieldLayout(
            schema, embedding_dim, starts, pooling=pooling, encoders=encoders, read=read
        )
        self.width = self.layout.width
        if with_scenario:
            with torch.no_grad():
                self.table[starts[""] + schema.unknown_scenario].zero_()

    def add_scenario(self, scenario: str) -> None:
        """Give one scenario more its row, equal to that of the unknown scenario, where it was read.

        Raises ``SchemaError`` where the scenario becomes an input only now: the width would change.
        """
        known, self.schema = self.schema, self.schema.extend(scenario=scenario)
        if self.layout.with_scenario:
            start = id_starts(id_sizes(known, True))[""]
            self.insert_row(
                start + self.schema.scenario_index(scenario), start + known.unknown_scenario
            )
            self.layout.place(id_starts(id_sizes(self.schema, True)))
        elif self.scenario_field and has_scenario_field(self.schema):
            raise only_one_scenario(known, scenario)

    def ids(self, batch: Batch) -> Tensor:
        """Rows of the table that the batch reads, (n,): fields row by row, then each sequence."""
        return self.layout.ids(batch)

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        """Arrange looked-up rows (n, dim) and the dense columns as (batch, width)."""
        return self.layout.assemble(rows, batch)
