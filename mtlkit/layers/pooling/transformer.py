"""A small causal transformer over each row's events; its output at the newest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlkit.layers.ragged import by_length, fixed_shapes, lengths, padded


class CausalTransformer(nn.Module):
    """The output at the newest event of a transformer in which events read older ones alone.

    Pre-norm blocks (Xiong et al. 2020, ICML) of attention (Vaswani et al. 2017, NeurIPS) and a
    layer of ``2 * dim`` ReLU units, and a norm at the end. Positions are learned and count from the
    newest event, so that "the last one" is the same position in histories of any length.

    Rows are bucketed by length (``by_length``), each bucket padded to its own longest row, so that
    cost grows with the number of pairs of events and not with rows times the longest. Where sizes
    are fixed (``torch.export``, the device meta, ``use_route("gathered")``) all rows are padded to
    ``max_length``, with the same result.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim).

    Raises ``ValueError`` for fewer than one layer or head.
    """

    def __init__(
        self,
        dim: int,
        fields: Sequence[str] = (),
        max_length: int = 50,
        *,
        layers: int = 1,
        heads: int = 2,
    ) -> None:
        super().__init__()
        if layers < 1 or heads < 1:
            raise ValueError(f"layers and heads must be 1 or more, not {layers} and {heads}.")
        self.max_length = max_length
        self.positions = nn.Parameter(torch.randn(max_length, dim) * 0.01)  # of age 0, 1, ...
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def states(self, events: Tensor, counts: Tensor) -> Tensor:
        """The output at every event of padded rows: (k, longest, dim), counts (k,) -> the same.

        What it gives at the padding, after a row's newest event, means nothing.
        """
        step = torch.arange(events.shape[1], device=events.device)
        age = (counts.unsqueeze(1) - 1 - step).clamp(min=0)  # (k, longest)
        x = events + self.positions.index_select(0, age.flatten()).view_as(events)
        later = step > step.unsqueeze(1)  # (longest, longest)
        for block in self.blocks:
            x = block(x, later)
        return self.norm(x)

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        size = fields.shape[0]
        counts = lengths(offsets, size).clamp(max=self.max_length)
        starts = offsets.narrow(0, 1, size) - counts
        if fixed_shapes(offsets):
            newest = self._newest(rows, starts, counts, self.max_length)
            some = (counts > 0).unsqueeze(1)
            return torch.where(some, newest, torch.zeros_like(newest)).to(rows.dtype)
        pooled = rows.new_zeros(size, rows.shape[1])
        for places, longest in by_length(counts):
            found = self._newest(rows, starts[places], counts[places], longest)
            pooled = pooled.index_copy(0, places, found.to(rows.dtype))
        return pooled

    def _newest(self, rows: Tensor, starts: Tensor, counts: Tensor, longest: int) -> Tensor:
        states = self.states(padded(rows, starts, counts, longest), counts)
        place = (counts - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, states.shape[2])
        return states.gather(1, place).squeeze(1)


class _Block(nn.Module):
    """x + attention(norm(x)), then x + layer(norm(x)): (k, longest, dim) -> the same."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * -(-dim // heads)
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * inner), nn.Linear(inner, dim)
        self.layer = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, later: Tensor) -> Tensor:
        qkv = self.qkv(self.first(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = qkv.transpose(1, 3).unbind(2)  # (k, head, longest, inner / head)
        scores = query @ key.transpose(2, 3) * key.shape[3] ** -0.5
        weights = scores.masked_fill(later, -torch.inf).softmax(3).to(value.dtype)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return x + self.layer(self.second(x))
