"""Scenario models once more, a row at a time and by nothing but plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlkit.data.batch import Batch


class Row:
    """One row of a batch and what a model computes of it. ``s`` is None for an unknown scenario.

    ``x`` is the input vector, looked up field by field; ``linear`` is what a layer makes of a row,
    by the kind of the layer. Where gates are ``attached``, they do not read their inputs detached.
    """

    def __init__(self, model, batch: Batch, r: int, attached: bool) -> None:
        self.model, self.scenarios = model, model.schema.num_scenarios
        self.attached = attached
        number = int(batch.scenario[r])
        self.number, self.s = number, number if number < self.scenarios else None
        self.x = self.inputs(batch, r)

    def inputs(self, batch: Batch, r: int) -> Tensor:
        embedding = self.model.network.embedding
        table, start = embedding.table, {"user": 0, "item": 11, "scenario": 17}
        start["words"] = 17
        reads_scenario = type(embedding).__name__ == "FieldEmbedding" and embedding.scenario_field
        if reads_scenario:
            start["words"] += self.scenarios + 1
        if type(embedding).__name__ == "ScenarioEmbedding":
            rows = len(table) // (self.scenarios + 1)
            table = table[self.number * rows : (self.number + 1) * rows]
        user, item = batch.categorical[r].tolist()
        parts = [table[user], table[11 + item]]
        if reads_scenario:
            parts.append(table[start["scenario"] + self.number])
        for name, first in (("viewed", start["item"]), ("words", start["words"])):
            values, offsets = batch.sequences[name]
            entries = values[offsets[r] : offsets[r + 1]].tolist()
            found = [table[first + entry] for entry in entries] or [torch.zeros(3).double()]
            parts.append(sum(found) / len(found))
        return torch.cat([*parts, batch.dense[r]])

    def linear(self, layer, h: Tensor) -> Tensor:
        return getattr(self, type(layer).__name__)(layer, h)

    def Linear(self, layer, h: Tensor) -> Tensor:
        return layer.weight @ h + layer.bias

    def OwnLinear(self, layer, h: Tensor) -> Tensor:
        if self.s is not None:
            return h @ layer.weight[self.s] + layer.bias[self.s]
        weight = sum(layer.weight[s] for s in range(self.scenarios)) / self.scenarios
        bias = sum(layer.bias[s] for s in range(self.scenarios)) / self.scenarios
        return h @ weight.detach() + bias.detach()

    def StarLinear(self, layer, h: Tensor) -> Tensor:
        if self.s is None:
            return self.Linear(layer.shared, h)
        weight = layer.shared.weight.T * layer.weight[self.s]
        return h @ weight + layer.shared.bias + layer.bias[self.s]

    def LowRankLinear(self, layer, h: Tensor) -> Tensor:
        shared = self.Linear(layer.shared, h)
        if self.s is None:
            return shared
        return shared + h @ layer.A[self.s] @ layer.B[self.s] + layer.bias[self.s]

    def GatedLinear(self, layer, h: Tensor) -> Tensor:
        prior = self.x[self.model.columns]
        known = torch.cat([self.vector(), prior, self.read(self.scaled)])
        return self.Linear(layer.linear, h) * self.gate(layer.gate, known)

    def read(self, x: Tensor) -> Tensor:
        return x if self.attached else x.detach()

    def gate(self, gate, h: Tensor) -> Tensor:
        hidden = torch.relu(self.Linear(gate[0], h))
        return 2 / (1 + torch.exp(-self.Linear(gate[2], hidden)))

    def vector(self) -> Tensor:
        vectors = self.model.vectors.table
        return torch.zeros(vectors.shape[1]).double() if self.s is None else vectors[self.s]

    def mlp(self, mlp, h: Tensor, *, logit: bool) -> Tensor:
        layers = [layer for layer in mlp if type(layer) is not torch.nn.ReLU]
        for number, layer in enumerate(layers):
            h = self.linear(layer, h)
            if not (logit and number == len(layers) - 1):
                h = torch.relu(h)
        return h

    def logits(self) -> Tensor:
        """Logits of all tasks side by side."""
        kind = type(self.model).__name__
        x = self.x
        if kind == "STAR":
            x = self.normed(x)
        if kind in ("EPNet", "PEPNet"):
            gate = self.model.gate if kind == "EPNet" else self.model.input_gate
            x = x * self.gate(gate, torch.cat([self.vector(), self.read(x)]))
        self.scaled = x
        network = self.model.network
        h = self.mlp(network.bottom, x, logit=False)
        logits = [self.mlp(tower, h, logit=True) for tower in network.towers]
        if kind == "STAR":
            known = torch.cat([self.vector(), x])
            more = [self.mlp(tower, known, logit=True) for tower in self.model.auxiliary]
            logits = [one + other for one, other in zip(logits, more, strict=True)]
        return torch.cat(logits)

    def normed(self, x: Tensor) -> Tensor:
        """The norm in evaluation, by the running statistics of the row's own scenario."""
        norm = self.model.norm
        met = [s for s in range(self.scenarios) if norm.batches[s] > 0]
        if self.s is not None and self.s in met:
            mean, variance = norm.mean[self.s], norm.variance[self.s]
        elif met:
            mean = sum(norm.mean[s] for s in met) / len(met)
            square = sum(norm.variance[s] + norm.mean[s] ** 2 for s in met) / len(met)
            variance = square - mean**2
        else:
            mean, variance = torch.zeros_like(x), torch.ones_like(x)
        scale, shift = norm.scale, norm.shift
        if self.s is not None:
            scale, shift = scale * norm.own_scale[self.s], shift + norm.own_shift[self.s]
        return (x - mean) / (variance + norm.eps).sqrt() * scale + shift


def logits(model, batch: Batch, *, attached: bool = False) -> Tensor:
    """Logits of all rows and tasks in evaluation, (batch, number)."""
    rows = range(len(batch.scenario))
    return torch.stack([Row(model, batch, r, attached).logits() for r in rows])
