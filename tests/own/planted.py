"""Random frames of many shapes, and faults of every kind that the audit looks for, weak to strong.

``python tests/own/planted.py`` prints how often each is found, and how often a clean frame alarms.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from mtlkit import Task, prepare
from mtlkit.own import FINDERS
from mtlkit.own.find_labels import strengths
from mtlkit.own.finding import Facts
from mtlkit.own.quick import quick_predictions
from mtlkit.schema import SchemaError

TASKS = (
    Task("click"), Task("buy", given="click"), Task("kind", "multiclass", classes=3),
    Task("dwell", "regression"), Task("spent", "regression", log1p=True), Task("units", "count"),
)  # fmt: skip

# shape -> rows, amounts, columns of ids, scenarios, rate of clicks, share of the honest signal
SHAPES: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "small": {"rows": 250},
    "tiny": {"rows": 80, "amounts": 3, "ids": 1},
    "large": {"rows": 12_000},
    "wide": {"rows": 900, "amounts": 60, "ids": 10},
    "two columns": {"amounts": 1, "ids": 1},
    "rare positives": {"rows": 6000, "rate": 0.01},
    "many scenarios": {"places": 40},
    "one scenario": {"places": 1},
    "unequal scenarios": {"places": 6, "gap": 0.35},
    "rare, small": {"rows": 1200, "rate": 0.02},
    "rare, many scenarios": {"rows": 5000, "rate": 0.03, "places": 25},
    "gaps": {"missing": 0.4},
    "coarse": {"amounts": 0, "ids": 3},
    "nothing to tell": {"signal": 0.0},
}


def clean(
    seed: int,
    *,
    rows: int = 1500,
    amounts: int = 5,
    ids: int = 3,
    places: int = 3,
    rate: float = 0.3,
    signal: float = 0.8,
    strong: float = 0.0,
    gap: float = 0.0,
    missing: float = 0.0,
) -> pl.DataFrame:
    """A frame without a fault: every label follows a little from several columns, days in order."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, amounts))
    levels = [int(rng.integers(2, 13)) for _ in range(ids)]
    chosen = [rng.integers(0, n, rows) for n in levels]
    effects = [rng.normal(size=n)[c] for n, c in zip(levels, chosen)]
    z = np.sum([*x.T[: min(amounts, 6)], *effects], axis=0)
    z = signal * z / max(float(z.std()), 1e-9)
    if strong:
        z = z + strong * x[:, 0]
    place = rng.integers(0, places, rows)
    level = z + gap * rng.normal(size=places)[place]

    def happens(logit: np.ndarray, share: float) -> np.ndarray:
        chance = 1 / (1 + np.exp(-logit - np.log(share / (1 - share))))
        return (rng.random(rows) < chance).astype(int)

    click = happens(level, rate)
    columns: dict[str, Any] = {f"x{i}": np.exp(v) if i % 2 else v for i, v in enumerate(x.T)}
    columns |= {f"c{i}": [f"v{k}" for k in c] for i, c in enumerate(chosen)}
    for name in list(columns) if missing else ():
        empty = rng.random(rows) < missing
        columns[name] = [None if e else v for e, v in zip(empty, columns[name])]
    return pl.DataFrame({
        **columns,
        "user": [f"u{v}" for v in rng.integers(0, max(2, rows // 30), rows)],
        "place": [f"p{v}" for v in place],
        "day": np.sort(rng.integers(0, 60, rows)),
        "click": click, "buy": click * happens(z, 0.4),
        "kind": np.digitize(z + rng.logistic(size=rows), [-1, 1]),
        "dwell": z + 1.5 * rng.normal(size=rows),
        "spent": np.exp(0.7 * z + rng.normal(size=rows)),
        "units": rng.poisson(1.5 * np.exp(0.3 * z)),
    })  # fmt: skip


def ready(frame: pl.DataFrame, cut: str = "rows", **options: Any) -> Any:
    """The frame prepared, cut by "rows" or by "time"; users are no input but where they are ids."""
    by = {"time": "day"} if cut == "time" else {"drop": ["day"]}
    return prepare(frame, options.pop("tasks", TASKS), scenario="place", **by, **options)


def found(data: Any, kind: str) -> list[Any]:
    """What one finder finds, without the work of the others."""
    rows, predictions = np.arange(len(data.validation)), {}
    if kind == "gap between scenarios":
        for task in data.schema.tasks:
            told = quick_predictions(task, data.train, data.validation)
            predictions |= {} if told is None else {task.name: told}
    alone = strengths(data.split) if kind == "tells a label" else pl.DataFrame()
    facts = Facts(
        data.split, data.encoder, data.frame, data.cut, data.unmet, data.roles, alone, rows,
        predictions,
    )  # fmt: skip
    return list(FINDERS[kind](facts))


# kind -> strength -> (cut, column, task, what plants it: (frame, rng) -> frame, options of prepare)
Plant = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


def column(name: str, values: Callable[[pl.DataFrame, np.random.Generator], Any]) -> Plant:
    return lambda frame, rng: frame.with_columns(pl.Series(name, values(frame, rng)))


def noisy(task: str, noise: float) -> Plant:
    """A column that is the label, its logarithm where it is skewed, and noise in deviations."""

    def values(frame: pl.DataFrame, rng: np.random.Generator) -> np.ndarray:
        y = frame[task].cast(pl.Float64).to_numpy()
        y = np.log1p(y) if task in ("spent", "units") else y
        return y + noise * y.std() * rng.normal(size=len(y))

    return column("leak", values)


def later(name: str, share: float) -> Plant:
    """New values of a column in this share of the rows of the last fifth."""

    def values(frame: pl.DataFrame, rng: np.random.Generator) -> list[Any]:
        late = np.arange(len(frame)) >= 0.78 * len(frame)
        new = late & (rng.random(len(frame)) < share)
        return [f"new{i % 7}" if n else v for i, (n, v) in enumerate(zip(new, frame[name]))]

    return column(name, values)


def contrary(share: float) -> Plant:
    def values(frame: pl.DataFrame, rng: np.random.Generator) -> np.ndarray:
        out = frame["buy"].to_numpy().copy()
        below = np.flatnonzero(frame["click"].to_numpy() == 0)
        out[rng.permutation(below)[: max(1, int(share * len(frame)))]] = 1
        return out

    return column("buy", values)


def copies(share: float) -> Plant:
    def plant(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        some = rng.permutation(len(frame))[: max(1, int(share * len(frame)))]
        both = pl.concat([frame, frame[some.tolist()]])
        return both[rng.permutation(len(both)).tolist()]

    return plant


def sessions(share: float) -> Plant:
    """A session of one row each, but for this share of rows, which are in sessions of three."""

    def values(frame: pl.DataFrame, rng: np.random.Generator) -> np.ndarray:
        row = np.arange(len(frame))
        several = rng.random(len(frame)) < share
        return np.where(several[row // 3], row // 3, 10**6 + row)

    return column("session", values)


def gap(rates: tuple[float, float, float]) -> Plant:
    def values(frame: pl.DataFrame, rng: np.random.Generator) -> np.ndarray:
        number = frame["place"].str.slice(1).cast(pl.Int64).to_numpy()
        return (rng.random(len(frame)) < np.take(rates, number % 3)).astype(int)

    return lambda frame, rng: column("click", values)(frame, rng).with_columns(
        buy=pl.col("buy") * pl.col("click")
    )


def no_label(task: str, part: str) -> Plant:
    first, last = {"training": (0.0, 0.7), "test": (0.75, 1.0)}[part]

    def values(frame: pl.DataFrame, rng: np.random.Generator) -> list[Any]:
        n = len(frame)
        return [None if first * n <= i < last * n else v for i, v in enumerate(frame[task])]

    return column(task, values)


Case = tuple[str, str | None, str | None, Plant, dict[str, Any]]
TELLS, GROUPS = "tells a label", "groups across the cut"
PLANTED: dict[str, dict[str, Case]] = {
    TELLS: {
        f"{task}, noise {noise}": ("rows", "leak", task, noisy(task, noise), {})
        for task, noises in {
            "click": (1.8, 1.5, 0.9, 0.3), "buy": (1.5, 0.9, 0.3), "kind": (0.9, 0.5, 0.3),
            "dwell": (1.1, 0.9, 0.3), "spent": (1.1, 0.9, 0.3), "units": (0.9, 0.6, 0.3),
        }.items() for noise in noises
    },
    "label below an unmet parent": {
        f"{share:g} of rows": ("rows", None, "buy", contrary(share), {})
        for share in (0.0, 0.01, 0.1)
    },
    "duplicates across the cut": {
        f"{share:g} of rows": ("rows", None, None, copies(share), {}) for share in (0.01, 0.03, 0.2)
    },
    GROUPS: {
        f"{share:g} of rows": (cut, "session", None, sessions(share), {"keys": ["session"]})
        for cut in ("rows",) for share in (0.02, 0.2, 1.0)
    },
    "unknown ids": {
        f"{name}, {share:g} of later rows": ("time", name, None, later(name, share), {})
        for name in ("c0", "place") for share in (0.08, 0.2, 1.0)
    },
    "constant column": {
        name: ("rows", "one", None, column("one", values), {})
        for name, values in {
            "amounts": lambda f, r: [2.5] * len(f), "text": lambda f, r: ["a"] * len(f),
            "gaps": lambda f, r: [None] * len(f), "lists": lambda f, r: [["a", "b"]] * len(f),
        }.items()
    },
    "ids read as amounts": {
        name: ("rows", name, None, column(name, lambda f, r: r.integers(1, 90, len(f))), {})
        for name in ("user_id", "productId", "zip", "sku", "item", "Campaign", "shop code", "ID")
    },
    "nothing to learn": {
        f"no {task} in {part}": ("time", None, task, no_label(task, part), {})
        for task, part in (("kind", "training"), ("dwell", "test"), ("units", "training"))
    },
    "loss scales apart": {
        f"units times {times}": ("rows", None, "units", column(
            "units", lambda f, r, times=times: f["units"].to_numpy() * times), {})
        for times in (15, 40, 400)
    },
    "gap between scenarios": {
        f"rates {' '.join(map(str, rates))}": ("rows", "place", "click", gap(rates), {})
        for rates in ((0.65, 0.5, 0.35), (0.8, 0.5, 0.2), (0.9, 0.5, 0.1))
    },
}  # fmt: skip


def is_found(kind: str, strength: str, seed: int, **shape: Any) -> bool:
    """Whether the fault is named with its own column and task."""
    cut, where, task, plant, options = PLANTED[kind][strength]
    frame = plant(clean(seed, **shape), np.random.default_rng(seed))
    named = [(f.column, f.task) for f in found(ready(frame, cut, **options), kind)]
    return (where, task) in named


def alarms(shape: str, seed: int, cut: str) -> list[Any] | None:
    """What the audit finds in a clean frame; that a part of few rows has one label alone is true.

    None where luck leaves too few rows to prepare.
    """
    try:
        data = ready(clean(seed, **SHAPES[shape]), cut)
    except SchemaError:
        return None
    found_ = []
    for finding in data.audit().findings:
        if finding.kind == "nothing to learn":
            seen = [t.label(finding.task)[t.mask(finding.task)].tolist() for t in data.split]
            if any(len(set(labels)) < 2 for labels in seen):
                continue
        found_.append(finding)
    return found_


def rates(frames: int) -> Iterator[tuple[str, str, float]]:
    for kind, strengths_ in PLANTED.items():
        for strength in strengths_:
            hits = [is_found(kind, strength, seed) for seed in range(frames)]
            yield kind, strength, float(np.mean(hits))


if __name__ == "__main__":
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    if "clean" not in sys.argv:
        for kind, strength, share in rates(frames):
            print(f"{share:5.2f} found  {kind}: {strength}", flush=True)
    for shape in SHAPES:
        for cut in ("rows", "time"):
            audits = [alarms(shape, 100 + seed, cut) for seed in range(frames)]
            some = [f"{f.kind} ({f.column}, {f.task}, {f.value:.3g})"
                    for a in audits for f in a or () if f.level != "note"]  # fmt: skip
            print(f"{np.mean([bool(a) for a in audits]):5.2f} alarmed  {shape}, {cut}",
                  *sorted(set(some))[:5], sep="  ", flush=True)  # fmt: skip
