"""The table of content impressions: which columns a model may read, and how the log fills them.

Fields named as in the impression table hold the same ids: users, items, categories, styles.
"""

from __future__ import annotations

import numpy as np
import torch

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Task
from mtlkit.shop.content_log import ContentLog
from mtlkit.shop.contents import MOST
from mtlkit.shop.entities import CATEGORIES
from mtlkit.shop.impression_table import seen_labels, user_numbers
from mtlkit.shop.world import World

TASKS = (
    Task("open", "binary"),
    Task("finish", "binary", given="open"),
    Task("seconds", "regression", given="open", unit="seconds", log1p=True),
    Task("visit", "binary", given="open"),
)
ITEMS = ("item", *(f"item_{number}" for number in range(2, MOST + 1)))  # what it is about
DENSE = (
    "position", "length", "content_age", "content_opens", "content_rating", "user_visits",
    "user_clicks", "user_buys", "user_basket", "recency", "user_reads",
)  # fmt: skip
KEYS = ("user", "content", "session", "time", "day", "position")
TRUTH = (
    *(f"true_{task.name}" for task in TASKS),
    "true_seconds_log1p", "score_open", "score_visit", "true_visit_worth",
)  # fmt: skip


def content_schema(world: World) -> Schema:
    """Schema of the content impressions. Id 0 of a field is kept for the unknown, or for none."""
    dials = world.dials
    sizes = {
        "user": dials.users, "content": dials.contents, "kind": len(world.content_kinds),
        "subject": len(world.content_subjects), "category": len(CATEGORIES),
        "style": len(world.styles), **dict.fromkeys(ITEMS, dials.items),
        "age_band": len(world.age_bands), "favourite_category": len(CATEGORIES),
        "region": len(world.regions), "device": len(world.devices), "hour": 24, "weekday": 7,
        "scenario": dials.scenarios,
    }  # fmt: skip
    return Schema(
        TASKS,
        categorical=tuple(Categorical(name, size + 1) for name, size in sizes.items()),
        dense=tuple(Dense(name) for name in DENSE),
        scenarios=tuple(Scenario(name) for name in world.scenarios),
    )


def content_features(log: ContentLog, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a model may read, {name: (row,)}: ids as numbers from 0 (-1: none), then dense."""
    world, contents = log.world, log.world.contents
    user, content = columns["user"], columns["content"]
    age = contents["age_days"][content] + columns["day"]
    return {
        "user": user, "content": content, "kind": contents["kind"][content],
        "subject": contents["subject"][content], "category": contents["category"][content],
        "style": contents["style"][content],
        **dict(zip(ITEMS, contents["about"][content].T)),
        "age_band": world.users["age_band"][user],
        "favourite_category": world.users["favourite_category"][user],
        "region": columns["region"], "device": columns["device"], "hour": columns["hour"],
        "weekday": columns["day"] % 7, "scenario": columns["scenario"],
        "position": np.log1p(columns["position"]),
        "length": (np.log1p(contents["seconds"])[content] - 4.6) / 0.75,
        "content_age": np.log1p(age) - 4,
        "content_opens": contents["past_opens"][content],
        "content_rating": (contents["past_rating"][content] - 3.8) / 0.6,
        **user_numbers(world, user),
        "user_reads": log.taste.readers["past_reads"][user],
    }  # fmt: skip


def content_table(log: ContentLog, rows: int, start: int, chunk: int) -> Table:
    """Rows of the log as a table; see `Market.content_impressions`."""
    schema = content_schema(log.world)
    parts: dict[str, list[torch.Tensor]] = {}
    for begin in range(0, rows, chunk):
        columns = log.columns(start + begin, min(chunk, rows - begin))
        for name, value in _tensors(log, schema, columns).items():
            parts.setdefault(name, []).append(value)
    found = {name: torch.cat(part) for name, part in parts.items()}
    return Table(
        schema, found["ids"], found["dense"], {}, found["labels"], found["observed"],
        found["scenario"],
        truth={name.removeprefix("true_"): found[name] for name in TRUTH},
        keys={name: found[f"key {name}"] for name in KEYS},
        row_id=torch.arange(start, start + rows),
    )  # fmt: skip


def _tensors(
    log: ContentLog, schema: Schema, columns: dict[str, np.ndarray]
) -> dict[str, torch.Tensor]:
    read = content_features(log, columns)
    seen = seen_labels(schema.tasks, columns)
    labels = [np.where(seen[t.name], columns[t.name], 0).astype(np.float32) for t in schema.tasks]
    dense = np.stack([read[name] for name in DENSE], axis=1)
    keys = columns | {"time": columns["day"] * 24 + columns["hour"]}
    arrays = {
        "ids": np.stack([read[name] + 1 for name in schema.categorical_names], axis=1),
        "dense": np.round(dense.astype(np.float32), 4),
        "labels": np.stack(labels, axis=1),
        "observed": np.stack([seen[task.name] for task in schema.tasks], axis=1),
        "scenario": columns["scenario"],
        **{name: columns[name] for name in TRUTH},
        **{f"key {name}": keys[name] for name in KEYS},
    }
    return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in arrays.items()}
