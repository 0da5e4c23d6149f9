"""STEM: embeddings of each task's own beside shared ones, and gates that let no gradient across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.experts import ExpertBank, Gate, mix, run_together
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import SHARED, ExpertLevel, ExpertReader
from mtlkit.layers.several import SeveralInputs
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class STEM(MultiTaskModel):
    """Shared and task-specific embeddings (Su et al. 2024, AAAI, section 4).

    Each task has embeddings and ``own_experts`` of its own; the ``shared_experts`` read embeddings
    that all share. The gate of task k reads the task's own vector and mixes *all* experts, but the
    gradient of task k stops at the experts of other tasks ("all forward, task-specific backward"):

        f_k = sum over n of softmax(W_k x_k)_n * E_n,   E_n detached where n is of another task

    Logits_k = tower_k(f_k). So a task reads what others know and changes only its own and the
    shared part. Its embedding tables are tasks + 1 times as large as those of other models.

    Parameters as in ``CGC``.
    """

    own: Any  # a list of ExpertBank, one a task
    gates: Any  # a list of Gate, one a task

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        own_experts: int = 1,
        shared_experts: int = 1,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        tasks = schema.num_tasks
        self.embedding = SeveralInputs(schema, embedding_dim, tasks + 1, inputs)
        width = self.embedding.each
        self.own = nn.ModuleList(
            ExpertBank(width, hidden, own_experts, dropout=dropout) for _ in range(tasks)
        )
        self.common = ExpertBank(width, hidden, shared_experts, dropout=dropout)
        self.gates = nn.ModuleList(
            Gate(width, tasks * own_experts + shared_experts) for _ in range(tasks)
        )
        self.count = own_experts
        self.towers = Towers(schema, self.common.width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        *own, shared = self.embedding.split(x)  # (batch, width) each
        return *own, self.common(shared)  # (shared expert, batch, hidden)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        *own, common = shared
        mine = run_together(list(self.own), own)  # (tasks * own, batch, hidden)
        still = mine.detach()
        mixed = {}
        for number, name in enumerate(self.schema.task_names):
            first, last = number * self.count, (number + 1) * self.count
            weights = self.gates[number](own[number])  # (batch, expert)
            before, at, after, rest = (
                weights[..., :first], weights[..., first:last],
                weights[..., last : len(mine)], weights[..., len(mine) :],
            )  # fmt: skip
            mixed[name] = mix(at, mine[first:last]) + mix(rest, common)
            mixed[name] = mixed[name] + mix(before, still[:first]) + mix(after, still[last:])
        return self.towers(mixed)

    def task_modules(self, name: str) -> list[nn.Module]:
        task = self.schema.task_index(name)
        return [self.embedding[task], self.own[task], self.gates[task], self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        names = self.schema.task_names
        owners = tuple(name for name in names for _ in range(self.count))
        owners += (SHARED,) * self.common.experts
        every = tuple(range(len(owners)))
        gated = zip(names, self.gates, strict=True)
        return [ExpertLevel(owners, tuple(ExpertReader(name, gate, every) for name, gate in gated))]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        inputs = self.embedding.split(self.embed(batch))
        return [run_together([*self.own, self.common], inputs)]
