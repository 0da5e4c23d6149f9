"""Experts computed together, and the gates that say how much each counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ExpertBank(nn.Module):
    """Experts of equal shape, each an MLP with ReLU, computed together.

    (batch, inputs) -> (expert, batch, sizes[-1]).

    Layer l of all experts is one batched product, h <- relu(h W_l + b_l), with W_l
    (expert, in, out). Equal to a loop over ``MLP`` with the same weights, and faster.
    """

    def __init__(
        self, inputs: int, sizes: Sequence[int], experts: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if experts < 1:
            raise ValueError(f"experts must be 1 or more, not {experts}.")
        self.experts = experts
        self.dropout = dropout
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        width = inputs
        for size in sizes:
            bound = (6 / width) ** 0.5  # He initialisation, uniform
            self.weights.append(
                nn.Parameter(torch.empty(experts, width, size).uniform_(-bound, bound))
            )
            self.biases.append(nn.Parameter(torch.zeros(experts, 1, size)))
            width = size
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return run_together([self], [x])

    def layer(self, number: int, h: Tensor) -> Tensor:
        """One layer, whose experts read rows of their own: (expert, batch, in) -> (..., out)."""
        h = torch.baddbmm(self.biases[number], h, self.weights[number]).relu()
        return F.dropout(h, self.dropout, self.training)

    @staticmethod
    def run(banks: Sequence[ExpertBank], inputs: Sequence[Tensor]) -> Tensor:
        """What ``run_together`` says."""
        first = banks[0]
        h = beside(banks, inputs)  # (expert, batch, inputs)
        for layer in range(len(first.weights)):
            weight = joined([bank.weights[layer] for bank in banks])  # (expert, in, out)
            bias = joined([bank.biases[layer] for bank in banks])
            h = torch.baddbmm(bias, h, weight).relu_()  # (expert, batch, out)
            if first.dropout > 0:
                h = F.dropout(h, first.dropout, first.training)
        return h


def run_together(banks: Sequence[Any], inputs: Sequence[Tensor]) -> Tensor:
    """The experts of several banks, in their order: (expert, batch, width).

    ``inputs``: one for each bank, (batch, inputs), or one tensor for all of them. Layer l of all
    experts is one batched product, whatever banks they belong to. The banks have the same sizes and
    dropout; their own parameters stay apart, so that each can belong to a task.
    """
    return banks[0].run(banks, inputs)


def beside(banks: Sequence[Any], inputs: Sequence[Tensor]) -> Tensor:
    """What each expert reads, (expert, batch, inputs); one input for all is not copied."""
    if len(inputs) == 1:
        return inputs[0].expand(sum(bank.experts for bank in banks), *inputs[0].shape)
    pairs = zip(banks, inputs, strict=True)
    return torch.cat([x.expand(bank.experts, *x.shape) for bank, x in pairs])


def joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after the other; one alone as it is, without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


class Gate(nn.Module):
    """How much a row listens to each expert: softmax(W x), (batch, inputs) -> (batch, experts).

    One linear layer without bias (Ma et al. 2018, KDD, equation 7), started near zero, so that all
    experts begin with nearly equal say.
    """

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, experts, bias=False)
        nn.init.normal_(self.linear.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).softmax(-1)


def mix(gate: Tensor, experts: Tensor) -> Tensor:
    """Weighted sum: gate (batch, expert), experts (expert, batch, width) -> (batch, width).

    Dimensions before the batch (of replicas) are carried along.
    """
    # an einsum would become one tiny matrix product a row, at twice the time
    return (gate.movedim(-1, 0).unsqueeze(-1).to(experts.dtype) * experts).sum(0)
