"""PLE: levels of own and shared experts, each level reading what the one below has mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.extraction import Extraction
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import ExpertLevel
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class PLE(MultiTaskModel):
    """Progressive layered extraction (Tang et al. 2020, RecSys, equations 5 to 7).

    Level j: task k mixes its own experts, which read its own output of level j - 1, and the shared
    ones, which read the shared output; the gates read what their experts read. The shared output
    mixes all experts of its level; the last level has none, for nobody reads it. Level 1 reads x.
    Logits_k = tower_k(output of task k at the last level).

    So task k reaches another task's experts through shared outputs alone, and those of the last
    level not at all. With one level it is CGC.

    Parameters as in ``CGC``; ``hidden`` are the widths of each expert on each of the ``levels``.
    Raises ``ValueError`` for fewer than one level.
    """

    levels: Any  # a list of Extraction

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        levels: int = 2,
        own_experts: int = 1,
        shared_experts: int = 2,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        if levels < 1:
            raise ValueError(f"levels must be 1 or more, not {levels}.")
        self.embedding = inputs(schema, embedding_dim)
        width = self.embedding.width
        self.levels = nn.ModuleList()
        for level in range(levels):
            self.levels.append(
                Extraction(
                    width, hidden, schema.num_tasks, own=own_experts, shared=shared_experts,
                    passes_on=level < levels - 1, dropout=dropout,
                )
            )  # fmt: skip
            width = hidden[-1] if hidden else width
        self.towers = Towers(schema, width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """All that more than one task reads: up to the shared experts of the last level."""
        own: Sequence[Tensor] = [x] * self.schema.num_tasks
        common = x
        *deep, last = self.levels
        for level in deep[:-1]:
            own, common = level(own, common)
        if not deep:
            return x, last.shared(x)
        experts = deep[-1].experts(own, common)  # (expert, batch, hidden)
        ends = last.shared(deep[-1].passed_on(common, experts))  # (shared expert, batch, hidden)
        read = own if len(deep) > 1 else [x]  # what the gates of the last level but one read
        return *read, experts, ends

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        *deep, last = self.levels
        tasks, ends = self.schema.num_tasks, shared[-1]
        own: Sequence[Tensor] = shared[:tasks] if len(deep) > 1 else shared[:1] * tasks
        if deep:
            own = deep[-1].mixed_of(own, shared[-2])
        own = last.mixed(own, last.own_experts(own), ends)
        return self.towers(dict(zip(self.schema.task_names, own, strict=True)))

    def task_modules(self, name: str) -> list[nn.Module]:
        """The tower, the last level's own experts, and the last two levels' gates.

        What lies deeper reaches other tasks through the shared outputs.
        """
        task = self.schema.task_index(name)
        gates = [level.gates[task] for level in self.levels[-2:]]
        return [self.levels[-1].own[task], *gates, self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        return [level.expert_level(self.schema.task_names) for level in self.levels]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        common = self.embed(batch)
        own: Sequence[Tensor] = [common] * self.schema.num_tasks
        found = []
        for level in self.levels:
            found.append(level.experts(own, common))
            own = level.mixed_of(own, found[-1])
            if level.shared_gate is not None:
                common = level.passed_on(common, found[-1])
        return found
