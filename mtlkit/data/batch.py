"""What a model reads of some rows: a batch, and how rows are picked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

Ragged = tuple[Tensor, Tensor]  # values (n,), offsets (row + 1,)


@dataclass
class Batch:
    """What a model and its losses read: inputs, labels and which labels are observed.

    categorical int64 (batch, field); dense float32 (batch, width); sequences
    {name: (values int64 (n,), offsets int64 (batch + 1,))}; labels float32 (batch, task), 0 where
    not observed; observed bool (batch, task); scenario int64 (batch,); censored bool (batch, task)
    or None; table the name of the table that the rows come from, where several are joined; weight
    float32 (batch,) or None: how much each row counts in the losses; group int64 (batch,) or None:
    the page (session, query) of each row, for losses that compare rows of one page.

    A batch is a registered pytree, so that ``torch.export`` and ``torch.func`` see its tensors.
    """

    categorical: Tensor
    dense: Tensor
    sequences: dict[str, Ragged]
    labels: Tensor
    observed: Tensor
    scenario: Tensor
    censored: Tensor | None = None
    table: str = ""
    weight: Tensor | None = None
    group: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scenario)

    @property
    def rows(self) -> int:
        """The number of rows; a symbol, not yet a number, while ``torch.export`` keeps it free."""
        return self.scenario.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``; copies from pinned memory do not block."""
        return Batch(**{f.name: move(getattr(self, f.name), device) for f in fields(self)})


def move(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: move(v, device) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(move(v, device) for v in value)
    return value


def epoch_order(rows: int, *, shuffle: bool, seed: int, epoch: int) -> Tensor:
    """Return the order of rows in one epoch, int64 (row,); it depends on (seed, epoch) alone."""
    if not shuffle:
        return torch.arange(rows)
    state = int(np.random.SeedSequence([abs(int(seed)), int(epoch)]).generate_state(1)[0])
    return torch.randperm(rows, generator=torch.Generator().manual_seed(state))


def check_batches(batch_size: int, start: int = 0) -> None:
    """Raise ``ValueError`` unless ``batch_size`` is a whole number from 1 and ``start`` from 0."""
    for name, value, low in (("batch_size", batch_size, 1), ("start", start, 0)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < low:
            more = f"{low} or more" if whole else f"a whole number of {low} or more"
            raise ValueError(f"{name} must be {more}, not {value!r}.")


def stack_batches(parts: Sequence[Batch]) -> Batch:
    """The rows of several batches with the same columns as one batch, in order."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    columns: dict[str, Any] = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(Batch)
        if isinstance(getattr(first, f.name), Tensor)
    }
    names = first.sequences
    sequences = {name: stack_ragged([part.sequences[name] for part in parts]) for name in names}
    return replace(first, **columns, sequences=sequences)


def stack_ragged(parts: Sequence[Ragged]) -> Ragged:
    """The rows of several ragged columns, one after the other."""
    lengths = torch.cat([offsets.diff() for _, offsets in parts])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return torch.cat([values for values, _ in parts]), offsets


def take_ragged(values: Tensor, offsets: Tensor, index: Tensor) -> Ragged:
    """Select rows of a ragged column: values (n,), offsets (row + 1,), index (k,)."""
    starts = offsets[index]  # (k,)
    lengths = offsets[index + 1] - starts  # (k,)
    new_offsets = torch.zeros(len(index) + 1, dtype=torch.int64, device=offsets.device)
    torch.cumsum(lengths, 0, out=new_offsets[1:])
    shift = torch.repeat_interleave(starts - new_offsets[:-1], lengths)  # (n',)
    positions = shift + torch.arange(len(shift), device=offsets.device)
    return values[positions], new_offsets


def free_rows(batch: Batch, beside: Mapping[str, str | None] | None = None) -> list[Any]:
    """What ``torch.export`` calls dynamic shapes: any number of rows, sequences of any length.

    ``export(model, (batch,), dynamic_shapes=(free_rows(batch),))``: the rows of all columns are one
    free number, offsets have one entry more, and each sequence has a number of entries of its own,
    or that of the one it stands beside, if ``beside`` {sequence: that one, or None} says so:
    ``{s.name: s.beside for s in schema.sequences}``. Unless it is told, such a program does not
    see where the two differ.
    The example batch needs two rows or more and no sequence without entries (torch takes sizes 0
    and 1 for constants). What is exported reads batches like the example: with ``censored``,
    ``weight`` and ``group`` or without, and of the same joined table.
    """
    rows, beside = torch.export.Dim("rows", min=1), beside or {}
    entries = {
        name: torch.export.Dim(f"entries_{place}", min=0)
        for place, name in enumerate(batch.sequences)
    }
    sequences = {
        name: ({0: entries[beside.get(name) or name]}, {0: rows + 1}) for name in batch.sequences
    }
    by_field: dict[str, Any] = {f.name: {0: rows} for f in fields(batch)}
    by_field |= {"sequences": sequences, "table": None}
    return [by_field[f.name] for f in fields(batch) if getattr(batch, f.name) is not None]


torch.export.register_dataclass(Batch, serialized_type_name="mtlkit.Batch")
torch.serialization.add_safe_globals([Batch])  # an exported program is loaded without a warning
