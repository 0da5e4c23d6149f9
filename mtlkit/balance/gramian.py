"""What a balancer of gradients sees: every task's gradient on what is shared, and their Gramian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
    product = (matrix @ other.T).to("cpu", torch.float64)
    diagonal = product.diagonal()
    safe = (diagonal.abs() > 1e-24) & (diagonal.abs() < 1e32)
    if not bool(safe.all()):
        left, right = _largest(matrix), _largest(other)
        scaled = (matrix / left) @ (other / right).T
        factor = left.to("cpu", torch.float64) * right.to("cpu", torch.float64).T
        product = scaled.to("cpu", torch.float64) * factor
    return product


def _largest(matrix: Tensor) -> Tensor:
    """The largest absolute entry of every row, 1 for a row of zeros: (task, 1)."""
    if matrix.shape[1] == 0:
        return matrix.new_ones(len(matrix), 1)
    largest = matrix.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, largest, 1.0)
