"""A recurrent network over each row's events; its last state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
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
        """All rows over ``max_length`` steps, each state kept where a row has ended: (batch, dim).

        Written out, since ``nn.GRU`` sets attributes while it is exported, which PyTorch warns of.
        """
        starts, dim = offsets.narrow(0, 1, counts.shape[0]) - counts, events.shape[1]
        gru: Any = self.gru
        steps = padded(events, starts, counts, self.max_length)
        inputs = F.linear(steps, gru.weight_ih_l0, gru.bias_ih_l0)  # (batch, step, 3 dim)
        state = events.new_zeros(counts.shape[0], dim)
        for step, x in enumerate(inputs.unbind(1)):
            read = F.linear(state, gru.weight_hh_l0, gru.bias_hh_l0)
            reset, update = (x + read)[:, : 2 * dim].sigmoid().chunk(2, dim=1)
            new = (x[:, 2 * dim :] + reset * read[:, 2 * dim :]).tanh()
            state = torch.where((step < counts).unsqueeze(1), new + update * (state - new), state)
        return state
