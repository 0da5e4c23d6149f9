"""What a product is, told by ids and numbers: categorical fields and dense columns."""

from __future__ import annotations

from collections.abc import Sequence

from mtlkit.layers.part import PartEmbedding, require_fields
from mtlkit.schema import Schema, SchemaError


class AttributesEncoder(PartEmbedding):
    """Embedded ids and dense columns: batch -> (batch, width), ordered as in ``FieldEmbedding``.

    Read are the categorical fields, sequences that share their ids, the scenario (where there are
    several and ``scenario_field``) and the dense columns. Not read are sequences with ids of their
    own, which are words, and the fields ``without``, with every sequence that shares their ids: a
    picture, or a field that tells the answer of a task. What stands ``beside`` a sequence is read
    with it, or left out with it. width = vectors read * embedding_dim + dense.

    Raises ``SchemaError`` for a field that is not there, and where nothing is left to read.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int = 32,
        *,
        without: Sequence[str] = (),
        scenario_field: bool = True,
    ) -> None:
        require_fields(schema, without, "without")
        every = [*schema.categorical_names, *schema.dense_slices]
        names = [name for name in every if name not in without]
        if not names:
            raise SchemaError(
                "No attribute is left to read: the schema has no categorical or dense field that "
                f"without={tuple(without)!r} does not leave out."
            )
        left = [s for s in schema.sequences if s.name not in without]
        left = [s for s in left if s.shares is None or s.shares in names]
        mains = {s.name for s in left if s.beside is None and s.shares is not None}
        names += [s.name for s in left if s.name in mains or s.beside in mains]
        super().__init__(schema, embedding_dim, names, scenario_field=scenario_field)
