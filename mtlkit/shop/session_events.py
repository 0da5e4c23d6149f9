"""Sessions as a log of events: everything in the order of time, also what follows the label."""

from __future__ import annotations

import numpy as np
import polars as pl

from mtlkit.shop.entities import CATEGORIES
from mtlkit.shop.session_process import LONGEST, TOKENS, SessionLog

KINDS = ("view", "search", "purchase")
SHORTEST_TYPING, LONGEST_TYPING = 0.1, 0.5  # minutes from the last view to the search


def session_events(log: SessionLog, rows: int, start: int = 0) -> pl.DataFrame:
    """One row an event, by session and time; see `Market.session_events`."""
    c = log.columns(start, rows)
    at, length = np.arange(rows), c["length"]
    if log.world.dials.gap_tells:
        gaps, begin = c["minutes"], 60 * c["clock"][:, 0]
        typing = SHORTEST_TYPING + (LONGEST_TYPING - SHORTEST_TYPING) * c["clock"][:, 1]
    else:  # no clock: one minute an event
        gaps, begin, typing = np.ones((rows, LONGEST + 2)), np.zeros(rows), np.ones(rows)
        gaps[:, 0] = 0
    views = np.cumsum(gaps, axis=1) + begin[:, None] + 60.0 * (c["day"] * 24 + c["hour"])[:, None]
    search = views[at, length - 1] + typing
    after = search + gaps[at, length]  # the label's view
    till = after + gaps[at, length + 1]
    seen = np.arange(LONGEST) < length[:, None]
    row, step = np.nonzero(seen)
    bought = np.flatnonzero(c["purchase"])
    parts = [  # row, order in the session, time, kind, item (-1: none)
        (row, step, views[row, step], 0, c["history"][row, step]),
        (at, length, search, 1, np.full(rows, -1)),
        (at, length + 1, after, 0, c["next_item"]),
        (bought, length[bought] + 2, till[bought], 2, c["next_item"][bought]),
    ]
    row, order, time, item = (np.concatenate([p[i] for p in parts]) for i in (0, 1, 2, 4))
    kind = np.concatenate([np.full(len(p[0]), p[3]) for p in parts])
    place = np.lexsort((order, row))
    row, time, item, kind = row[place], time[place], item[place], kind[place]
    words = [
        [TOKENS[t] for t in c["query"][r, : c["query_length"][r]]] if k == 1 else None
        for r, k in zip(row.tolist(), kind.tolist(), strict=True)
    ]
    shown = pl.Series("item", item).cast(pl.Int64)
    category = pl.Series(CATEGORIES, dtype=pl.String)[log.world.items["category"][item]]
    frame = pl.DataFrame(
        {
            "session": c["session"][row],
            "user": c["user"][row],
            "time": np.round(time, 4),
            "kind": pl.Series(KINDS, dtype=pl.String)[kind],
            "item": shown,
            "category": category,
            "words": pl.Series(words, dtype=pl.List(pl.String)),
        }
    )
    nothing = pl.col("item") < 0
    return frame.with_columns(
        category=pl.when(~nothing).then(pl.col("category")),
        item=pl.when(~nothing).then(pl.col("item")),
    )
