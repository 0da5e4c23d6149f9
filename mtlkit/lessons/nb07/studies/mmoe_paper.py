"""The synthetic experiment of the MMoE paper (Ma et al. 2018, KDD, section 4), many seeds at once.

Two regression tasks on x of d normal numbers: y_k = w_k x + sum over i of sin(a_i w_k x + b_i) +
noise of variance .01, with w_1 = c u_1, w_2 = c (p u_1 + sqrt(1 - p^2) u_2), and u_1, u_2
orthogonal and of length 1. Every seed has tasks of its own, new u, a and b, the same for all
networks, and new weights. The paper's three networks see the same rows, and so do the other four;
between the two groups rows differ from seed 20 on. The paper does not say c, m, a, b and the size
of a batch. Here they are c = 1 and m = 10 with a, b normal, which are the values of PLE's re-run
(Tang et al. 2020, RecSys, section 5.3), in 100 dimensions as in the MMoE paper; and, as a second
setting, PLE's own 512.

All networks have as many parameters as MMoE with 8 experts of 16 units, gates counted. (The paper
gives the shared bottom 113 units, which leaves the gates out.) Everyone's rate is the best of the
paper's three by the mean loss on seeds of their own; its loss on fresh rows is what counts.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from mtlkit.comparison.fingerprint import Fingerprints
from mtlkit.course.learner.stored_tables import short_hash
from mtlkit.data.batch import Batch
from mtlkit.models import (
    CGC,
    PLE,
    AdaTT,
    MMoE,
    OMoE,
    Replicas,
    SharedBottom,
    SingleTask,
    flops_per_row,
    width_for,
)
from mtlkit.schema import Dense, Schema, Task
from mtlkit.train import seeded

USES = ("SharedBottom", "OMoE", "MMoE", "CGC", "PLE", "AdaTT", "SingleTask")
SIZES = {
    "correlations": ((0.5, 1.0), (0.0, 0.5, 0.9, 1.0)),
    "steps": (40, 5_000),
    "every": (20, 250),  # steps between two measurements
    "batch_size": (8, 32),
    "test_rows": (64, 1_000),
    "seeds": (4, 200),  # of the paper's three networks
    "seeds_of_others": (2, 30),
    "seeds_of_variants": (2, 20),
    "search_seeds": (2, 6),
    "together": (2, 20),  # seeds trained at once
    "rates": ((0.001, 0.01), (1e-4, 1e-3, 1e-2)),
    "variants": (("c 0.3",), ("c 0.3", "c 3", "m 3", "m 30", "d 512")),
}
PAPERS = ["shared bottom", "OMoE", "MMoE"]
OTHERS = ["CGC", "PLE", "AdaTT", "networks apart"]
OF_VARIANTS = ["shared bottom", "MMoE", "PLE"]
BASE = {"d": 100, "c": 1.0, "m": 10}
SEARCH = 10_000  # the first seed of the search


def setting(variant: str) -> dict[str, Any]:
    """The values of "c 0.3": the base with one of them changed."""
    if variant == "base":
        return dict(BASE)
    name, value = variant.split()
    return {**BASE, name: type(BASE[name])(value)}


def schema_of(d: int) -> Schema:
    """Two regressions on d numbers."""
    tasks = (Task("first", "regression"), Task("second", "regression"))
    return Schema(tasks, dense=(Dense("x", d),))


KINDS = {
    "shared bottom": partial(SharedBottom),
    "OMoE": partial(OMoE, experts=8),
    "MMoE": partial(MMoE, experts=8),
    "CGC": partial(CGC, own_experts=3, shared_experts=2),
    "PLE": partial(PLE, levels=2, own_experts=2, shared_experts=2),
    "AdaTT": partial(AdaTT, levels=2, experts=2, shared_modules=0),  # AdaTT-sp
    "networks apart": partial(SingleTask),
}


def networks(d: int) -> dict[str, Any]:
    """{name: function that makes it}, all as large as MMoE with experts of 16 units."""
    schema = schema_of(d)
    made = {name: partial(_make, kind=kind, schema=schema) for name, kind in KINDS.items()}
    size = made["MMoE"](16).parameter_count()["total"]
    return {name: partial(make, width_for(make, size)) for name, make in made.items()}


def _make(width: int, kind: Any, schema: Schema) -> Any:
    return kind(schema, embedding_dim=1, hidden=(width,), tower=(8,))


def luck(what: str, seed: int) -> torch.Generator:
    """Random numbers of a seed that those of its weights say nothing about."""
    state = np.random.SeedSequence([*what.encode("utf-8"), seed]).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


class Tasks:
    """The tasks of several seeds, and rows of them: x (seed, row, d), y (seed, row, 2)."""

    def __init__(self, seeds: range, p: float, d: int, c: float, m: int) -> None:
        drawn = [self._draw(seed, p, d, c, m) for seed in seeds]
        self.w, self.a, self.b = (torch.stack(part) for part in zip(*drawn, strict=True))
        self.d = d

    @staticmethod
    def _draw(seed: int, p: float, d: int, c: float, m: int) -> tuple[torch.Tensor, ...]:
        generator = luck("tasks", seed)
        u, _ = torch.linalg.qr(torch.randn(d, 2, generator=generator, dtype=torch.float64))
        second = p * u[:, 0] + (1 - p * p) ** 0.5 * u[:, 1]
        w = c * torch.stack([u[:, 0], second], dim=1)  # (d, 2)
        a, b = torch.randn(2, m, generator=generator).unbind(0)
        return w.float(), a, b

    def rows(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """So many fresh rows of every seed."""
        x = torch.randn(len(self.w), count, self.d, generator=generator)
        z = torch.bmm(x, self.w)  # (seed, row, 2)
        a, b = self.a[:, None, None, :], self.b[:, None, None, :]
        noise = 0.1 * torch.randn(z.shape, generator=generator)
        return x, z + torch.sin(a * z.unsqueeze(-1) + b).sum(-1) + noise


def as_batch(x: torch.Tensor, y: torch.Tensor) -> Batch:
    """Rows of all seeds, one seed below the other."""
    x, y = x.flatten(0, 1), y.flatten(0, 1)
    rows = len(x)
    return Batch(
        categorical=torch.zeros(rows, 0, dtype=torch.int64), dense=x, sequences={}, labels=y,
        observed=torch.ones(rows, 2, dtype=torch.bool),
        scenario=torch.zeros(rows, dtype=torch.int64),
    )  # fmt: skip


def train(
    seeds: range, p: float, values: dict[str, Any], rates: dict[str, list[float]], size: Any
) -> pl.DataFrame:
    """Losses on fresh rows while the networks of these seeds learn, one row a measurement.

    ``rates`` {network: its rates}; all networks and rates see the same rows.
    """
    torch.set_num_threads(1)
    tasks = Tasks(seeds, p, **values)
    made = networks(values["d"])
    generator = luck("rows", seeds.start)
    test = as_batch(*tasks.rows(size.test_rows, generator))
    running = []
    for name, own in rates.items():
        for rate in own:
            models = []
            for seed in seeds:
                with seeded(seed):
                    models.append(made[name]())
            several = Replicas(models)
            weights = [w for w in several.parameters() if w.numel()]
            adam = torch.optim.Adam(weights, lr=rate, fused=True)
            running.append((name, rate, several, adam))
    found = []
    for step in range(size.steps + 1):
        if step % size.every == 0:
            for name, rate, several, _ in running:
                with torch.no_grad():
                    losses = several.losses(several(test), test)  # (seed, task)
                for seed, (first, second) in zip(seeds, losses.tolist(), strict=True):
                    found.append((name, rate, seed, step, first, second))
        if step == size.steps:
            break
        batch = as_batch(*tasks.rows(size.batch_size, generator))
        for _, _, several, adam in running:
            adam.zero_grad()
            several.losses(several(batch), batch).sum().backward()
            adam.step()
    columns = ["network", "rate", "seed", "step", "first", "second"]
    return pl.DataFrame(found, schema=columns, orient="row")


def stored(store: Path | None, name: str, make: Any) -> pl.DataFrame:
    """What ``make`` gives, kept as a file, so that a stopped study goes on."""
    if store is None:
        return make()
    path = store / f"{name}.parquet"
    if not path.is_file():
        store.mkdir(parents=True, exist_ok=True)
        partly = path.with_suffix(".part")
        make().write_parquet(partly)
        partly.rename(path)
    return pl.read_parquet(path)


def runs(
    variant: str,
    p: float,
    seeds: range,
    rates: dict[str, list[float]],
    size: Any,
    store: Path | None,
) -> pl.DataFrame:
    """``train`` for any number of seeds, so many at once."""
    parts, code = [], Fingerprints().of([train, Tasks])
    for start in range(seeds.start, seeds.stop, size.together):
        group = range(start, min(start + size.together, seeds.stop))
        what = json.dumps([variant, p, rates, vars(size), code], default=list)
        name = f"{variant} {p} {group.start}-{group.stop} {short_hash(what)}".replace(" ", "_")
        make = partial(train, group, p, setting(variant), rates, size)
        parts.append(stored(store, name, make))
    return pl.concat(parts).with_columns(
        pl.lit(variant).alias("setting"), pl.lit(p).alias("correlation")
    )


def search(variant: str, names: list[str], size: Any, store: Path | None) -> pl.DataFrame:
    """Every network's final loss at every rate, on seeds of the search: network, rate, loss."""
    seeds = range(SEARCH, SEARCH + size.search_seeds)
    rates = {name: list(size.rates) for name in names}
    found = [runs(variant, p, seeds, rates, size, store) for p in size.correlations[1::2]]
    final = pl.concat(found).filter(pl.col("step") == size.steps)
    return (
        final.group_by("setting", "network", "rate", maintain_order=True)
        .agg(loss=(pl.col("first") + pl.col("second")).mean() / 2)
    )  # fmt: skip


def best_rates(found: pl.DataFrame) -> dict[str, list[float]]:
    """{network: [the rate of the lowest loss]}."""
    best = found.sort("loss").group_by("network", maintain_order=True).first()
    return {name: [rate] for name, rate in best.select("network", "rate").iter_rows()}


def measure(variant: str, size: Any, store: Path | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Losses of all networks of a setting at their best rates, and the search for those."""
    base = variant == "base"
    plan = [(PAPERS, size.seeds), (OTHERS, size.seeds_of_others)]
    correlations = size.correlations
    if not base:
        plan, correlations = [(OF_VARIANTS, size.seeds_of_variants)], size.correlations[1::2]
    searched = search(variant, [n for names, _ in plan for n in names], size, store)
    rates, found = best_rates(searched), []
    for names, count in plan:
        own = {name: rates[name] for name in names}
        for p in correlations:
            found.append(runs(variant, p, range(count), own, size, store))
    return pl.concat(found), searched


def study(size: Any, store: Path | None) -> dict[str, pl.DataFrame]:
    """The experiment: {"curves", "finals", "rates", "sizes", "labels"}."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # quicker for layers as small as these
    parts = [measure(variant, size, store) for variant in ("base", *size.variants)]
    torch.set_num_threads(threads)
    every = pl.concat(losses for losses, _ in parts)
    place = ["setting", "correlation", "network"]
    curves = (
        every.filter(pl.col("setting") == "base")
        .with_columns(loss=(pl.col("first") + pl.col("second")) / 2)
        .group_by(*place[1:], "step", maintain_order=True)
        .agg(
            mean=pl.col("loss").mean(), median=pl.col("loss").median(),
            deviation=pl.col("loss").std(), seeds=pl.len(),
        )
    )  # fmt: skip
    finals = (
        every.filter(pl.col("step") == size.steps)
        .unpivot(["first", "second"], index=[*place, "rate", "seed"], variable_name="task",
                 value_name="loss")
        .with_columns(pl.format("seed {}", "seed"))
        .pivot(on="seed", index=[*place, "rate", "task"], values="loss", maintain_order=True)
    )  # fmt: skip
    return {
        "curves": curves, "finals": finals, "rates": pl.concat(found for _, found in parts),
        "sizes": sizes_of(size), "labels": labels(size),
    }  # fmt: skip


def sizes_of(size: Any) -> pl.DataFrame:
    """What every network is made of: d, network, width, parameters, operations a row."""
    found = []
    for d in sorted({setting(variant)["d"] for variant in ("base", *size.variants)}):
        row = as_batch(torch.zeros(1, 1, d), torch.zeros(1, 1, 2))
        for name, make in networks(d).items():
            model = make()
            count = model.parameter_count()["total"]
            found.append((d, name, make.args[0], count, flops_per_row(model, row)))
    columns = ["d", "network", "width", "parameters", "operations a row"]
    return pl.DataFrame(found, schema=columns, orient="row")


def labels(size: Any) -> pl.DataFrame:
    """What the dial does to the labels: their correlation and variance, means over seeds."""
    found = []
    for variant in ("base", *size.variants):
        for p in size.correlations:
            tasks = Tasks(range(size.seeds), p, **setting(variant))
            _, y = tasks.rows(size.test_rows, luck("labels", 0))
            pairs = [float(np.corrcoef(one.numpy().T)[0, 1]) for one in y]
            found.append((variant, p, float(np.mean(pairs)), float(y.var(1).mean())))
    columns = ["setting", "correlation", "of the labels", "variance"]
    return pl.DataFrame(found, schema=columns, orient="row")
