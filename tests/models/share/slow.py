"""Architectures once more, as one writes them first: expert by expert, row sums by hand."""

from __future__ import annotations

import torch
from torch import Tensor


def expert(bank, number: int, x: Tensor) -> Tensor:
    """One expert of a bank alone: plain linear layers and ReLU."""
    for weight, bias in zip(bank.weights, bank.biases, strict=True):
        x = torch.relu(x @ weight[number] + bias[number, 0])
    return x


def experts(bank, x: Tensor) -> list[Tensor]:
    """All experts of a bank, one after the other."""
    return [expert(bank, number, x) for number in range(bank.experts)]


def gated(gate, x: Tensor, outputs: list[Tensor]) -> Tensor:
    """The weighted sum, expert by expert."""
    scores = torch.exp(x @ gate.linear.weight.T)
    scores = scores / scores.sum(dim=1, keepdim=True)
    return sum(scores[:, [n]] * output for n, output in enumerate(outputs))


def cross_stitch(model, x: Tensor) -> list[Tensor]:
    tasks = range(model.schema.num_tasks)
    h = [x for _ in tasks]
    bank = model.columns
    for layer, stitch in enumerate(model.stitches):
        weight, bias = bank.weights[layer], bank.biases[layer]
        new = [torch.relu(h[k] @ weight[k] + bias[k, 0]) for k in tasks]
        h = [sum(stitch[k, j] * new[j] for j in tasks) for k in tasks]
    return h


def omoe(model, x: Tensor) -> list[Tensor]:
    return [gated(model.gate, x, experts(model.experts, x))] * model.schema.num_tasks


def mmoe(model, x: Tensor) -> list[Tensor]:
    outputs = experts(model.experts, x)
    return [gated(gate, x, outputs) for gate in model.gates]


def extraction(level, own: list[Tensor], shared: Tensor) -> tuple[list[Tensor], Tensor | None]:
    mine = [experts(bank, x) for bank, x in zip(level.own, own, strict=True)]
    common = experts(level.shared, shared)
    outputs = [gated(g, x, m + common) for g, x, m in zip(level.gates, own, mine, strict=True)]
    if level.shared_gate is None:
        return outputs, None
    everyone = [output for own_experts in mine for output in own_experts] + common
    return outputs, gated(level.shared_gate, shared, everyone)


def cgc(model, x: Tensor) -> list[Tensor]:
    return extraction(model.level, [x] * model.schema.num_tasks, x)[0]


def ple(model, x: Tensor) -> list[Tensor]:
    own, shared = [x] * model.schema.num_tasks, x
    for level in model.levels:
        own, shared = extraction(level, own, shared)
    return own


def adatt(model, x: Tensor) -> list[Tensor]:
    read = [x] * model.levels[0].modules_count
    for level in model.levels:
        own = [experts(bank, h) for bank, h in zip(level.banks, read, strict=True)]
        everyone = [output for outputs in own for output in outputs]
        read = [
            gated(fusion.gate, h, everyone)
            + (
                mine[0]
                if fusion.residual is None
                else sum(v * output for v, output in zip(fusion.residual, mine, strict=True))
            )
            for fusion, h, mine in zip(level.fusions, read, own, strict=False)
        ]
    return read


def stem(model, x: Tensor) -> list[Tensor]:
    *own, shared = x.chunk(model.schema.num_tasks + 1, dim=1)
    mine = [experts(bank, h) for bank, h in zip(model.own, own, strict=True)]
    common = experts(model.common, shared)
    outputs = []
    for task, (gate, h) in enumerate(zip(model.gates, own, strict=True)):
        seen = [
            output if owner == task else output.detach()
            for owner, outputs_of in enumerate(mine)
            for output in outputs_of
        ]
        outputs.append(gated(gate, h, seen + common))
    return outputs


def home_experts(model, x: Tensor) -> list[Tensor]:
    outputs = []
    for number in range(len(model.features.B)):
        h = x * 2 * torch.sigmoid(x @ model.features.B[number] @ model.features.A[number])
        for weight, norm in zip(model.experts.weights, model.experts.norms, strict=True):
            h = h @ weight[number]
            part = slice(number * h.shape[1], (number + 1) * h.shape[1])
            if model.training:
                mean, variance = h.mean(0), h.var(0, correction=0)
            else:
                mean, variance = norm.running_mean[part], norm.running_var[part]
            h = (h - mean) / torch.sqrt(variance + norm.eps) * norm.weight[part] + norm.bias[part]
            h = h * torch.sigmoid(h)
        outputs.append(h)
    return [gated(gate, x, outputs) for gate in model.gates]


SLOW = {
    "cross-stitch": cross_stitch,
    "omoe": omoe,
    "mmoe": mmoe,
    "cgc": cgc,
    "ple": ple,
    "adatt": adatt,
    "stem": stem,
    "home-experts": home_experts,
}


def logits(name: str, model, batch) -> dict[str, Tensor]:
    """{task: logits} the slow way; towers are those of the model."""
    outputs = SLOW[name](model, model.embed(batch))
    return model.towers(dict(zip(model.schema.task_names, outputs, strict=True)))
