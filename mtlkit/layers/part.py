"""A part of a schema's fields as an embedding that reads whole batches."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.schema import Schema, SchemaError


class PartEmbedding(FieldEmbedding):
    """``FieldEmbedding`` of the fields ``names`` alone: whole batches -> (batch, width).

    Other columns of a batch are not looked at, and have no rows in the table. The scenario is read
    as in ``FieldEmbedding``, with ``scenario_field=False`` it is not.

    Raises ``SchemaError`` for a field that the schema does not have, for a sequence whose events'
    own one (``beside``) is not among ``names``, and for no field at all.
    """

    categorical_columns: Tensor
    dense_columns: Tensor

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        names: Collection[str],
        *,
        scenario_field: bool = True,
    ) -> None:
        require_fields(schema, names, "names")
        for s in schema.sequences:
            if s.name in names and s.beside is not None and s.beside not in names:
                raise SchemaError(
                    f"names has {s.name!r}, which stands beside {s.beside!r}: name both or none."
                )
        super().__init__(fields_of(schema, names), embedding_dim, scenario_field=scenario_field)
        columns = [i for i, name in enumerate(schema.categorical_names) if name in names]
        slices = [part for name, part in schema.dense_slices.items() if name in names]
        dense = [i for part in slices for i in range(part.start, part.stop)]
        for name, places in (("categorical_columns", columns), ("dense_columns", dense)):
            # of the whole schema's table
            place = torch.tensor(places, dtype=torch.int64)
            self.register_buffer(name, place, persistent=False)

    def part(self, batch: Batch) -> Batch:
        """The batch with the columns of these fields alone."""
        return replace(
            batch,
            categorical=batch.categorical.index_select(1, self.categorical_columns),
            dense=batch.dense.index_select(1, self.dense_columns),
            sequences={s.name: batch.sequences[s.name] for s in self.schema.sequences},
        )

    def ids(self, batch: Batch) -> Tensor:
        return super().ids(self.part(batch))

    def assemble(self, rows: Tensor, batch: Batch) -> Tensor:
        return super().assemble(rows, self.part(batch))


def fields_of(schema: Schema, names: Collection[str]) -> Schema:
    """The same schema with the fields ``names`` alone, in its own order."""
    return replace(
        schema,
        categorical=tuple(f for f in schema.categorical if f.name in names),
        dense=tuple(f for f in schema.dense if f.name in names),
        sequences=tuple(f for f in schema.sequences if f.name in names),
    )


def require_fields(schema: Schema, names: Collection[str], argument: str) -> None:
    """Raise ``SchemaError`` where an argument names no fields, or others than the schema's."""
    if isinstance(schema, JoinedSchema):
        raise SchemaError(
            "A Join has no fields of its own: encode the products' table by itself, and let the "
            "other table look them up (Lookup)."
        )
    if isinstance(names, str):
        raise SchemaError(f"{argument} is a list of fields: {argument}=({names!r},).")
    known = [*schema.categorical_names, *schema.dense_slices, *(s.name for s in schema.sequences)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SchemaError(
            f"{argument} has {unknown[0]!r}, which is no input field; the schema has "
            f"{', '.join(known) or 'none'}."
        )
