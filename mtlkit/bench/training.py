"""Training speed: ``fit`` against an ordinary PyTorch loop on the same model, data and seeds.

The workload: 16 categorical fields with 207,000 ids in all, 8 dense columns, two labels with real
signal, MMoE with 4 experts of 128-64 and towers of 32, batches of 2048, Adam, one epoch.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mtlkit.data.table import Table
from mtlkit.metrics import auc
from mtlkit.models import MMoE
from mtlkit.schema import Categorical, Dense, Schema, Task
from mtlkit.train.device import autocast, bfloat16_gain, has_fast_bfloat16
from mtlkit.train.evaluation import predict
from mtlkit.train.loop import fit
from mtlkit.train.randomness import seeded

SIZES = (
    100_000, 60_000, 30_000, 10_000, 5_000, 1_000, 400, 200, 100, 100, 50, 50, 40, 30, 20, 10,
)  # fmt: skip
DENSE, BATCH, RATE, DIM = 8, 2048, 1e-3, 16
EXPERTS, HIDDEN, TOWER = 4, (128, 64), 32
TASKS = ("click", "purchase")


def make_data(rows: int, seed: int = 0) -> Table:
    """Rows whose two labels follow from the ids, some far more frequent, and the dense columns."""
    generator = torch.Generator().manual_seed(seed)
    world = torch.Generator().manual_seed(1)  # the same effects for every seed of the rows
    ids, score = [], torch.zeros(rows, 2)
    for size in SIZES:
        # rank ~ size^u: the density of ranks falls like 1 / rank
        u = torch.rand(rows, generator=generator)
        ids.append((size**u - 1).long().clamp(0, size - 1))
        effect = torch.randn(size, 2, generator=world) * 0.45
        effect[:, 1] = 0.5 * effect[:, 0] + 0.87 * effect[:, 1]  # related tasks
        score += effect[ids[-1]]
    dense = torch.randn(rows, DENSE, generator=generator)
    score += dense @ (torch.randn(DENSE, 2, generator=world) * 0.3)
    score[:, 0] += 0.7 * dense[:, 0] * dense[:, 1]
    labels = torch.rand(rows, 2, generator=generator) < (score - torch.tensor([1.0, 2.0])).sigmoid()
    schema = Schema(
        tuple(Task(name) for name in TASKS),
        tuple(Categorical(f"field {i}", size) for i, size in enumerate(SIZES)),
        (Dense("features", DENSE),),
    )
    return Table(
        schema,
        torch.stack(ids, dim=1),
        dense,
        {},
        labels.float(),
        torch.ones(rows, 2, dtype=torch.bool),
        torch.zeros(rows, dtype=torch.int64),
        check=False,
    )


class PlainMMoE(nn.Module):
    """MMoE as one writes it first: an embedding a field, a loop over experts, a gate a task."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, DIM) for size in SIZES)
        width = len(SIZES) * DIM + DENSE
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, HIDDEN[0]), nn.ReLU(), nn.Linear(HIDDEN[0], HIDDEN[1]), nn.ReLU()
            )
            for _ in range(EXPERTS)
        )
        self.gates = nn.ModuleList(nn.Linear(width, EXPERTS, bias=False) for _ in TASKS)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(HIDDEN[1], TOWER), nn.ReLU(), nn.Linear(TOWER, 1))
            for _ in TASKS
        )
        for module in self.modules():  # the same initial sizes as in mtlkit
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.01)
            elif isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):  # a gate
                nn.init.normal_(module.weight, std=0.01)

    def forward(self, categorical: Tensor, dense: Tensor) -> Tensor:
        fields = [e(categorical[:, i]) for i, e in enumerate(self.embeddings)]
        x = torch.cat([*fields, dense], dim=1)  # (batch, width)
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)  # (batch, expert, 64)
        logits = []
        for gate, tower in zip(self.gates, self.towers, strict=True):
            weights = gate(x).softmax(dim=1).unsqueeze(2)  # (batch, expert, 1)
            logits.append(tower((weights * experts).sum(dim=1)))
        return torch.cat(logits, dim=1)  # (batch, task)


def train_plain(train: Table, validation: Table, seed: int) -> tuple[float, list[float]]:
    """Seconds of one epoch of the ordinary loop, and the validation AUC of each task."""
    with seeded(seed):
        model = PlainMMoE()
        dataset = TensorDataset(train.categorical, train.dense, train.labels)
        loader = DataLoader(dataset, batch_size=BATCH, shuffle=True)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        loss_function = nn.BCEWithLogitsLoss()
        start = time.perf_counter()
        for categorical, dense, labels in loader:
            logits = model(categorical, dense)
            loss = sum(loss_function(logits[:, k], labels[:, k]) for k in range(len(TASKS)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
    with torch.no_grad():
        scores = torch.cat(
            [
                model(c, d)
                for c, d in zip(
                    validation.categorical.split(8192), validation.dense.split(8192), strict=True
                )
            ]
        ).numpy()
    labels = validation.labels.numpy()
    return seconds, [auc(labels[:, k], scores[:, k]) for k in range(len(TASKS))]


def train_ours(
    train: Table, validation: Table, seed: int, *, optimizer: str, precision: str
) -> tuple[float, list[float]]:
    """Seconds of one epoch of ``fit``, and the validation AUC of each task."""
    with seeded(seed):
        model = MMoE(
            train.schema, embedding_dim=DIM, experts=EXPERTS, hidden=HIDDEN, tower=(TOWER,)
        )
    history = fit(
        model, train, epochs=1, batch_size=BATCH, learning_rate=RATE, schedule="constant",
        row_prior=None, seed=seed, device="cpu", progress=False, optimizer=optimizer,
        precision=precision,
    )  # fmt: skip
    predictions = predict(model, validation)
    labels = validation.labels.numpy()
    return history.seconds, [auc(labels[:, k], predictions[name]) for k, name in enumerate(TASKS)]


def train_bare(
    train: Table, validation: Table, seed: int, *, precision: str
) -> tuple[float, list[float]]:
    """The same of mtlkit's model in a loop of six lines: what ``fit`` adds is the difference."""
    with seeded(seed):
        model = MMoE(
            train.schema, embedding_dim=DIM, experts=EXPERTS, hidden=HIDDEN, tower=(TOWER,)
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    forward_block = autocast(precision, torch.device("cpu"))
    start = time.perf_counter()
    for batch in train.batches(BATCH, shuffle=True, seed=seed):
        optimizer.zero_grad()
        with forward_block():
            logits = model(batch)
        model.losses(logits, batch).sum().backward()
        optimizer.step()
    seconds = time.perf_counter() - start
    predictions = predict(model, validation)
    labels = validation.labels.numpy()
    return seconds, [auc(labels[:, k], predictions[name]) for k, name in enumerate(TASKS)]


def gemm_rate(seconds: float = 0.5) -> float:
    """Floating-point operations a second of float32 matrix products, 1024 x 1024."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


def operations_per_sample() -> int:
    """Floating-point operations of the matrix products for one row, forward and backward."""
    width = len(SIZES) * DIM + DENSE
    expert = width * HIDDEN[0] + HIDDEN[0] * HIDDEN[1]
    task = width * EXPERTS + HIDDEN[1] * TOWER + TOWER
    return 3 * 2 * (EXPERTS * expert + len(TASKS) * task)


def measure_training(rows: int, rounds: int, *, bf16: bool = False) -> dict[str, Any]:
    """Interleaved rounds of every program; medians of samples a second, mean AUC, ratios.

    bfloat16 is measured where "auto" would choose it, or with ``bf16``.
    """
    train, validation = make_data(rows, seed=0), make_data(max(rows // 4, 1000), seed=2)
    programs: dict[str, Callable[[int], tuple[float, list[float]]]] = {
        "plain loop": partial(train_plain, train, validation),
    }
    fast = has_fast_bfloat16(torch.device("cpu"))
    precisions = ("fp32", "bf16") if fast or bf16 else ("fp32",)
    for precision in precisions:
        programs[f"bare loop, {precision}"] = partial(
            train_bare, train, validation, precision=precision
        )
    for optimizer in ("adam", "lazy_adam"):
        for precision in precisions:
            programs[f"fit, {optimizer}, {precision}"] = partial(
                train_ours, train, validation, optimizer=optimizer, precision=precision
            )
    speed: dict[str, list[float]] = {name: [] for name in programs}
    quality: dict[str, list[list[float]]] = {name: [] for name in programs}
    for seed in range(rounds):
        for name, program in programs.items():
            gc.collect()
            seconds, scores = program(seed)
            speed[name].append(rows / seconds)
            quality[name].append(scores)
    ceiling = gemm_rate() / operations_per_sample()
    plain = speed["plain loop"]
    result: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "fast bfloat16": has_fast_bfloat16(torch.device("cpu")),
            "a layer in bfloat16, times as fast": bfloat16_gain(),
            "torch": torch.__version__,
            "float32 products, GFLOP/s": ceiling * operations_per_sample() / 1e9,
            "float32 ceiling, samples/s": ceiling,
        },
        "rows": rows,
        "rounds": rounds,
    }
    for name in programs:
        result[name] = {
            "samples/s": statistics.median(speed[name]),
            "times plain loop": statistics.median(
                a / b for a, b in zip(speed[name], plain, strict=True)
            ),
            "share of float32 ceiling": statistics.median(speed[name]) / ceiling,
            **{
                f"AUC {task}": statistics.mean(scores[k] for scores in quality[name])
                for k, task in enumerate(TASKS)
            },
        }
    return result
