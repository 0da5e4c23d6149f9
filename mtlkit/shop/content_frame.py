"""Contents and their impressions in words, and the encoder that leads from there to a table."""

from __future__ import annotations

import numpy as np
import polars as pl

from mtlkit.data.encode import Encoder
from mtlkit.shop.content_log import ContentLog
from mtlkit.shop.content_table import ITEMS, KEYS, TASKS, TRUTH, content_features
from mtlkit.shop.impression_frame import WEEKDAYS
from mtlkit.shop.impression_table import seen_labels
from mtlkit.shop.world import World

USER_DENSE = ("user_clicks", "user_buys", "user_basket", "user_reads")


def contents_frame(world: World) -> pl.DataFrame:
    """One row a content: what it is, how long, how old on day 0, and the items that it is about.

    `about` is a list of one to three items; a content with subject "category" shows three best
    sellers of its category. Raises ValueError where the shop has no contents.
    """
    contents = world.contents
    if not contents:
        raise ValueError("dial contents is 0: this shop has no contents; set it, e.g. to 200")
    about = [[int(item) for item in row if item >= 0] for row in contents["about"]]
    return pl.DataFrame(
        {
            "content": np.arange(world.dials.contents),
            "kind": _words(world.content_kinds, contents["kind"]),
            "subject": _words(world.content_subjects, contents["subject"]),
            "category": _words(world.categories, contents["category"]),
            "style": _words(world.styles, contents["style"]),
            "about": about,
            "length_seconds": contents["seconds"],
            "age_days": contents["age_days"],
            "content_opens": contents["past_opens"],
            "content_rating": contents["past_rating"],
        },
        schema_overrides={"about": pl.List(pl.Int64)},
    )


def content_impressions_frame(
    log: ContentLog, rows: int, start: int = 0, truth: bool = False
) -> pl.DataFrame:
    """Rows of the log in words; see `Market.content_impressions_frame`."""
    world, columns = log.world, log.columns(start, rows)
    users, contents = world.users, world.contents
    user, content = columns["user"], columns["content"]
    read = content_features(log, columns)
    words = {
        "weekday": list(WEEKDAYS), "scenario": world.scenarios, "age_band": world.age_bands,
        "region": world.regions, "device": world.devices,
        "favourite_category": world.categories, "kind": world.content_kinds,
        "subject": world.content_subjects, "category": world.categories, "style": world.styles,
    }  # fmt: skip
    named = {name: _words(known, read[name]) for name, known in words.items()}
    frame = pl.DataFrame(
        {
            "row": np.arange(start, start + rows),
            "session": columns["session"],
            "day": columns["day"],
            "hour": columns["hour"],
            "time": columns["day"] * 24 + columns["hour"],
            "position": columns["position"],
            "user": user,
            "content": content,
            **named,
            "past_visits": users["past_visits"][user],
            "recency_days": np.round(users["recency_days"][user].astype(np.float64), 1),
            **{name: np.round(read[name], 4) for name in USER_DENSE},
            "length_seconds": contents["seconds"][content],
            "age_days": contents["age_days"][content] + columns["day"],
            "content_opens": np.round(read["content_opens"], 4),
            "content_rating": contents["past_rating"][content],
        }
    )
    for name in ITEMS:
        item = pl.Series(name, read[name])
        frame = frame.with_columns(pl.when(item >= 0).then(item).alias(name))
    for name, seen in seen_labels(TASKS, columns).items():
        label = columns[name] if name == "seconds" else columns[name].astype(np.int8)
        shown = pl.when(pl.Series(seen)).then(pl.Series(label))
        frame = frame.with_columns(shown.alias(name))
    return frame.with_columns([pl.Series(n, columns[n]) for n in TRUTH]) if truth else frame


def content_encoder() -> Encoder:
    """An encoder, not fitted yet, for the columns of `Market.content_impressions_frame`."""
    return Encoder(
        tasks=TASKS,
        categorical=[
            "user", "content", "kind", "subject", "category", "style", *ITEMS, "age_band",
            "favourite_category", "region", "device", "hour", "weekday", "scenario",
        ],
        dense=[
            "position", "length_seconds", "age_days", "content_opens", "content_rating",
            "past_visits", "recency_days", *USER_DENSE,
        ],
        log1p=["position", "length_seconds", "age_days", "past_visits", "recency_days"],
        scenario="scenario",
        keys=KEYS,
    )  # fmt: skip


def _words(known: list[str], index: np.ndarray) -> pl.Series:
    return pl.Series(known, dtype=pl.String)[index]
