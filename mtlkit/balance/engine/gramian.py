"""What a balancer of gradients sees: every task's gradient on what is shared, and their Gramian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 4096  # columns multiplied at once


@dataclass
class TaskGradients:
    """Every task's gradient on what the tasks share, for one batch.

    ``matrix`` (task, number): row k is the gradient of L_k, all shared numbers side by side.
    ``blocks`` {name: slice of the columns}: one block a shared layer's parameter, one a table (the
    rows that the batch touched, repeated ids summed), or one a tensor of the representation.
    ``lasting`` columns belong to parameters that every batch has: methods with a memory of past
    gradients may keep it for these; touched rows and representations change with the batch.
    ``halves``: two such matrices from the two halves of the batch, where they were asked for.
    """

    matrix: Tensor
    blocks: dict[str, slice]
    lasting: int
    halves: tuple[Tensor, Tensor] | None = None

    def gramian(self) -> Tensor:
        """K = G G^T, (task, task), float64 on the CPU."""
        return gramian(self.matrix)


def gramian(matrix: Tensor, other: Tensor | None = None) -> Tensor:
    """Inner products of the rows: (task, number) -> (task, task), float64 on the CPU.

    Where a squared norm in float32 comes near its smallest or largest number, the product is taken
    of rows scaled by their largest entry.
    """
    other = matrix if other is None else other
    product = _products(matrix, other)
    diagonal = product.diagonal()
    safe = (diagonal.abs() > 1e-24) & (diagonal.abs() < 1e32)
    if not bool(safe.all()):
        left, right = _largest(matrix), _largest(other)
        factor = left.to("cpu", torch.float64) * right.to("cpu", torch.float64).T
        product = _products(matrix / left, other / right) * factor
    return product


def _products(left: Tensor, right: Tensor) -> Tensor:
    """left @ right.T, (task, number) each -> (task, task), float64 on the CPU.

    Two matrices of few and very long rows are multiplied piece by piece of their columns and the
    pieces added in float64: with four tasks that is five times as fast as one product on a CPU,
    which would use one thread, and it rounds less.
    """
    pieces = left.shape[1] // PIECE
    whole = pieces * PIECE
    product = (left[:, whole:] @ right[:, whole:].T).to("cpu", torch.float64)
    if pieces:
        a = left[:, :whole].unflatten(1, (pieces, PIECE)).transpose(0, 1)  # (piece, task, PIECE)
        b = right[:, :whole].unflatten(1, (pieces, PIECE)).permute(1, 2, 0)  # (piece, PIECE, task)
        product += torch.bmm(a, b).to("cpu", torch.float64).sum(0)
    return product


def _largest(matrix: Tensor) -> Tensor:
    """The largest absolute entry of every row, 1 for a row of zeros: (task, 1)."""
    if matrix.shape[1] == 0:
        return matrix.new_ones(len(matrix), 1)
    largest = matrix.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, largest, 1.0)
