"""Task gradients of several batches as those of one: each task's mean over all of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtlkit.balance.engine.layout import Found, Touched
from mtlkit.layers.repeats import Repeats


class Gathered(NamedTuple):
    """What the forward and backward passes over some rows found.

    ``losses`` (task,); ``found`` the task gradients on the targets, ``halves`` the same of the two
    halves of the rows, where asked for; ``tables`` that were read.
    """

    losses: Tensor
    found: Found
    halves: tuple[Found, Found] | None
    tables: list[Touched]


def shares_of(masses: Sequence[Tensor]) -> Tensor:
    """Each batch's share in a task's mean, (batch, task), from how many rows of the task it has.

    0 in all batches for a task without rows.
    """
    mass = torch.stack(list(masses))  # (batch, task)
    if not mass.is_floating_point():
        mass = mass.to(torch.float32)
    total = mass.sum(0)
    return mass / torch.where(total > 0, total, 1.0)


class GradientSum:
    """Gradients of batch after batch, each task's times its share, added up.

    Of a table the rows are kept apart, batch by batch, until ``result``: each batch touches others.
    """

    def __init__(self, layers: int, others: int) -> None:
        self.layers, self.others = layers, others
        self.plain: list[list[Tensor | None]] = []  # of every task: on layers, then on others
        self.rows: dict[str, list[tuple[Touched, list[Tensor | None]]]] = {}

    def add(self, found: Found, tables: Sequence[Touched], shares: Tensor) -> None:
        """Count one batch: its gradients, the tables that it read, the tasks' shares (task,)."""
        for k, gradients in enumerate(found):
            last = gradients[len(gradients) - self.others :]
            new = [_times(g, shares[k]) for g in (*gradients[: self.layers], *last)]
            if k == len(self.plain):
                self.plain.append(new)
            else:
                self.plain[k] = [_plus(a, b) for a, b in zip(self.plain[k], new, strict=True)]
        for table in tables:
            rows = [_times(g[table.start], share) for g, share in zip(found, shares, strict=True)]
            self.rows.setdefault(table.name, []).append((table, rows))

    def result(self) -> tuple[Found, list[Touched]]:
        """The sums in the order layers, tables, others, and the tables with all ids touched."""
        tables: list[Touched] = []
        of_tables: list[list[Tensor | None]] = []
        for name, parts in self.rows.items():
            first = parts[0][0]
            repeats = Repeats(torch.cat([table.repeats.touched for table, _ in parts]))
            start = self.layers + len(tables)
            tables.append(Touched(name, first.embedding, [], start, repeats))
            of_tables.append([_summed(parts, k, repeats) for k in range(len(self.plain))])
        found: Found = [
            [*plain[: self.layers], *(rows[k] for rows in of_tables), *plain[self.layers :]]
            for k, plain in enumerate(self.plain)
        ]
        return found, tables


def _summed(
    parts: Sequence[tuple[Touched, list[Tensor | None]]], k: int, repeats: Repeats
) -> Tensor | None:
    """One task's gradient on a table, (id, dim), from its rows in each batch."""
    rows = [of_tasks[k] for _, of_tasks in parts]
    like = next((r for r in rows if r is not None), None)
    if like is None:
        return None
    filled = [
        like.new_zeros(len(table.repeats.touched), like.shape[1]) if r is None else r
        for (table, _), r in zip(parts, rows, strict=True)
    ]
    return repeats.sum(torch.cat(filled))


def _times(gradient: Tensor | None, share: Tensor) -> Tensor | None:
    return None if gradient is None else gradient * share


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
