"""Layers of each scenario's own, all of one shape: stacked weights, read by a ``Route``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.layers.routing import Route


class ScenarioLinear(nn.Module):
    """x_r W[s_r] + b[s_r]: a linear layer of each scenario's own, on rows in the route's order.

    (batch, inputs) -> (batch, outputs); ``weight`` (scenario, inputs, outputs), ``bias``
    (scenario, outputs). Starts with Xavier's initialisation, or with He's before a ReLU
    (``nonlinearity="relu"``), each scenario as an ``MLP`` of its own would.

    A route of one set more has rows of the unknown scenario last: they read the mean of all sets.
    Raises ``ValueError`` for no scenario and for another ``nonlinearity``.
    """

    def __init__(
        self, scenarios: int, inputs: int, outputs: int, *, bias: bool = True,
        nonlinearity: str = "linear",
    ) -> None:  # fmt: skip
        super().__init__()
        if scenarios < 1:
            raise ValueError(f"scenarios must be 1 or more, not {scenarios}.")
        if nonlinearity not in ("linear", "relu"):
            raise ValueError(f"nonlinearity must be 'linear' or 'relu', not {nonlinearity!r}.")
        bound = (6 / (inputs if nonlinearity == "relu" else inputs + outputs)) ** 0.5
        weight = torch.empty(scenarios, inputs, outputs).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(scenarios, outputs)) if bias else None

    def forward(self, x: Tensor, route: Route) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if route.sets == len(weight) + 1:
            weight = with_mean(weight)
            bias = None if bias is None else with_mean(bias)
        return route.linear(x, weight, bias)

    @torch.no_grad()
    def add_scenario(
        self, scenario: str, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        """Know one scenario more (``MultiTaskModel.extend``), as the last one.

        It starts with ``weight`` (inputs, outputs) and ``bias`` (outputs,), or with the mean of the
        known ones, which is what rows of the unknown scenario read and go on reading. Raises
        ``ValueError`` for one of another shape.
        """
        for name, given in (("weight", weight), ("bias", bias)):
            known = getattr(self, name)
            shape = None if known is None else known.shape[1:]
            if given is not None and given.shape != shape:
                right = "None, the layer has none" if shape is None else f"of shape {tuple(shape)}"
                raise ValueError(f"{name} must be {right}, not of shape {tuple(given.shape)}.")
            if known is not None:
                new = with_mean(known) if given is None else torch.cat([known, given[None]])
                setattr(self, name, nn.Parameter(new.to(known), known.requires_grad))


def with_mean(sets: Tensor) -> Tensor:
    """Sets (set, ...) and their mean as one more."""
    return torch.cat([sets, sets.mean(0, keepdim=True)])


class ScenarioMLP(nn.Module):
    """An ``MLP`` of each scenario's own, all of one shape, on rows in the route's order.

    (batch, inputs) -> (batch, width), where ``width`` is ``outputs`` or else ``sizes[-1]``. Layers
    with ReLU and dropout; with ``outputs`` a last linear layer without ReLU follows.
    """

    def __init__(
        self, scenarios: int, inputs: int, sizes: Iterable[int], *, outputs: int | None = None,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hidden, self.dropout, self.width = nn.ModuleList(), dropout, inputs
        self.output: ScenarioLinear | None = None
        for size in sizes:
            layer = ScenarioLinear(scenarios, self.width, size, nonlinearity="relu")
            self.hidden.append(layer)
            self.width = size
        if outputs is not None:
            self.output = ScenarioLinear(scenarios, self.width, outputs)
            self.width = outputs

    def forward(self, x: Tensor, route: Route) -> Tensor:
        for layer in self.hidden:
            x = F.dropout(layer(x, route).relu(), self.dropout, self.training)
        return x if self.output is None else self.output(x, route)
