"""Entries of ragged columns: whose they are, how old, and rows of like length side by side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mtlkit.layers.routing import route_form


def lengths(offsets: Tensor, rows: int) -> Tensor:
    """How many entries each row of a ragged column has: offsets (batch + 1,) -> (batch,)."""
    # not offsets.diff(): an export that takes any number of rows must know its size as ``rows``
    return offsets.narrow(0, 1, rows) - offsets.narrow(0, 0, rows)


def owners(lengths: Tensor, entries: int) -> Tensor:
    """The row that each entry of a ragged column belongs to: lengths (batch,) -> (n,)."""
    return torch.repeat_interleave(lengths, output_size=entries)


def ages(offsets: Tensor, owner: Tensor) -> Tensor:
    """How many entries of its row are newer than each entry: 0 for the newest, int64 (n,)."""
    places = torch.arange(owner.shape[0], device=owner.device)
    return offsets.index_select(0, owner + 1) - 1 - places


def fixed_shapes(offsets: Tensor) -> bool:
    """Whether sizes must not depend on lengths: while a program is traced, on the device meta, in
    a transform of ``torch.func`` over the rows, and inside ``use_route("gathered")``."""
    return (
        offsets.is_meta
        or route_form() == "gathered"
        or torch.compiler.is_compiling()
        or torch._C._functorch.is_functorch_wrapped_tensor(offsets)
    )


def padded(rows: Tensor, starts: Tensor, counts: Tensor, longest: int) -> Tensor:
    """Entries starts .. starts + counts - 1 of rows (n, dim), then zeros: (k, longest, dim)."""
    step = torch.arange(longest, device=starts.device)
    places = starts.unsqueeze(1) + step  # (k, longest)
    places = torch.where(step < counts.unsqueeze(1), places, rows.shape[0])
    whole = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])  # its last row stands for padding
    return whole.index_select(0, places.flatten()).unflatten(0, (places.shape[0], longest))


def by_length(counts: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Rows of like length, (row numbers (k,), their longest), from the counts (batch,) of all.

    A bucket holds the lengths above one power of two up to the next, so that padding at most
    doubles the entries; rows without entries are in none. The counts are copied to the host: the
    one wait on CUDA.
    """
    ordered, order = counts.sort(stable=True)
    known = ordered.tolist()
    start = sum(count == 0 for count in known)
    while start < len(known):
        limit = 1 << (known[start] - 1).bit_length()
        end = start
        while end < len(known) and known[end] <= limit:
            end += 1
        yield order[start:end], known[end - 1]
        start = end
