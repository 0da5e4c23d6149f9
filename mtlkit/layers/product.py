"""A product read by attributes, words and picture, or by some of the three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.attributes import AttributesEncoder
from mtlkit.layers.augmented import Augmented
from mtlkit.layers.part import require_fields
from mtlkit.layers.picture import SIDE, PictureEncoder
from mtlkit.layers.words import WordsEncoder, word_names
from mtlkit.schema import Schema, SchemaError

# what is known of a product, in the order in which ``ProductInputs`` joins it
MODALITIES = ("attributes", "words", "picture")


class ProductInputs(nn.Module):
    """Attributes, words and picture side by side: batch -> (batch, width).

    For ``inputs`` of any model, ``SharedBottom(schema, inputs=partial(ProductInputs,
    modalities=("words", "picture")))``. What a modality adds is the difference to a model without
    it. ``slices`` {modality: its columns of the vector}, in the order of ``MODALITIES``.

    Parameters
    ----------
    schema, embedding_dim
        Fields, and the width of embeddings, of the words' mean and of the picture's vector.
    modalities
        Some of "attributes" (``AttributesEncoder``), "words" (``WordsEncoder``), "picture"
        (``PictureEncoder``). A modality that is left out has no parameters and is not read.
    picture
        The dense field of the picture, 784 wide. Not among the attributes, whatever is read.
    without
        Fields not to read: those that tell the answer of a task (a price, where the price band is
        asked for). A field of a task's own name is refused by ``Schema``.
    encoder
        Encodes pictures (n, 784) -> (n, encoder.width); None: a ``PictureEncoder`` of its own. One
        that is given is shared with whoever has it as well, such as a ``Lookup``. ``SingleTask``
        and ``STEM`` make inputs for every task, which would share it, too.
    augmented
        Whether training sees turned, scaled and shifted pictures (``Augmented``), or by how much,
        {"rotate_degrees": 10, "scale": 0.1, "shift": 1.5}.
    scenario_field
        Whether the scenario is among the attributes where the schema has several.

    Raises ``ValueError`` for unknown or no modalities and an encoder without ``width``, and
    ``SchemaError`` for a modality that the schema has no field for.
    """

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int = 32,
        *,
        modalities: Sequence[str] = MODALITIES,
        picture: str = "pixel",
        without: Sequence[str] = (),
        encoder: nn.Module | None = None,
        augmented: bool | Mapping[str, float] = False,
        scenario_field: bool = True,
    ) -> None:
        super().__init__()
        _check_modalities(modalities)
        require_fields(schema, without, "without")
        self.columns = slice(0, 0)  # of the picture
        self.reads_scenario = False
        widths: dict[str, int] = {}
        if "attributes" in modalities:
            named = [f.name for f in schema.dense if f.name == picture]
            self.attributes = AttributesEncoder(
                schema, embedding_dim, without=(*without, *named), scenario_field=scenario_field
            )
            layout = self.attributes.layout
            self.reads_scenario = layout.with_scenario or "scenario" in layout.fields
            widths["attributes"] = self.attributes.width
        if "words" in modalities:
            names = word_names(schema, without)
            self.words = WordsEncoder(schema, embedding_dim, names=names)
            widths["words"] = self.words.width
        if "picture" in modalities:
            self.columns = _picture_columns(schema, picture, without)
            self.augmented = _augmented(augmented)
            self.picture = PictureEncoder(embedding_dim) if encoder is None else encoder
            widths["picture"] = _width(self.picture)
        elif encoder is not None or augmented:
            raise ValueError(
                'encoder and augmented are for pictures: name "picture" among the modalities.'
            )
        self.slices: dict[str, slice] = {}
        self.width = 0
        for name, width in widths.items():
            self.slices[name] = slice(self.width, self.width + width)
            self.width += width

    def forward(self, batch: Batch) -> Tensor:
        parts = []
        if "attributes" in self.slices:
            parts.append(self.attributes(batch))
        if "words" in self.slices:
            parts.append(self.words(batch))
        if "picture" in self.slices:
            pixels = batch.dense[:, self.columns]
            weight = next(self.picture.parameters(), pixels)
            parts.append(self.picture(self.augmented(pixels.to(weight.dtype))))
        return torch.cat(parts, dim=1)  # (batch, width)

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more: the encoders that are told of it know it by themselves."""


def _check_modalities(modalities: Sequence[str]) -> None:
    if isinstance(modalities, str):
        raise ValueError(f"modalities is a list of names: modalities=({modalities!r},).")
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        raise ValueError(
            f"modalities must be one or more of {', '.join(MODALITIES)}, each once, not "
            f"{tuple(modalities)!r}."
        )


def _width(encoder: nn.Module) -> int:
    width = getattr(encoder, "width", None)
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(
            f"encoder: {type(encoder).__name__} has no width, the whole number of columns of what "
            "it returns: set encoder.width."
        )
    return width


def _picture_columns(schema: Schema, picture: str, without: Sequence[str]) -> slice:
    columns = schema.dense_slices.get(picture)
    width = 0 if columns is None else columns.stop - columns.start
    if columns is None or picture in without or width != SIDE * SIDE:
        found = f"that of the schema is {width} wide" if width else "the schema has none"
        if picture in without:
            found = "without= leaves it out"
        raise SchemaError(
            f'The modality "picture" reads a Dense field {picture!r} of 784 pixels; {found}. Name '
            'another with picture=, or leave "picture" out of the modalities.'
        )
    return columns


def _augmented(amounts: bool | Mapping[str, float]) -> nn.Module:
    if amounts is False:
        return nn.Identity()
    return Augmented() if amounts is True else Augmented(**amounts)
