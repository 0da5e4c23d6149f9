"""A recurrent network over each row's events; its last state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from mtlkit.layers.ragged import ages, fixed_shapes, lengths, owners, padded


class GRUPooling(nn.Module):
    """The last state of a GRU (Cho et al. 2014, EMNLP) that reads a row's events, oldest first.

    A step of it holds only the rows that still have an event, so cost grows with the number of
    events, and the steps are as many as the longest row has events. It computes in the precision of
    its weights, under autocast too. Where sizes are fixed (``torch.export``, the device meta,
    ``use_route("gathered")``) all rows are padded to ``max_length``, with the same result. The
    lengths are copied to the host once a batch: the one wait on CUDA.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim).
    """

    def __init__(self, dim: int, fields: Sequence[str] = (), max_length: int = 50) -> None:
        super().__init__()
        self.max_length = max_length
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        size, device = fields.shape[0], rows.device.type
        counts = lengths(offsets, size).clamp(max=self.max_length)
        events = rows.to(next(self.gru.parameters()).dtype)
        with torch.autocast(device if device != "meta" else "cpu", enabled=False):
            if fixed_shapes(offsets):
                last = self._padded(events, offsets, counts)
            else:
                last = self._packed(events, offsets, counts)
        return last.to(rows.dtype)

    def _packed(self, events: Tensor, offsets: Tensor, counts: Tensor) -> Tensor:
        """Step by step, the longest rows first: (batch, dim)."""
        size = counts.shape[0]
        owner = owners(lengths(offsets, size), events.shape[0])
        age = ages(offsets, owner)
        step = counts.index_select(0, owner) - 1 - age  # below 0: older than max_length
        order = counts.sort(descending=True, stable=True).indices
        rank = order.argsort()
        places = (step * size + rank.index_select(0, owner)).sort().indices  # (n,)
        per_step = torch.bincount(step.clamp(min=-1) + 1, minlength=1)[1:].cpu()
        if not len(per_step):
            return events.new_zeros(size, events.shape[1])
        read = int(per_step.sum())
        newest = events.index_select(0, places[len(places) - read :])
        _, last = self.gru(PackedSequence(newest, per_step))  # (1, rows with events, dim)
        rest = events.new_zeros(size - last.shape[1], events.shape[1])
        return torch.cat([last[0], rest]).index_select(0, rank)

    def _padded(self, events: Tensor, offsets: Tensor, counts: Tensor) -> Tensor:
        """All rows over ``max_length`` steps: (batch, dim)."""
        starts = offsets.narrow(0, 1, counts.shape[0]) - counts
        states, _ = self.gru(padded(events, starts, counts, self.max_length))
        place = (counts - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, states.shape[2])
        last = states.gather(1, place).squeeze(1)
        return torch.where((counts > 0).unsqueeze(1), last, torch.zeros_like(last))
