"""A step of several networks at once against a step of one: the MMoE paper's network, by batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.models import MMoE
from mtlkit.models.replicas import Replicas
from mtlkit.schema import Dense, Schema, Task
from mtlkit.train.device import choose_device
from mtlkit.train.randomness import seeded

INPUTS = 100
SCHEMA = Schema(
    (Task("first", "regression"), Task("second", "regression")), dense=(Dense("x", INPUTS),)
)


def network(schema: Schema) -> MMoE:
    """Eight experts of 16 units and towers of 8 (Ma et al. 2018, KDD, section 4)."""
    return MMoE(schema, embedding_dim=1, experts=8, hidden=(16,), tower=(8,))


class PlainNetwork(nn.Module):
    """The same network as one writes it: a module an expert, a gate and a tower."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(INPUTS, 16) for _ in range(8))
        self.gates = nn.ModuleList(nn.Linear(INPUTS, 8, bias=False) for _ in range(2))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2)
        )

    def forward(self, batch: Batch) -> Tensor:
        """(batch, task)."""
        x = batch.dense
        experts = torch.stack([expert(x).relu() for expert in self.experts], 1)
        found = []
        for gate, tower in zip(self.gates, self.towers, strict=True):
            mixed = (gate(x).softmax(1).unsqueeze(2) * experts).sum(1)
            found.append(tower(mixed))
        return torch.cat(found, 1)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Squared error of each task, (task,)."""
        return (outputs - batch.labels).square().mean(0)


def measure_replicas(
    count: int, batches: Sequence[int], steps: int, device: str = "auto"
) -> dict[str, Any]:
    """Medians of whole steps (forward, losses, backward, Adam) of one network and of ``count``.

    "solo steps" says how many steps of one network a step of all takes, "plain steps" how many of
    the same network in a plain loop; ``count`` would be no gain.
    """
    home = choose_device(device)
    found: dict[str, Any] = {"replicas": count, "device": str(home)}
    for batch_size in batches:
        with seeded(0):
            alone = network(SCHEMA).to(home)
            several = Replicas([network(SCHEMA) for _ in range(count)]).to(home)
            plain = PlainNetwork().to(home)
        one, all_rows = (_batch(rows, home) for rows in (batch_size, batch_size * count))
        runs = [_stepper(plain, one), _stepper(alone, one), _stepper(several, all_rows)]
        taken: list[list[float]] = [[] for _ in runs]
        for step in range(steps + 5):
            for seconds, run in zip(taken, runs, strict=True):
                start = time.perf_counter()
                run()
                _wait(home)
                if step >= 5:
                    seconds.append(time.perf_counter() - start)
        bare, solo, together = (statistics.median(seconds) for seconds in taken)
        found[f"batch {batch_size}"] = {
            "plain loop, milliseconds": 1e3 * bare,
            "one, milliseconds": 1e3 * solo,
            "all, milliseconds": 1e3 * together,
            "solo steps": together / solo,
            "plain steps": together / bare,
        }
    return found


def _batch(rows: int, home: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        categorical=torch.zeros(rows, 0, dtype=torch.int64),
        dense=torch.randn(rows, INPUTS, generator=generator),
        sequences={},
        labels=torch.randn(rows, 2, generator=generator),
        observed=torch.ones(rows, 2, dtype=torch.bool),
        scenario=torch.zeros(rows, dtype=torch.int64),
    ).to(home)


def _stepper(model: Any, batch: Batch) -> Any:
    parameters = [p for p in model.parameters() if p.numel()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model.losses(model(batch), batch).sum().backward()
        optimizer.step()

    return step


def _wait(home: torch.device) -> None:
    if home.type == "cuda":
        torch.cuda.synchronize(home)
