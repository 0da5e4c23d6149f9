"""Sessions as a table and as a frame; how they come about is told in `session_process.py`."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Sequence, Task
from mtlkit.shop.entities import AGE_BANDS, CATEGORIES, DEVICES, REGIONS
from mtlkit.shop.session_gaps import CLOCK_IDS
from mtlkit.shop.session_process import INTENTS, LONGEST, TOKENS, SessionLog
from mtlkit.shop.world import World

TASKS = (
    Task("next_category", "multiclass", classes=len(CATEGORIES)),
    Task("intent", "multiclass", classes=len(INTENTS)),
    Task("purchase", "binary"),
)


def ragged(values: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Padded (row, step) as values (n,) and offsets (row + 1,)."""
    kept = np.arange(values.shape[1]) < length[:, None]
    return values[kept], np.concatenate([[0], np.cumsum(length)])


def sequence_ids(c: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{sequence: (padded ids (row, step), length (row,))} of a log's columns."""
    found = {
        "history": (c["history"] + 1, c["length"]),
        "history_category": (c["history_category"] + 1, c["length"]),
        "query": (c["query"] + 1, c["query_length"]),
    }
    if "gap" in c:
        found["history_gap"] = (c["gap"][:, :LONGEST] + 2, c["length"])
    return found


def session_schema(world: World) -> Schema:
    """Schema of the sessions; fields shared with the impressions have the same ids."""
    dials = world.dials
    clock: tuple[Sequence, ...] = ()
    beside = "history" if dials.gap_tells else None  # item, category and gap are one event
    if dials.gap_tells:
        clock = (Sequence("history_gap", CLOCK_IDS + 1, max_length=LONGEST, beside=beside),)
    sizes = {
        "user": dials.users, "item": dials.items, "category": len(CATEGORIES),
        "age_band": len(AGE_BANDS), "favourite_category": len(CATEGORIES),
        "region": len(REGIONS), "device": len(DEVICES), "hour": 24, "weekday": 7,
        "scenario": dials.scenarios,
    }  # fmt: skip
    return Schema(
        TASKS,
        categorical=tuple(Categorical(name, size + 1) for name, size in sizes.items()),
        dense=(Dense("length"), Dense("user_visits"), Dense("user_clicks"), Dense("user_buys")),
        sequences=(
            Sequence("history", shares="item", max_length=LONGEST),
            Sequence("history_category", shares="category", max_length=LONGEST, beside=beside),
            Sequence("query", size=len(TOKENS) + 1, max_length=4),
            *clock,
        ),
        scenarios=tuple(Scenario(name) for name in world.scenarios),
    )


def sessions_table(log: SessionLog, rows: int, start: int = 0) -> Table:
    """The sessions as a table; see `Market.sessions`."""
    world, c = log.world, log.columns(start, rows)
    users, user = world.users, c["user"]
    at = np.arange(rows)
    ids = [
        user, c["history"][at, c["length"] - 1], c["history_category"][at, c["length"] - 1],
        users["age_band"][user], users["favourite_category"][user], c["region"], c["device"],
        c["hour"], c["day"] % 7, c["scenario"],
    ]  # fmt: skip
    known = ~log.newcomers.is_new[user]  # of a newcomer the shop has no past
    dense = [
        np.log(c["length"]) - 1.7, (np.log1p(users["past_visits"][user] * known) - 2.7) / 0.8,
        users["past_level"][user] * known, users["past_buys"][user] * known,
    ]  # fmt: skip
    sequences = {name: ragged(*padded) for name, padded in sequence_ids(c).items()}
    labels = np.stack([c[task.name] for task in TASKS], axis=1).astype(np.float32)
    keys = {"user": user, "session": c["session"], "time": c["day"] * 24 + c["hour"]}
    return Table(
        session_schema(world),
        torch.from_numpy(np.stack(ids, axis=1).astype(np.int64) + 1),
        torch.from_numpy(np.round(np.stack(dense, axis=1), 4).astype(np.float32)),
        {n: (torch.from_numpy(v), torch.from_numpy(o)) for n, (v, o) in sequences.items()},
        torch.from_numpy(labels),
        torch.ones(labels.shape, dtype=torch.bool),
        torch.from_numpy(c["scenario"]),
        truth={task.name: torch.from_numpy(c[f"true_{task.name}"]) for task in TASKS},
        keys={n: torch.from_numpy(v) for n, v in (keys | {"day": c["day"]}).items()},
        row_id=torch.arange(start, start + rows),
    )


def sessions_frame(log: SessionLog, rows: int, start: int = 0) -> pl.DataFrame:
    """The sessions in words: lists of items, categories and query words."""
    world, c = log.world, log.columns(start, rows)
    user = c["user"]

    def lists(words: tuple[str, ...] | None, values: np.ndarray, length: np.ndarray) -> pl.Series:
        kind = pl.Float64 if values.dtype.kind == "f" else pl.Int64
        rows_ = [row[:n].tolist() for row, n in zip(values, length)]
        if words is not None:
            rows_ = [[words[index] for index in row] for row in rows_]
        return pl.Series(rows_, dtype=pl.List(kind if words is None else pl.String))

    def names(words: list[str] | tuple[str, ...], index: np.ndarray) -> pl.Series:
        return pl.Series(words, dtype=pl.String)[index]

    clock = {}
    if world.dials.gap_tells:
        clock = {"history_gap": lists(None, c["minutes"], c["length"])}
    return pl.DataFrame(
        {
            "session": c["session"],
            "day": c["day"],
            "hour": c["hour"],
            "scenario": names(world.scenarios, c["scenario"]),
            "user": user,
            "age_band": names(AGE_BANDS, world.users["age_band"][user]),
            "region": names(REGIONS, c["region"]),
            "device": names(DEVICES, c["device"]),
            "history": lists(None, c["history"], c["length"]),
            "history_category": lists(CATEGORIES, c["history_category"], c["length"]),
            "query": lists(TOKENS, c["query"], c["query_length"]),
            **clock,
            "next_category": names(CATEGORIES, c["next_category"]),
            "intent": names(INTENTS, c["intent"]),
            "purchase": c["purchase"].astype(np.int8),
        }
    )
