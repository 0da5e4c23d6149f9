"""Cost of balancing: a training step of every balancer against one of equal weighting.

The workload: 16 categorical fields with 207,000 ids in all and 16 numbers an id, 8 dense columns, K
binary tasks on a shared bottom of 128-64 with towers of 32, batches of 2048, Adam.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from mtlkit.balance import EVERY_BALANCER, Balancer, DecaySchedule, FixedWeights, MetaBalance
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.bench.training import BATCH, DENSE, DIM, RATE, SIZES
from mtlkit.data.batch import Batch
from mtlkit.data.table import Table
from mtlkit.models import SharedBottom
from mtlkit.schema import Categorical, Dense, Schema, Task
from mtlkit.train.optim import Optimizers
from mtlkit.train.randomness import seeded


def make_table(tasks: int, rows: int) -> Table:
    """Random rows with ids as unevenly used as in a shop; the labels hold no signal."""
    generator = torch.Generator().manual_seed(0)
    ids = [
        (size ** torch.rand(rows, generator=generator) - 1).long().clamp(0, size - 1)
        for size in SIZES
    ]
    schema = Schema(
        tuple(Task(f"task {k}") for k in range(tasks)),
        tuple(Categorical(f"field {i}", size) for i, size in enumerate(SIZES)),
        (Dense("features", DENSE),),
    )
    return Table(
        schema,
        torch.stack(ids, dim=1),
        torch.randn(rows, DENSE, generator=generator),
        {},
        (torch.rand(rows, tasks, generator=generator) < 0.3).float(),
        torch.ones(rows, tasks, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.int64),
        check=False,
    )


class _Run:
    """One model with its balancer and optimiser, stepped batch by batch."""

    def __init__(self, schema: Schema, balancer: Balancer, shared: str, optimizer: str) -> None:
        with seeded(0):
            self.model = SharedBottom(schema, embedding_dim=DIM)
        self.balancer = balancer.bind(schema)
        reads = balancer.needs_gramian or balancer.needs_gradients
        self.step_of = GradientStep(self.model, balancer, shared, reuse=True) if reads else None
        self.optimizers = Optimizers(optimizer, self.model, RATE)
        self.seconds: list[float] = []

    def step(self, batch: Batch) -> None:
        """The six steps of ``fit`` for one batch, timed."""
        start = time.perf_counter()
        self.optimizers.zero_grad()
        if self.step_of is not None:
            self.step_of.run(batch, nullcontext)
        else:
            losses = self.model.losses(self.model(batch), batch)
            (self.balancer.weights(losses.detach()) * losses).sum().backward()
        self.optimizers.step()
        if self.balancer.needs_second_pass:
            with torch.no_grad():
                self.balancer.after_step(self.model.losses(self.model(batch), batch))
        self.seconds.append(time.perf_counter() - start)


def measure_steps(tasks: int, steps: int, optimizer: str = "adam") -> dict[str, Any]:
    """Medians over interleaved steps: milliseconds, and times the step of equal weighting.

    Every balancer sees each batch right after equal weighting has, so that a slow moment of the
    machine slows both; the ratio is the median of these paired ratios.
    """
    table = make_table(tasks, BATCH * 16)
    batches = list(table.batches(BATCH))
    own: dict[str, Callable[[], Balancer]] = {
        "fixed": lambda: FixedWeights({"task 0": 2.0}),
        "schedule": lambda: DecaySchedule({"task 0": (1.0, 0.9)}),
        "metabalance": lambda: MetaBalance("task 0"),
    }
    result: dict[str, Any] = {}
    for name, kind in EVERY_BALANCER.items():
        places = ["parameters"]
        reads_gradients = (kind.needs_gramian or kind.needs_gradients) and not kind.weighs_heads
        if reads_gradients and name != "excess-mtl":  # whose memory needs lasting parameters
            places.append("representation")
        for place in places:
            # a fresh pair, so that the memory of many models at once does not slow the step
            runs = [
                _Run(table.schema, EVERY_BALANCER["equal"](), "parameters", optimizer),
                _Run(table.schema, own.get(name, kind)(), place, optimizer),
            ]
            for i in range(steps + 3):
                for run in runs if i % 2 == 0 else reversed(runs):
                    run.step(batches[i % len(batches)])
            equal, ours = (run.seconds[3:] for run in runs)  # the first steps warm up
            label = name if place == "parameters" else f"{name}, representation"
            result[label] = {
                "milliseconds": 1000 * statistics.median(ours),
                "times equal weighting": statistics.median(
                    b / a for a, b in zip(equal, ours, strict=True)
                ),
            }
    return result
