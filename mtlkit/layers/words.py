"""What a product is called: the mean of the embeddings of its words."""

from __future__ import annotations

from collections.abc import Sequence

from mtlkit.layers.part import PartEmbedding, require_fields
from mtlkit.schema import Schema, SchemaError


class WordsEncoder(PartEmbedding):
    """A bag of words: e(row) = mean over its words w of E_w, 0 for a row without words.

    batch -> (batch, embedding_dim), for each of several sequences one such vector, side by side.
    ``names`` are the sequences (None: all with ids of their own). The order of words says nothing
    here, a word said twice counts twice.

    Raises ``SchemaError`` for a name that is no sequence with ids of its own, and for none.
    """

    def __init__(
        self, schema: Schema, embedding_dim: int = 32, *, names: Sequence[str] | None = None
    ) -> None:
        own = [s.name for s in schema.sequences if s.size is not None]
        names = own if names is None else names
        require_fields(schema, names, "names")
        strange = [name for name in names if name not in own]
        if strange:
            raise SchemaError(
                f"names has {strange[0]!r}, which is no sequence with ids of its own; words are "
                f"{', '.join(own) or 'none'}."
            )
        if not names:
            raise SchemaError("There are no words: the schema has no Sequence with a size.")
        super().__init__(schema, embedding_dim, names, scenario_field=False)
