"""One query a row and its events as keys: softmax attention, and SiLU attention, which counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.layers.pooling.target import Target, softmax_of_rows
from mtlkit.layers.ragged import ages, lengths, owners


class _OneQuery(nn.Module):
    """Weights of events from products of a query and their keys, by head; see the subclasses."""

    def __init__(
        self,
        dim: int,
        fields: Sequence[str] = (),
        max_length: int = 50,
        *,
        target: str | None = None,
        learned: bool = False,
        heads: int = 2,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads must be 1 or more, not {heads}.")
        self.max_length, self.heads = max_length, heads
        inner = heads * -(-dim // heads)  # the next multiple of heads
        self.target = Target(dim, fields, target, learned=learned)
        self.query = nn.Linear(dim, inner)
        self.keys = nn.Linear(dim, 2 * inner)  # keys and values
        self.out = nn.Linear(inner, dim, bias=False)  # none: no events, nothing added

    def activated(self, x: Tensor) -> Tensor:
        """Queries, keys and values after their linear maps."""
        return x

    def weights(self, scores: Tensor, kept: Tensor, owner: Tensor, rows: int) -> Tensor:
        """Scores (n, head) as weights; ``kept`` (n, 1) is False for events that are too old."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(...).")

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        size = fields.shape[0]
        owner = owners(lengths(offsets, size), rows.shape[0])
        target = self.target(fields).to(rows.dtype)
        query = self.activated(self.query(target)).unflatten(1, (self.heads, -1))
        both = self.activated(self.keys(rows)).unflatten(1, (2, self.heads, -1))
        key, value = both.unbind(1)  # (n, head, inner / head)
        scores = (query.index_select(0, owner) * key).sum(2) * key.shape[2] ** -0.5  # (n, head)
        kept = (ages(offsets, owner) < self.max_length).unsqueeze(1)
        weights = self.weights(scores, kept, owner, size).to(value.dtype)
        weighed = (weights.unsqueeze(2) * value).flatten(1)
        pooled = weighed.new_zeros(size, weighed.shape[1]).index_add(0, owner, weighed)
        return self.out(pooled).to(rows.dtype)


class SoftmaxAttention(_OneQuery):
    """Attention of one query a row to its events: softmax_j(q k_j / sqrt(d)) v_j, by head.

    The query is a linear map of the ``target`` (see ``Target``; ``learned=True``: one learned query
    for all rows). Weights add up to 1, so it takes a mean: a history twice over gives the same. The
    order of events plays no part. Cost grows with the number of events.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim).

    Raises ``ValueError`` for a target that is no field, for a target together with ``learned``, and
    for fewer than one head.
    """

    def weights(self, scores: Tensor, kept: Tensor, owner: Tensor, rows: int) -> Tensor:
        return softmax_of_rows(scores.masked_fill(~kept, -torch.inf), owner, rows)


class SiLUAttention(_OneQuery):
    """Attention that counts: sum_j SiLU(q k_j / sqrt(d)) v_j / N (HSTU, Zhai et al. 2024, ICML).

    No softmax: N = ``max_length`` is fixed, so a history twice over adds twice as much. Queries,
    keys and values go through SiLU, as in the paper. Of its block this is the attention with one
    query a row (as in ``SoftmaxAttention``); the relative bias, the gate and the norm after it are
    left out, and that norm would take the number of events back out.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim).

    Raises ``ValueError`` for a target that is no field, for a target together with ``learned``, and
    for fewer than one head.
    """

    def activated(self, x: Tensor) -> Tensor:
        return F.silu(x)

    def weights(self, scores: Tensor, kept: Tensor, owner: Tensor, rows: int) -> Tensor:
        return F.silu(scores) * kept / self.max_length
