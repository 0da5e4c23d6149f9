"""The gate of PEPNet: factors between 0 and 2 from what is known of a row beforehand."""

from __future__ import annotations

from torch import Tensor, nn


class GateNU(nn.Sequential):
    """2 sigmoid(W' relu(W x + b) + b'): (batch, inputs) -> (batch, outputs), between 0 and 2.

    The gate neural unit of Chang et al. 2023 (PEPNet, KDD), with gamma = 2. W' starts
    near 0 and b' at 0, so that all factors are 1 at first, or nearly.
    """

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 16) -> None:
        last = nn.Linear(hidden, outputs)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x).sigmoid()
