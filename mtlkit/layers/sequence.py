"""Pooling: what a sequence of ids becomes for its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mtlkit.layers.pooling import (
    CausalTransformer,
    GRUPooling,
    SiLUAttention,
    SoftmaxAttention,
    TargetAttention,
)
from mtlkit.layers.ragged import lengths, owners
from mtlkit.schema import Schema

Maker = Callable[[int, tuple[str, ...], int], nn.Module]  # (dim, fields, max_length) -> module
Pooling = str | nn.Module | Maker


class SumPooling(nn.Module):
    """The sum of the entries' rows, zero for an empty sequence.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim). The row's own
    embedded fields stand there for poolings that ask what the sequence is read for. What poolings
    are made with (dim, fields, max_length) plays no part here: all entries are read, also of a row
    with more than ``max_length``.
    """

    def __init__(self, *made_with: Any) -> None:
        super().__init__()

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        owner = owners(lengths(offsets, fields.shape[0]), rows.shape[0])
        return rows.new_zeros(fields.shape[0], rows.shape[1]).index_add(0, owner, rows)


class MeanPooling(SumPooling):
    """The mean of the entries' rows, zero for an empty sequence.

    Shapes as in ``SumPooling``, and all entries are read as there.
    """

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        counts = lengths(offsets, fields.shape[0]).clamp(min=1).unsqueeze(1)  # (batch, 1)
        return super().forward(rows, offsets, fields) / counts


# name -> what makes the pooling of a sequence from (dim, fields, max_length)
POOLINGS: dict[str, Maker] = {
    "mean": MeanPooling,
    "sum": SumPooling,
    "target": TargetAttention,
    "gru": GRUPooling,
    "transformer": CausalTransformer,
    "softmax": SoftmaxAttention,
    "silu": SiLUAttention,
}


def poolings(
    chosen: Pooling | Mapping[str, Pooling], schema: Schema, dim: int, fields: Sequence[str]
) -> nn.ModuleList:
    """One pooling module a sequence that stands beside no other, in the schema's order.

    ``chosen``: a name of ``POOLINGS``, a module for all of them, whatever makes one when called
    with (dim, fields, max_length), as ``partial(TargetAttention, target="item")``, or
    {sequence: one of these}, the others "mean". Raises ``ValueError`` for an unknown name or
    sequence, and for a sequence that stands beside another and so is pooled with it.
    """
    every = {s.name: s for s in schema.sequences}
    main = {name: s for name, s in every.items() if s.beside is None}
    by_name = chosen if isinstance(chosen, Mapping) else dict.fromkeys(main, chosen)
    for name in sorted(set(by_name) - set(main)):
        if name in every:
            raise ValueError(
                f"pooling names {name!r}, which stands beside {every[name].beside!r} and is pooled "
                f"with it: name {every[name].beside!r}."
            )
        raise ValueError(
            f"pooling names {name!r}, which is no sequence of the schema; it has "
            f"{', '.join(main) or 'none'}."
        )
    made = (dim, tuple(fields))
    return nn.ModuleList(
        _pooling(by_name.get(name, "mean"), *made, s.max_length) for name, s in main.items()
    )


def _pooling(chosen: Pooling, dim: int, fields: tuple[str, ...], max_length: int) -> nn.Module:
    if isinstance(chosen, nn.Module):
        return chosen
    maker = POOLINGS.get(chosen) if isinstance(chosen, str) else chosen
    if not callable(maker):
        known = ", ".join(f'"{name}"' for name in POOLINGS)
        raise ValueError(f"pooling is {known} or a module, not {chosen!r}.")
    return maker(dim, fields, max_length)
