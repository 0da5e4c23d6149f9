"""Linear layers that scenarios change, in the place of the plain ones of any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.layers.mlp import MLP
from mtlkit.layers.routing import Route


class Here:
    """Which scenarios the rows have that a network computes at the moment.

    The layers inside it that depend on the scenario read it here. ``sets`` is the number of known
    scenarios and one more for the unknown one.
    """

    def __init__(self, sets: int) -> None:
        self.sets = sets
        self.route: Route | None = None

    @contextmanager
    def rows_of(self, scenario: Tensor) -> Iterator[None]:
        """A block in which the rows have these scenarios, (batch,)."""
        before, self.route = self.route, Route(scenario, self.sets)
        try:
            yield
        finally:
            self.route = before

    def known(self) -> Route:
        """The route of the rows at hand."""
        if self.route is None:
            raise RuntimeError("A layer of scenarios is called outside of the model that holds it.")
        return self.route

    def ids(self) -> Tensor:
        """The scenario of every row, (batch,), in the order of the batch."""
        return self.known().scenario

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x_r W[s_r] + b[s_r]: (batch, in) -> (batch, out), rows in the order of the batch."""
        route = self.known()
        return route.restore(route.linear(route.sort(x), weight, bias))

    def sums(self, values: Tensor) -> Tensor:
        """The sum over the rows of every set: (batch, width) -> (set, width)."""
        return values.new_zeros(self.sets, values.shape[1]).index_add(0, self.ids(), values)

    def of_rows(self, values: Tensor) -> Tensor:
        """What each row reads of (set, ...): (batch, ...), in the order of the batch."""
        return self.known().of_batch(values)


class OfScenarios(nn.Module):
    """Base of a layer with parameters of single scenarios.

    ``stacked`` names them; each has the known scenarios first, (scenario, ...), and what rows of
    the unknown one read in its place is said by ``unknown``.
    """

    stacked: tuple[str, ...] = ()

    def __init__(self, here: Here) -> None:
        super().__init__()
        self.here = here

    def unknown(self, name: str) -> Tensor:
        """What the unknown scenario reads in the place of a stacked parameter, (1, ...)."""
        return torch.zeros_like(getattr(self, name)[:1])

    def every(self, name: str) -> Tensor:
        """A stacked parameter and what the unknown scenario reads, as the last."""
        return torch.cat([getattr(self, name), self.unknown(name).detach()])

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more (``MultiTaskModel.extend``): it starts as the unknown one."""
        for name in self.stacked:
            known = getattr(self, name)
            grown = nn.Parameter(self.every(name).detach(), known.requires_grad)
            setattr(self, name, grown)


class ScenarioVectors(OfScenarios):
    """One learned vector a scenario: ``vectors()`` are those of the rows at hand, (batch, width).

    The unknown scenario's is 0.
    """

    stacked = ("table",)

    def __init__(self, here: Here, width: int) -> None:
        super().__init__(here)
        self.table = nn.Parameter(torch.empty(here.sets - 1, width))
        nn.init.normal_(self.table, std=0.1)

    def forward(self) -> Tensor:
        return self.here.of_rows(self.every("table"))


class OwnLinear(OfScenarios):
    """A linear layer of each scenario's own. All start as the plain layer that they come from.

    Rows of the unknown scenario read the mean of all, and train none of them: from one start, the
    mean of weights is a fair guess (Wortsman et al. 2022, ICML, average networks in this way).
    """

    stacked = ("weight", "bias")

    def __init__(self, linear: nn.Linear, here: Here) -> None:
        super().__init__(here)
        self.weight = nn.Parameter(linear.weight.detach().T.repeat(here.sets - 1, 1, 1))
        self.bias = nn.Parameter(linear.bias.detach().repeat(here.sets - 1, 1))

    def unknown(self, name: str) -> Tensor:
        return getattr(self, name).mean(0, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.here.linear(x, self.every("weight"), self.every("bias"))


def linear_layers(network: nn.Module, inside: type[nn.Module] = nn.Module) -> list[tuple[Any, int]]:
    """Where the linear layers of all ``MLP`` in modules of that kind stand: (MLP, number)."""
    found = {}
    for outer in network.modules():
        if isinstance(outer, inside):
            for mlp in outer.modules():
                if isinstance(mlp, MLP):
                    for number, layer in enumerate(mlp):
                        if isinstance(layer, nn.Linear):
                            found[id(layer)] = (mlp, number)
    return list(found.values())


def replace_layers(
    network: nn.Module, make: Callable[[nn.Linear], nn.Module], inside: type[nn.Module] = nn.Module
) -> int:
    """Put ``make(layer)`` in the place of every linear layer of an ``MLP`` in modules of a kind;
    return how many there were."""
    places = linear_layers(network, inside)
    for mlp, number in places:
        mlp[number] = make(mlp[number])
    return len(places)
