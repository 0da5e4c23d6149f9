"""Pooling: what a sequence of ids becomes for its row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Pooling = str | nn.Module


def lengths(offsets: Tensor, rows: int) -> Tensor:
    """How many entries each row of a ragged column has: offsets (batch + 1,) -> (batch,)."""
    # not offsets.diff(): an export that takes any number of rows must know its size as ``rows``
    return offsets.narrow(0, 1, rows) - offsets.narrow(0, 0, rows)


def owners(lengths: Tensor, entries: int) -> Tensor:
    """The row that each entry of a ragged column belongs to: lengths (batch,) -> (n,)."""
    return torch.repeat_interleave(lengths, output_size=entries)


class SumPooling(nn.Module):
    """The sum of the entries' rows, zero for an empty sequence.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim). The row's own
    embedded fields stand there for poolings that ask what the sequence is read for.
    """

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        owner = owners(lengths(offsets, fields.shape[0]), rows.shape[0])
        return rows.new_zeros(fields.shape[0], rows.shape[1]).index_add(0, owner, rows)


class MeanPooling(SumPooling):
    """The mean of the entries' rows, zero for an empty sequence. Shapes as in ``SumPooling``."""

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        counts = lengths(offsets, fields.shape[0]).clamp(min=1).unsqueeze(1)  # (batch, 1)
        return super().forward(rows, offsets, fields) / counts


POOLINGS: dict[str, type[nn.Module]] = {"mean": MeanPooling, "sum": SumPooling}


def poolings(chosen: Pooling | Mapping[str, Pooling], names: tuple[str, ...]) -> nn.ModuleList:
    """One pooling module a sequence: by name, a module for all of them, or {sequence: either}.

    Raises ``ValueError`` for an unknown name or sequence.
    """
    by_name = chosen if isinstance(chosen, Mapping) else dict.fromkeys(names, chosen)
    unknown = sorted(set(by_name) - set(names))
    if unknown:
        raise ValueError(
            f"pooling names {unknown[0]!r}, which is no sequence of the schema; it has "
            f"{', '.join(names) or 'none'}."
        )
    return nn.ModuleList(_pooling(by_name.get(name, "mean")) for name in names)


def _pooling(chosen: Pooling) -> nn.Module:
    if isinstance(chosen, nn.Module):
        return chosen
    if chosen not in POOLINGS:
        known = ", ".join(f'"{name}"' for name in POOLINGS)
        raise ValueError(f"pooling is {known} or a module, not {chosen!r}.")
    return POOLINGS[chosen]()
