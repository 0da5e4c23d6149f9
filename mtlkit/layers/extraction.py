"""A level of experts, own and shared, and the gates of tasks that mix them: CGC and PLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mtlkit.layers.experts import ExpertBank, Gate, mix, run_together
from mtlkit.layers.levels import SHARED, ExpertLevel, ExpertReader


class Extraction(nn.Module):
    """One level of customised gate control (Tang et al. 2020, RecSys, sections 4.1 and 4.2).

    Task k mixes its own experts and the shared ones, by a gate that reads its own input:
    y_k = sum over n of softmax(W_k x_k)_n E_n(x). Own experts read x_k, shared ones x_s. With
    ``passes_on`` a gate of the shared part mixes *all* experts by x_s: the shared input of the next
    level.

    ``forward``: (inputs a task, shared input), each (batch, inputs) -> (outputs a task, shared
    output), each (batch, hidden[-1]). Its parts are called one by one where the last level ends
    what tasks share. ``width`` is hidden[-1].
    """

    own: Any  # a list of ExpertBank, one a task
    gates: Any  # a list of Gate, one a task

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        tasks: int,
        *,
        own: int,
        shared: int,
        passes_on: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.own = nn.ModuleList(
            ExpertBank(inputs, hidden, own, dropout=dropout) for _ in range(tasks)
        )
        self.shared = ExpertBank(inputs, hidden, shared, dropout=dropout)
        self.gates = nn.ModuleList(Gate(inputs, own + shared) for _ in range(tasks))
        self.shared_gate = Gate(inputs, tasks * own + shared) if passes_on else None
        self.width = self.shared.width
        self.count = own  # experts of each task

    def experts(self, own: Sequence[Tensor], shared: Tensor) -> Tensor:
        """All experts, those of each task in turn, then the shared ones: (expert, batch, hidden).

        One batched product a layer.
        """
        same = all(x is shared for x in own)  # the first level: all read the row
        inputs = [shared] if same else [*own, shared]
        return run_together([*self.own, self.shared], inputs)

    def own_experts(self, own: Sequence[Tensor]) -> Tensor:
        """The tasks' own experts alone: (tasks * own, batch, hidden)."""
        same = all(x is own[0] for x in own)
        return run_together(list(self.own), own[:1] if same else own)

    def mixed(self, own: Sequence[Tensor], mine: Tensor, shared: Tensor) -> tuple[Tensor, ...]:
        """What each task's gate makes of its own experts ``mine`` and of the shared ones."""
        outputs = []
        for number, (x, gate) in enumerate(zip(own, self.gates, strict=True)):
            weights = gate(x)  # (batch, own + shared)
            experts = mine[number * self.count : (number + 1) * self.count]
            outputs.append(
                mix(weights[..., : self.count], experts) + mix(weights[..., self.count :], shared)
            )
        return tuple(outputs)

    def mixed_of(self, own: Sequence[Tensor], experts: Tensor) -> tuple[Tensor, ...]:
        """The same of all experts, as ``experts`` gives them."""
        split = len(own) * self.count
        return self.mixed(own, experts[:split], experts[split:])

    def passed_on(self, shared: Tensor, experts: Tensor) -> Tensor:
        """The shared input of the next level: (batch, hidden)."""
        assert self.shared_gate is not None, "the last level passes nothing on"
        return mix(self.shared_gate(shared), experts)

    def forward(self, own: Sequence[Tensor], shared: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        experts = self.experts(own, shared)
        return self.mixed_of(own, experts), self.passed_on(shared, experts)

    def expert_level(self, tasks: Sequence[str]) -> ExpertLevel:
        """Whose the experts of ``experts`` are, and who reads which of them."""
        owners = tuple(task for task in tasks for _ in range(self.count))
        common = range(len(owners), len(owners) + self.shared.experts)
        owners += (SHARED,) * self.shared.experts
        found = []
        for number, (task, gate) in enumerate(zip(tasks, self.gates, strict=True)):
            own = range(number * self.count, (number + 1) * self.count)
            found.append(ExpertReader(task, gate, (*own, *common)))
        if self.shared_gate is not None:
            found.append(ExpertReader(SHARED, self.shared_gate, tuple(range(len(owners)))))
        return ExpertLevel(owners, tuple(found))
