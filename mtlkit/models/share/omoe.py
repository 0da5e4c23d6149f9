"""OMoE: experts shared by all tasks, and one gate for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.layers.experts import ExpertBank, Gate, mix
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel, shared_level
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class OMoE(MultiTaskModel):
    """One-gate mixture of experts (Ma et al. 2018, KDD, equation 5), the control of MMoE.

    Logits_k = tower_k(f), f = sum over experts n of g(x)_n * f_n(x), g(x) = softmax(W x). All tasks
    get the same mixture, so it may differ from row to row, but not from task to task.

    Parameters as in ``MMoE``.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        experts: int = 4,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        self.embedding = inputs(schema, embedding_dim)
        self.experts = ExpertBank(self.embedding.width, hidden, experts, dropout=dropout)
        self.gate = Gate(self.embedding.width, experts)
        self.towers = Towers(schema, self.experts.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (mix(self.gate(x), self.experts(x)),)  # (batch, hidden)

    def expert_levels(self) -> list[ExpertLevel]:
        return [shared_level([("all tasks", self.gate)], self.experts.experts)]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        return [self.experts(self.embed(batch))]
