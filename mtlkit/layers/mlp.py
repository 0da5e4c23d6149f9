"""Layers of linear, ReLU and dropout."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class MLP(nn.Sequential):
    """Layers of linear, ReLU and dropout: (..., inputs) -> (..., sizes[-1]).

    Without ``sizes`` it is the identity. With ``outputs`` a last linear layer without ReLU follows,
    so that logits may be negative. ReLU layers start with He initialisation (He et al. 2015).
    """

    def __init__(
        self, inputs: int, sizes: Iterable[int], *, outputs: int | None = None, dropout: float = 0.0
    ) -> None:
        layers: list[nn.Module] = []
        width = inputs
        for size in sizes:
            linear = nn.Linear(width, size)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU()]
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            width = size
        if outputs is not None:
            last = nn.Linear(width, outputs)
            nn.init.xavier_uniform_(last.weight)
            nn.init.zeros_(last.bias)
            layers.append(last)
            width = outputs
        super().__init__(*layers)
        self.width = width
