"""Layers of several networks of one shape at once: every weight has one dimension more."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.experts import ExpertBank, beside, joined

Pair = tuple[Any, list[Any]]  # what is stacked, and the modules that it stands for


def stack(modules: Sequence[Any], where: str = "") -> tuple[Any, list[Pair]]:
    """One module that does for (replica, batch, ...) what each of ``modules`` does alone.

    Returns it, and every part with weights beside those that it stands for, so that ``unstack`` can
    write them back. A module with parameters of its own says in ``replica_dims`` {parameter: the
    dimension that replicas become}; its ``forward`` takes either. Raises ``TypeError`` for a module
    that says nothing, and ``ValueError`` for dropout, whose draws could not be those of a network
    alone; both name its place.
    """
    first, told = modules[0], where or "The network"
    if type(first) in KINDS:
        stacked = KINDS[type(first)](modules)
        return stacked, [(stacked, list(modules))]
    if isinstance(first, nn.Dropout) and first.p > 0:
        raise ValueError(f"{told} drops units: replicas need dropout=0.")
    dims: dict[str, int] = getattr(first, "replica_dims", {})
    own = [*first.named_parameters(recurse=False), *first.named_buffers(recurse=False)]
    for name, _ in own:
        if name not in dims:
            raise TypeError(
                f"{told} ({type(first).__name__}) has {name!r} of its own, which nobody knows how "
                "to stack: train these networks one by one, with compare(jobs=)."
            )
    whole = _hollow(first)
    pairs: list[Pair] = [(whole, list(modules))] if own else []
    for name, _ in own:
        whole._parameters[name] = _parameter([getattr(m, name) for m in modules], dims[name])
    for name, _ in first.named_children():
        children = [module._modules[name] for module in modules]
        whole._modules[name], found = stack(children, f"{where}.{name}" if where else name)
        pairs += found
    return whole, pairs


@torch.no_grad()
def unstack(pairs: Sequence[Pair]) -> None:
    """Write the weights of every stacked part into the modules that it stands for."""
    for stacked, modules in pairs:
        for number, module in enumerate(modules):
            for name, value in _parts_of(stacked, number):
                module.get_parameter(name).copy_(value)


def _parts_of(stacked: Any, number: int) -> list[tuple[str, Tensor]]:
    """[(name of a parameter of one network, its value)] of replica ``number``."""
    if isinstance(stacked, Stacked):
        return stacked.parts(number)
    dims = stacked.replica_dims
    own = stacked.named_parameters(recurse=False)
    return [(name, value.select(dims[name], number)) for name, value in own]


def _parameter(tensors: Sequence[Tensor], dim: int) -> nn.Parameter:
    """Parameters of several networks as one."""
    trained = all(t.requires_grad for t in tensors)
    return nn.Parameter(torch.stack([t.detach() for t in tensors], dim), trained)


def _hollow(module: Any) -> Any:
    """The same module without weights of its own; its children are to be replaced."""
    new = module.__class__.__new__(module.__class__)
    own = {k: dict(v) if isinstance(v, dict) else v for k, v in module.__dict__.items()}
    new.__dict__ = own
    return new


class Stacked(nn.Module):
    """Base of stacked layers, which take (replica, batch, ...)."""

    def parts(self, number: int) -> list[tuple[str, Tensor]]:
        """[(name of a parameter of one network, its value)] of replica ``number``."""
        raise NotImplementedError(f"{type(self).__name__} must define parts(number).")


class StackedLinear(Stacked):
    """``nn.Linear`` of each replica: (replica, batch, in) -> (replica, batch, out)."""

    def __init__(self, modules: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _parameter([m.weight.T for m in modules], 0)  # (replica, in, out)
        self.bias = None
        if modules[0].bias is not None:
            self.bias = _parameter([m.bias.unsqueeze(0) for m in modules], 0)  # (replica, 1, out)

    def parts(self, number: int) -> list[tuple[str, Tensor]]:
        found = [("weight", self.weight[number].T)]
        return found if self.bias is None else [*found, ("bias", self.bias[number, 0])]

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


class StackedExperts(Stacked):
    """``ExpertBank`` of each replica: (replica, batch, in) -> (expert, replica, batch, hidden).

    All experts read the same rows, so their first layer is one product a replica, with weights
    (replica, in, expert * out); a later one is one product an expert and replica.
    """

    def __init__(self, modules: Sequence[ExpertBank]) -> None:
        super().__init__()
        first = modules[0]
        if first.dropout > 0:
            raise ValueError("The experts drop units: replicas need dropout=0.")
        self.experts, self.width, self.dropout = first.experts, first.width, 0.0
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer in range(len(first.weights)):
            for own, name in ((self.weights, "weights"), (self.biases, "biases")):
                stacked = _parameter([getattr(m, name)[layer] for m in modules], 1)
                if layer == 0:  # (expert, replica, in, out) -> (replica, in, expert * out)
                    wide = stacked.detach().permute(1, 2, 0, 3).flatten(2)
                    stacked = nn.Parameter(wide, stacked.requires_grad)
                own.append(stacked)

    def of_layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Its weights (expert, replica, in, out) and biases (expert, replica, 1, out)."""
        weight, bias = self.weights[layer], self.biases[layer]
        if layer == 0:
            apart = [t.unflatten(2, (self.experts, -1)) for t in (weight, bias)]
            weight, bias = (t.permute(2, 0, 1, 3) for t in apart)
        return weight, bias

    def parts(self, number: int) -> list[tuple[str, Tensor]]:
        found = []
        for layer in range(len(self.weights)):
            weight, bias = self.of_layer(layer)
            found += [(f"weights.{layer}", weight[:, number]), (f"biases.{layer}", bias[:, number])]
        return found

    def layer(self, number: int, h: Tensor) -> Tensor:
        """One layer, whose experts read rows of their own: (expert, replica, batch, in) -> out."""
        return _product(h, *self.of_layer(number)).relu_()

    def forward(self, x: Tensor) -> Tensor:
        return self.run([self], [x])

    @staticmethod
    def run(banks: Sequence[StackedExperts], inputs: Sequence[Tensor]) -> Tensor:
        """``run_together`` of replicas: (replica, batch, in) -> (expert, replica, batch, out)."""
        first = banks[0]
        if not first.weights:
            return beside(banks, inputs)
        if len(inputs) == 1:
            weight = joined([bank.weights[0] for bank in banks], 2)
            h = _apart(inputs[0], weight, joined([bank.biases[0] for bank in banks], 2),
                       sum(bank.experts for bank in banks))  # fmt: skip
        else:
            h = torch.cat([
                _apart(x, bank.weights[0], bank.biases[0], bank.experts)
                for bank, x in zip(banks, inputs, strict=True)
            ])  # fmt: skip
        for layer in range(1, len(first.weights)):
            both = [bank.of_layer(layer) for bank in banks]
            weight, bias = (joined([pair[i] for pair in both], 0) for i in (0, 1))
            h = _product(h, weight, bias).relu_()
        return h


def _apart(x: Tensor, weight: Tensor, bias: Tensor, experts: int) -> Tensor:
    """The first layer: x (replica, batch, in) -> (expert, replica, batch, out), after ReLU."""
    h = torch.baddbmm(bias, x, weight).relu_()  # (replica, batch, expert * out)
    return h.unflatten(2, (experts, -1)).permute(2, 0, 1, 3)


def _product(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h W + b of every expert and replica: (expert, replica, batch, in) -> out."""
    out = torch.baddbmm(bias.flatten(0, 1), h.flatten(0, 1), weight.flatten(0, 1))
    return out.unflatten(0, (h.shape[0], h.shape[1]))


class StackedList(nn.ParameterList, Stacked):
    """Parameters of each replica: their last dimension."""

    def __init__(self, modules: Sequence[nn.ParameterList]) -> None:
        super().__init__(_parameter(same, -1) for same in zip(*modules, strict=True))

    def parts(self, number: int) -> list[tuple[str, Tensor]]:
        return [(str(i), value[..., number]) for i, value in enumerate(self)]


class StackedInputs(Stacked):
    """``FieldEmbedding`` of each replica, over rows of all of them, replica by replica.

    A batch of (replica * batch) rows -> (replica * batch, width). The tables stand one below the
    other in one; rows of replica r read the r-th.
    """

    def __init__(self, modules: Sequence[FieldEmbedding]) -> None:
        super().__init__()
        first = modules[0]
        layout = [name for name, _ in first.layout.named_parameters()]
        if layout:
            raise TypeError(f"The inputs learn {layout[0]!r}, which nobody knows how to stack.")
        self.replicas, self.size, self.width = len(modules), len(first.table), first.width
        self.embedding = _hollow(first)
        self.embedding._modules["layout"] = copy.deepcopy(first.layout)
        whole = _parameter([m.table for m in modules], 0).detach().flatten(0, 1)
        trained = all(m.table.requires_grad for m in modules)
        self.embedding._parameters["table"] = nn.Parameter(whole, trained)

    def parts(self, number: int) -> list[tuple[str, Tensor]]:
        start = number * self.size
        return [("table", self.embedding.table[start : start + self.size])]

    def forward(self, batch: Batch) -> Tensor:
        if not self.size:
            return self.embedding.assemble(self.embedding.table.detach(), batch)  # no gradient to x
        shift = self.shifts(batch)
        rows = self.embedding.lookup(self.embedding.ids(batch) + shift)
        return self.embedding.assemble(rows, batch)

    def shifts(self, batch: Batch) -> Tensor:
        """Where the table of its replica begins, for every id that the batch reads: (n,)."""
        each = batch.rows // self.replicas
        device = batch.scenario.device
        of_row = torch.arange(batch.rows, device=device) // each * self.size  # (row,)
        parts = [of_row.repeat_interleave(self.embedding.layout.num_fields)]
        for name in self.embedding.layout.sequence_names:
            parts.append(of_row.repeat_interleave(batch.sequences[name][1].diff()))
        return torch.cat(parts)


KINDS: dict[type, Any] = {
    nn.Linear: StackedLinear,
    ExpertBank: StackedExperts,
    FieldEmbedding: StackedInputs,
    nn.ParameterList: StackedList,
}
