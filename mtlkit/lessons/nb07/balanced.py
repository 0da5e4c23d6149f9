"""MMoE with a load-balancing loss."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtlkit import MMoE, Schema
from mtlkit.data.batch import Batch
from mtlkit.losses import load_balance_loss


class BalancedMMoE(MMoE):
    """MMoE; in training each task's loss holds ``strength`` times the imbalance of its own gate."""

    def __init__(self, schema: Schema, *, strength: float, **options: Any) -> None:
        super().__init__(schema, **options)
        self.strength = strength

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        if self.training:
            gates = [gate(shared[0]) for gate in self.gates]  # task x (batch, expert)
            self.imbalance = torch.stack([load_balance_loss(gate) for gate in gates])  # (task,)
        return super().decode(shared, batch)

    def losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        found = super().losses(logits, batch)
        return found + self.strength * self.imbalance if self.training else found
