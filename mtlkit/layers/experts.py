"""Experts computed together, and the gates that say how much each counts."""

from __future__ import annotations

from collections.abc import Sequence

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
        h = x.expand(self.experts, *x.shape)  # (expert, batch, inputs)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.baddbmm(bias, h, weight).relu_()  # (expert, batch, out)
            if self.dropout > 0:
                h = F.dropout(h, self.dropout, self.training)
        return h


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
    """Weighted sum: gate (batch, expert), experts (expert, batch, width) -> (batch, width)."""
    # an einsum would become one tiny matrix product a row, at twice the time
    return (gate.T.unsqueeze(-1).to(experts.dtype) * experts).sum(0)
