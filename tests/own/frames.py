"""Frames of one's own: every kind of column and task, with gaps, drawn from a seed."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from mtlkit.schema import Task

TASKS = (
    Task("click"), Task("buy", given="click"), Task("kind", "multiclass", classes=3),
    Task("dwell", "regression", given="click", log1p=True), Task("units", "count"),
)  # fmt: skip
OPTIONS = {"scenario": "place", "keys": ["user"], "log1p": ["price"], "categorical": ["shop"]}


def raw(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Random rows; labels of ``buy`` and ``dwell`` also stand where nobody clicked."""
    rng = np.random.default_rng(seed)

    def gaps(values, share=0.1):
        return [None if gap else value for gap, value in zip(rng.random(rows) < share, values)]

    words = rng.integers(0, 4, rows)
    return pl.DataFrame({
        "user": rng.integers(0, max(rows // 5, 3), rows),
        "day": [date(2026, 1, 1) + timedelta(int(d)) for d in rng.integers(0, 30, rows)],
        "place": gaps(rng.choice(["search", "feed", "ads"], rows).tolist()),
        "brand": gaps(rng.choice(list("abcdef"), rows).tolist()),
        "shop": rng.integers(10, 19, rows),
        "new": rng.random(rows) < 0.5,
        "price": gaps(rng.lognormal(size=rows).tolist()),
        "age": rng.integers(18, 90, rows),
        "words": [rng.choice(["x", "y", "z"], n).tolist() for n in words],
        "click": gaps(rng.integers(0, 2, rows).tolist()),
        "buy": rng.integers(0, 2, rows),
        "kind": rng.integers(0, 3, rows),
        "dwell": rng.lognormal(size=rows),
        "units": rng.poisson(2.0, rows),
    })  # fmt: skip


def dense_only(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Two binary tasks and amounts, for the network that reads nothing else."""
    rng = np.random.default_rng(seed)
    columns = {f"x{i}": rng.normal(size=rows) for i in range(5)}
    return pl.DataFrame(columns | {name: rng.integers(0, 2, rows) for name in ("click", "buy")})
