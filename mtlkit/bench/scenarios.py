"""A step of layers with weights of each scenario's own, by the number of scenarios and by form."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.layers import Route, use_route
from mtlkit.train.randomness import seeded

INPUTS = 256
HIDDEN = (128, 64)
BATCH = 2048


class Star(nn.Module):
    """relu(x (W_s * W) + b_s + b), layer by layer: own weights times shared ones (STAR, Sheng et
    al. 2021, CIKM)."""

    def __init__(self, scenarios: int, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.own = nn.ParameterList()
        self.shared = nn.ParameterList()
        for a, b in _sizes(inputs, hidden):
            self.own.append(torch.ones(scenarios, a, b) + 0.1 * torch.randn(scenarios, a, b))
            self.own.append(torch.zeros(scenarios, b))
            self.shared.append(torch.randn(a, b) * (2 / a) ** 0.5)
            self.shared.append(torch.zeros(b))

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Weight (scenario, in, out) and bias (scenario, out) of each layer."""
        for i in range(0, len(self.own), 2):
            yield self.own[i] * self.shared[i], self.own[i + 1] + self.shared[i + 1]

    def routed(self, x: Tensor, route: Route) -> Tensor:
        """Every row by its own scenario's weights, in the route's order."""
        for weight, bias in self.layers():
            x = route.linear(x, weight, bias).relu()
        return x

    def everywhere(self, x: Tensor) -> Tensor:
        """Every row by the weights of every scenario: (scenario, batch, width)."""
        x = x.expand(len(self.own[0]), *x.shape)
        for weight, bias in self.layers():
            x = torch.baddbmm(bias.unsqueeze(1), x, weight).relu()
        return x


class LowRank(nn.Module):
    """relu(x W + b + x A_s B_s), layer by layer: a shared layer and an adapter of low rank for each
    scenario (LoRA, Hu et al. 2022, ICLR; for scenarios MLoRA, Yang et al. 2024, RecSys)."""

    def __init__(self, scenarios: int, inputs: int, hidden: Sequence[int], rank: int) -> None:
        super().__init__()
        self.own = nn.ParameterList()
        self.shared = nn.ModuleList()
        for a, b in _sizes(inputs, hidden):
            self.own.append(torch.randn(scenarios, a, rank) * a**-0.5)
            self.own.append(0.1 * torch.randn(scenarios, rank, b))
            self.shared.append(nn.Linear(a, b))

    def routed(self, x: Tensor, route: Route) -> Tensor:
        """Every row by its own scenario's adapters, in the route's order."""
        for i, layer in enumerate(self.shared):
            inner = route.linear(x, self.own[2 * i])
            x = (layer(x) + route.linear(inner, self.own[2 * i + 1])).relu()
        return x

    def everywhere(self, x: Tensor) -> Tensor:
        """Every row by the adapters of every scenario: (scenario, batch, width)."""
        x = x.expand(len(self.own[0]), *x.shape)
        for i, layer in enumerate(self.shared):
            x = (layer(x) + torch.bmm(torch.bmm(x, self.own[2 * i]), self.own[2 * i + 1])).relu()
        return x


def segments(model: Any, x: Tensor, scenario: Tensor, scenarios: int) -> Tensor:
    """(batch, width): rows sorted by scenario, one product a segment."""
    route = Route(scenario, scenarios)
    return route.restore(model.routed(route.sort(x), route))


def gathered(model: Any, x: Tensor, scenario: Tensor, scenarios: int) -> Tensor:
    """(batch, width): the weights of its scenario copied for every row."""
    with use_route("gathered"):
        return segments(model, x, scenario, scenarios)


def masked(model: Any, x: Tensor, scenario: Tensor, scenarios: int) -> Tensor:
    """(batch, width): all scenarios for all rows, all but a row's own then times 0."""
    numbers = torch.arange(scenarios).unsqueeze(1)
    mask = (scenario == numbers).unsqueeze(2).to(x.dtype)  # (scenario, batch, 1)
    return (model.everywhere(x) * mask).sum(0)


FORMS: dict[str, Callable[..., Tensor]] = {
    "segments": segments, "all, then masked": masked, "gathered a row": gathered,
}  # fmt: skip


def measure_scenarios(
    numbers: Sequence[int] = (3, 10, 30, 100, 300, 1000),
    steps: int = 9,
    batch: int = BATCH,
    memory: float = 4000.0,
    inputs: int = INPUTS,
    hidden: Sequence[int] = HIDDEN,
    rank: int = 8,
) -> dict[str, Any]:
    """Medians of a forward and backward pass in each form, by number of scenarios, in one thread.

    Rows fall on scenarios evenly. Milliseconds are of the processor (``time.process_time``), so
    that other programs on the machine count little. A naive form that would need more than
    ``memory`` megabytes is left out, and the table says so. "kept" is what the forward pass keeps
    for the backward pass beside parameters and the batch.
    """
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "STAR": lambda n: Star(n, inputs, hidden),
        f"adapters of rank {rank}": lambda n: LowRank(n, inputs, hidden, rank),
    }
    result: dict[str, Any] = {"rows": batch, "layers": " x ".join(map(str, (inputs, *hidden)))}
    with _one_thread(), seeded(0):
        x = torch.randn(batch, inputs, requires_grad=True)  # as an embedding's output does
        for kind, make in kinds.items():
            found: dict[str, Any] = {}
            for number in numbers:
                found[f"{number} scenarios"] = _row(make(number), x, number, steps, memory)
            first = f"{numbers[0]} scenarios"
            base = found[first]["segments"]["milliseconds"]
            for row in found.values():
                own = row["segments"]
                own[f"times {first}"] = own["milliseconds"] / base
            result[kind] = found
    return result


def _row(model: Any, x: Tensor, number: int, steps: int, memory: float) -> dict[str, Any]:
    scenario = torch.randint(0, number, (len(x),))
    row: dict[str, Any] = {"parameters a scenario": sum(p.numel() for p in model.own) // number}
    runs, kept = {}, {}
    for name, form in FORMS.items():
        needed = _megabytes(name, model, len(x), number)
        if name != "segments" and needed > memory:
            row[name] = f"left out: about {needed:,.0f} megabytes, more than {memory:,.0f}"
            continue
        row[name] = {}  # its place in the table
        runs[name] = _stepper(model, form, x, scenario, number)
        kept[name] = _kept(model, form, x, scenario, number)
    medians = _medians(runs, steps)
    for name, milliseconds in medians.items():
        row[name] = {"milliseconds": milliseconds}
        if name != "segments":
            row[name]["times segments"] = milliseconds / medians["segments"]
    row["kept, megabytes"] = kept
    return row


def _stepper(
    model: nn.Module, form: Callable[..., Tensor], x: Tensor, scenario: Tensor, number: int
) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad()
        form(model, x, scenario, number).square().mean().backward()

    return step


def _kept(
    model: nn.Module, form: Callable[..., Tensor], x: Tensor, scenario: Tensor, number: int
) -> float:
    """Megabytes that the forward pass keeps for the backward pass."""
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), x, scenario)}
    seen: dict[int, int] = {}
    alive = []  # or another tensor might get the same address

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        form(model, x, scenario, number)
    return sum(seen.values()) / 1e6


def _megabytes(name: str, model: Any, rows: int, number: int) -> float:
    """What a naive form holds at its worst, roughly: so many copies of its largest tensors."""
    if name == "gathered a row":
        return 3 * 4e-6 * rows * sum(p[0].numel() for p in model.own)
    widths = sum(p.shape[-1] for p in model.own if p.dim() == 3) + model.own[0].shape[1]
    return 6 * 4e-6 * rows * number * widths


def _sizes(inputs: int, hidden: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip((inputs, *hidden), hidden))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _medians(runs: dict[str, Callable[[], None]], steps: int) -> dict[str, float]:
    """Median milliseconds of each, one after the other in every step, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(steps + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if step:
                taken[name].append(time.process_time() - start)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}
