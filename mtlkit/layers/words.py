"""What a product is called: the mean of the embeddings of its words."""

from __future__ import annotations

from collections.abc import Sequence

from mtlkit.layers.part import PartEmbedding, require_fields
from mtlkit.schema import Schema, SchemaError


class WordsEncoder(PartEmbedding):
    """A bag of words: e(row) = mean over its words w of E_w, 0 for a row without words.

    batch -> (batch, embedding_dim), for each of several sequences one such vector, side by side.
    Words are sequences with ids of their own that stand beside no other, and what stands beside
    them with ids of its own: it is added word by word. ``names`` are those to read (None: all). The
    order of words says nothing here, a word said twice counts twice.

    Raises ``SchemaError`` for a name that is no sequence with ids of its own, for one that stands
    beside a sequence that is not read, and where no words are left to read.
    """

    def __init__(
        self, schema: Schema, embedding_dim: int = 32, *, names: Sequence[str] | None = None
    ) -> None:
        own = word_names(schema)
        names = own if names is None else names
        require_fields(schema, names, "names")
        strange = [name for name in names if name not in own]
        if strange:
            raise SchemaError(
                f"names has {strange[0]!r}, which is no sequence with ids of its own, or stands "
                f"beside one that is none; words are {', '.join(own) or 'none'}."
            )
        if not names:
            raise SchemaError(
                f"No words are left to read: {', '.join(own)} are all left out. Leave one in, or "
                'leave "words" out of the modalities.'
                if own
                else "There are no words: the schema has no Sequence with a size of its own that "
                "stands beside no other."
            )
        super().__init__(schema, embedding_dim, names, scenario_field=False)


def word_names(schema: Schema, without: Sequence[str] = ()) -> list[str]:
    """Sequences that are words or stand beside words, less ``without`` and what stands beside it.

    What stands beside words and shares the ids of a field is no words, and not among them.
    """
    own = [s for s in schema.sequences if s.size is not None and s.name not in without]
    mains = {s.name for s in own if s.beside is None}
    return [s.name for s in own if s.beside is None or s.beside in mains]
