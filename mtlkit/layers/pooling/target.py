"""What a sequence is read for, and attention to it by a small network (DIN)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mtlkit.layers.mlp import MLP
from mtlkit.layers.ragged import ages, lengths, owners


class Target(nn.Module):
    """What a row's sequence is read for: fields (batch, field, dim) -> (batch, dim).

    ``target`` names one of ``fields`` and gives its embedding; None is a linear map of all of them
    (of a row without fields, and with ``learned=True``, one learned vector for all rows). Raises
    ``ValueError`` for an unknown name, and for a name together with ``learned``.
    """

    def __init__(
        self, dim: int, fields: Sequence[str], target: str | None = None, *, learned: bool = False
    ) -> None:
        super().__init__()
        if target is not None and target not in fields:
            raise ValueError(
                f"target names {target!r}, which is no field that rows read; read are "
                f"{', '.join(name for name in fields if name) or 'none'}."
            )
        if target is not None and learned:
            raise ValueError("Give either target= or learned=True: the query is one of the two.")
        self.column = None if target is None else list(fields).index(target)
        self.map: nn.Linear | None = None
        if target is None and (learned or not fields):
            self.vector = nn.Parameter(torch.randn(dim) * dim**-0.5)
        elif target is None:
            self.map = nn.Linear(len(fields) * dim, dim)

    def forward(self, fields: Tensor) -> Tensor:
        if self.column is not None:
            return fields[:, self.column]
        if self.map is not None:
            return self.map(fields.flatten(1))
        return self.vector.expand(fields.shape[0], -1)


class TargetAttention(nn.Module):
    """The events' sum, each weighed by how it meets the target (DIN, Zhou et al. 2018, KDD).

    w_j = MLP([e_j, t, e_j * t, e_j - t]) and sum_j w_j e_j. As in the paper the weights are not
    normalised, so that the sum grows with the number of events that fit; ``softmax=True`` makes
    them add up to 1 in each row. The MLP has ReLU layers where the paper has Dice. ``target`` names
    a categorical field ("item"); None: a linear map of all the row's fields (``Target``). The order
    of events plays no part. Cost grows with the number of events.

    rows (n, dim), offsets (batch + 1,), fields (batch, field, dim) -> (batch, dim).

    Raises ``ValueError`` for a target that is no field.
    """

    def __init__(
        self,
        dim: int,
        fields: Sequence[str] = (),
        max_length: int = 50,
        *,
        target: str | None = None,
        hidden: Iterable[int] = (32,),
        softmax: bool = False,
    ) -> None:
        super().__init__()
        self.max_length, self.softmax = max_length, softmax
        self.target = Target(dim, fields, target)
        self.score = MLP(4 * dim, hidden, outputs=1)

    def forward(self, rows: Tensor, offsets: Tensor, fields: Tensor) -> Tensor:
        size = fields.shape[0]
        owner = owners(lengths(offsets, size), rows.shape[0])
        target = self.target(fields).to(rows.dtype).index_select(0, owner)  # (n, dim)
        scores = self.score(torch.cat([rows, target, rows * target, rows - target], dim=1))
        kept = (ages(offsets, owner) < self.max_length).unsqueeze(1)  # (n, 1)
        if self.softmax:
            weights = softmax_of_rows(scores.masked_fill(~kept, -torch.inf), owner, size)
        else:
            weights = scores * kept
        weighed = rows * weights.to(rows.dtype)
        return rows.new_zeros(size, rows.shape[1]).index_add(0, owner, weighed)


def softmax_of_rows(scores: Tensor, owner: Tensor, rows: int) -> Tensor:
    """Scores (n, head) as weights that add up to 1 over the events of each row, (n, head).

    In float32 where scores are of 16 bits. A row's newest event must have a finite score.
    """
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    places = owner.unsqueeze(1).expand_as(scores)
    lowest = scores.new_full((rows, scores.shape[1]), -torch.inf)
    largest = lowest.scatter_reduce(0, places, scores.detach(), "amax")
    powers = (scores - largest.index_select(0, owner)).exp()
    total = scores.new_zeros(rows, scores.shape[1]).index_add(0, owner, powers)
    return powers / total.index_select(0, owner)
