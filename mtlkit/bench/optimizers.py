"""A step of the embedding table under Adam and under lazy Adam, by the size of the table.

One step: look up 16 fields of 2048 rows (ids as unevenly used as in a shop), walk back from a given
gradient, move the table of 16 columns. Layers are left out: they cost the same under both.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from mtlkit.bench.training import BATCH, DIM, RATE
from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.schema import Categorical, Schema, Task
from mtlkit.train.optim import Optimizers

FIELDS = 16
SIZES = (10_000, 30_000, 100_000, 207_000, 300_000, 1_000_000, 3_000_000, 10_000_000)


class _Table:
    """A table with its optimiser, stepped on ids and a gradient."""

    def __init__(self, rows: int, optimizer: str) -> None:
        fields = tuple(Categorical(f"field {i}", rows // FIELDS) for i in range(FIELDS))
        self.embedding = FieldEmbedding(Schema((Task("click"),), fields), DIM)
        self.optimizers = Optimizers(optimizer, self.embedding, RATE)
        self.seconds: list[float] = []

    def step(self, ids: Tensor, gradient: Tensor) -> None:
        start = time.perf_counter()
        self.optimizers.zero_grad()
        self.embedding.lookup(ids).backward(gradient)
        self.optimizers.step()
        self.seconds.append(time.perf_counter() - start)


def measure_optimizers(steps: int, largest: int | None = None) -> dict[str, Any]:
    """Medians over interleaved steps, in milliseconds, and times the step of Adam."""
    generator = torch.Generator().manual_seed(0)
    result: dict[str, Any] = {}
    for rows in SIZES:
        if largest is not None and rows > largest:
            break
        size = rows // FIELDS
        tables = {name: _Table(rows, name) for name in ("adam", "lazy_adam")}
        touched = []
        for i in range(steps + 2):
            share = torch.rand(BATCH, FIELDS, generator=generator)
            ids = (size**share - 1).long() + torch.arange(FIELDS) * size  # rank ~ size^u
            gradient = torch.randn(BATCH * FIELDS, DIM, generator=generator)
            touched.append(len(ids.unique()))
            order = list(tables.values())
            for table in order if i % 2 == 0 else reversed(order):
                table.step(ids.flatten(), gradient)
        adam, lazy = (table.seconds[2:] for table in tables.values())  # the first steps warm up
        result[f"{rows:,} rows"] = {
            "rows touched by a batch": statistics.median(touched),
            "adam, milliseconds": 1000 * statistics.median(adam),
            "lazy_adam, milliseconds": 1000 * statistics.median(lazy),
            "lazy_adam, times adam": statistics.median(
                b / a for a, b in zip(adam, lazy, strict=True)
            ),
        }
    return result
