"""AdaTT: every task mixes the experts of all, and keeps a direct way to its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.experts import ExpertBank, Gate, mix, run_together
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.levels import SHARED, ExpertLevel, ExpertReader
from mtlkit.layers.towers import Towers
from mtlkit.models.base import Inputs, MultiTaskModel
from mtlkit.schema import Schema


class AdaTT(MultiTaskModel):
    """Adaptive task-to-task fusion (Li et al. 2023, KDD, equations 3 to 6).

    There is a module for each task and ``shared_modules`` for all. On each level, module t reads
    its own output of the level below and has ``experts`` of its own; its output is

        softmax(S_t x_t) E_all + sum over its own experts k of v_tk E_tk

    so a gate over the experts of *all* modules, and a residual to its own. With one expert a module
    the residual is that expert itself: no parameter. Shared modules fuse as well, except on the
    last level, where nobody would read what they fuse. Logits_k = tower_k(output of task k).

    Without shared modules this is AdaTT-sp of the paper. With v = 0, one level and no shared module
    it is MMoE with tasks * experts experts; with gates at 0 and one expert, networks apart on
    shared embeddings.

    Parameters as in ``SharedBottom``; ``hidden`` are the widths of each expert on each of the
    ``levels``. Raises ``ValueError`` for fewer than one level or expert.
    """

    levels: Any  # a list of Fusion

    def __init__(
        self,
        schema: Schema,
        *,
        embedding_dim: int = 32,
        levels: int = 2,
        experts: int = 1,
        shared_modules: int = 1,
        hidden: Sequence[int] = (128, 64),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
        inputs: Inputs = field_inputs,
    ) -> None:
        super().__init__(schema)
        if levels < 1 or shared_modules < 0:
            raise ValueError(
                f"levels must be 1 or more and shared_modules 0 or more, not {levels} and "
                f"{shared_modules}."
            )
        self.embedding = inputs(schema, embedding_dim)
        width, tasks = self.embedding.width, schema.num_tasks
        self.levels = nn.ModuleList()
        for level in range(levels):
            last = level == levels - 1
            self.levels.append(
                Fusion(
                    width, hidden, tasks + shared_modules, experts=experts,
                    fusing=tasks if last else tasks + shared_modules, dropout=dropout,
                )
            )  # fmt: skip
            width = hidden[-1] if hidden else width
        self.towers = Towers(schema, width, tower, dropout=dropout)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The experts of the last level, which all tasks read, and what its gates read."""
        *deep, last = self.levels
        read: Sequence[Tensor] = [x] * last.modules_count
        for level in deep:
            read = level(read)
        experts = last.run(read)  # (expert, batch, hidden)
        return *(read[: self.schema.num_tasks] if deep else [x]), experts

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        *read, experts = shared
        own = read if len(self.levels) > 1 else read * self.schema.num_tasks
        outputs = self.levels[-1].fuse(own, experts)
        return self.towers(dict(zip(self.schema.task_names, outputs, strict=True)))

    def task_modules(self, name: str) -> list[nn.Module]:
        """The tower, and the last level's gate and residual: all experts are read by all tasks."""
        fusion = self.levels[-1].fusions[self.schema.task_index(name)]
        return [fusion, self.towers.of(name)]

    def expert_levels(self) -> list[ExpertLevel]:
        return [level.expert_level(self.schema.task_names) for level in self.levels]

    def expert_outputs(self, batch: Batch) -> list[Tensor]:
        read: Sequence[Tensor] = [self.embed(batch)] * self.levels[0].modules_count
        found = []
        for level in self.levels:
            found.append(level.run(read))
            read = level.fuse(read, found[-1])
        return found


class Fusion(nn.Module):
    """One level of AdaTT: experts of all modules, of which the first ``fusing`` fuse.

    inputs of the modules, each (batch, inputs) -> outputs of those that fuse, (batch, hidden[-1]).
    """

    banks: Any  # a list of ExpertBank, one a module
    fusions: Any  # a list of OwnAndAll, one for each that fuses

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        modules: int,
        *,
        experts: int,
        fusing: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.banks = nn.ModuleList(
            ExpertBank(inputs, hidden, experts, dropout=dropout) for _ in range(modules)
        )
        self.fusions = nn.ModuleList(
            OwnAndAll(inputs, number, experts, modules * experts) for number in range(fusing)
        )
        self.modules_count = modules

    def run(self, read: Sequence[Tensor]) -> Tensor:
        """All experts, module by module, one batched product a layer: (expert, batch, hidden)."""
        same = all(x is read[0] for x in read)
        return run_together(list(self.banks), read[:1] if same else read)

    def fuse(self, read: Sequence[Tensor], experts: Tensor) -> list[Tensor]:
        """Gate over all experts plus residual to the own ones, for each module that fuses."""
        return [f(x, experts) for f, x in zip(self.fusions, read, strict=False)]

    def forward(self, read: Sequence[Tensor]) -> list[Tensor]:
        return self.fuse(read, self.run(read))

    def expert_level(self, tasks: Sequence[str]) -> ExpertLevel:
        """Whose the experts of ``run`` are, and who reads them: modules of tasks, then shared."""
        extra = self.modules_count - len(tasks)
        modules = [*tasks, *[SHARED] * extra]
        names = [*tasks, *(SHARED if extra == 1 else f"{SHARED} {n + 1}" for n in range(extra))]
        owners = tuple(
            owner
            for owner, bank in zip(modules, self.banks, strict=True)
            for _ in range(bank.experts)
        )
        every = tuple(range(len(owners)))
        gated = zip(names, self.fusions, strict=False)
        return ExpertLevel(owners, tuple(ExpertReader(name, f.gate, every) for name, f in gated))


class OwnAndAll(nn.Module):
    """softmax(S x) E_all + v E_own; with one own expert v is 1 and no parameter."""

    replica_dims: ClassVar[dict[str, int]] = {"residual": 1}  # see ``mtlkit.layers.stacked``

    def __init__(self, inputs: int, number: int, own: int, everyone: int) -> None:
        super().__init__()
        self.gate = Gate(inputs, everyone)
        self.own = slice(number * own, (number + 1) * own)
        self.residual = nn.Parameter(torch.full((own,), 1 / own)) if own > 1 else None

    def forward(self, x: Tensor, experts: Tensor) -> Tensor:
        mine = experts[self.own]  # (own, batch, hidden)
        if self.residual is None:
            direct = mine[0]
        else:
            direct = (self.residual[..., None, None] * mine).sum(0)
        return mix(self.gate(x), experts) + direct
