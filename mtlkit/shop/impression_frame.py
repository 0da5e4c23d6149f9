"""The raw view of the impressions: names instead of numbers, gaps and faults as in real logs.

The way from here to a table, as notebook 01 walks it:

    frame = world.impressions_frame(100_000)
    clean = clean_impressions(frame)
    encoder = impression_encoder().fit(clean.filter(pl.col("day") < 40))
    table = encoder.transform(clean, truth=..., row_id=clean["row"])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mtlkit.data.encode import Encoder
from mtlkit.shop.impression_table import (
    DENSE,
    KEYS,
    OPTIONAL_TASKS,
    STOCK_DENSE,
    TASKS,
    features,
    seen_labels,
    tasks_of,
    truth_names,
)  # fmt: skip
from mtlkit.shop.impressions import ImpressionLog
from mtlkit.shop.world import World

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FAULT_BLOCK = 8192  # rows whose faults are drawn together


def impressions_frame(
    log: ImpressionLog, rows: int, start: int = 0, truth: bool = False
) -> pl.DataFrame:
    """Rows of the log as a person would export them; see `Market.impressions_frame`."""
    world, columns = log.world, log.columns(start, rows)
    users, items = world.users, world.items
    user, item = columns["user"], columns["item"]

    def names(words: list[str], index: np.ndarray) -> pl.Series:
        return pl.Series(words, dtype=pl.String)[index]

    sellers = [f"seller-{number:03d}" for number in range(world.dials.sellers)]
    dense = dict(zip(DENSE, features(world, columns)[1].T))
    frame = pl.DataFrame(
        {
            "row": np.arange(start, start + rows),
            "session": columns["session"],
            "day": columns["day"],
            "hour": columns["hour"],
            "time": columns["day"] * 24 + columns["hour"],
            "weekday": names(list(WEEKDAYS), columns["day"] % 7),
            "scenario": names(world.scenarios, columns["scenario"]),
            "position": columns["position"],
            "user": user,
            "age_band": names(world.age_bands, users["age_band"][user]),
            "region": names(world.regions, columns["region"]),
            "device": names(world.devices, columns["device"]),
            "favourite_category": names(world.categories, users["favourite_category"][user]),
            "past_visits": users["past_visits"][user],
            "recency_days": np.round(users["recency_days"][user].astype(np.float64), 1),
            "user_clicks": dense["user_clicks"],
            "user_buys": dense["user_buys"],
            "user_basket": dense["user_basket"],
            "item": item,
            "category": names(world.categories, items["category"][item]),
            "style": names(world.styles, items["style"][item]),
            "seller": names(sellers, items["seller"][item]),
            "price_euro": items["price"][item],
            "price_band": names(world.price_bands, items["price_band"][item]),
            "item_clicks": dense["item_clicks"],
            "item_rating": items["past_rating"][item],
        }
    )
    stock = bool(world.dials.stock_columns)
    if stock:
        frame = frame.with_columns(pl.Series(name, columns[name]) for name in STOCK_DENSE)
    tasks = tasks_of(world)
    for name, seen in seen_labels(tasks, columns).items():
        label = columns[name] if name == "dwell" else columns[name].astype(np.int8)
        frame = frame.with_columns(_given(label, seen).alias(name))
    if truth:
        frame = frame.with_columns([pl.Series(n, columns[n]) for n in truth_names(tasks, stock)])
    return add_faults(world, frame) if world.dials.dirt else frame


def _given(values: np.ndarray, seen: np.ndarray) -> pl.Series:
    """The values where they were seen, null elsewhere."""
    frame = pl.DataFrame({"value": values, "seen": seen})
    return frame.select(pl.when("seen").then("value"))["value"]


def add_faults(world: World, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the faults that the dial `dirt` (d) asks for.

    Each hits a row by chance: age band missing (d), device with a capital or a stray space (d),
    price in cents instead of euro (d / 4), row doubled (d / 2), and in the last quarter of the
    days a device that did not exist before, "tv" (3 d).
    """
    dirt = world.dials.dirt
    row = frame["row"].to_numpy()
    first, last = row[0] // FAULT_BLOCK, row[-1] // FAULT_BLOCK
    draws = [world.rng("faults", n).random((5, FAULT_BLOCK)) for n in range(first, last + 1)]
    u = np.concatenate(draws, axis=1)[:, row - first * FAULT_BLOCK]  # (fault, row)
    late = frame["day"].to_numpy() >= 0.75 * world.dials.days
    faults = frame.with_columns(
        pl.Series("no_age", u[0] < dirt),
        pl.Series("capital", u[1] < dirt / 2),
        pl.Series("space", u[1] > 1 - dirt / 2),
        pl.Series("cents", u[2] < dirt / 4),
        pl.Series("double", u[3] < dirt / 2),
        pl.Series("tv", late & (u[4] < 3 * dirt)),
    )
    device = pl.when("tv").then(pl.lit("tv")).otherwise("device")
    spoilt = (
        pl.when("capital").then(device.str.to_titlecase())
        .when("space").then(device + " ").otherwise(device)
    )  # fmt: skip
    faults = faults.with_columns(
        age_band=pl.when(~pl.col("no_age")).then("age_band"),
        device=spoilt,
        price_euro=pl.when("cents").then(pl.col("price_euro") * 100).otherwise("price_euro"),
    )
    times = 1 + faults["double"].to_numpy().astype(np.int64)
    return faults.select(frame.columns)[np.repeat(np.arange(len(row)), times)]


def clean_impressions(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without doubles, with tidy device names and with prices in euro.

    A price is in cents where it is more than twenty times the item's median. Gaps stay gaps: the
    encoder turns them into id 0.
    """
    median = pl.col("price_euro").median().over("item")
    lowest = pl.min_horizontal(median, pl.col("price_euro").min().over("item"))
    in_cents = pl.col("price_euro") > 20 * lowest
    price = pl.when(in_cents).then(pl.col("price_euro") / 100).otherwise("price_euro")
    return frame.unique("row", keep="first", maintain_order=True).with_columns(
        price_euro=price.round(2), device=pl.col("device").str.strip_chars().str.to_lowercase()
    )


def impression_encoder(
    wish_list: bool = False, optional: Sequence[str] = (), stock_columns: bool = False
) -> Encoder:
    """An encoder, not fitted yet, for the columns of the cleaned frame.

    ``wish_list``: the shop has one (dial ``wish_rate``), so that "wish" is a task as well.
    ``optional``: names of more tasks that not every shop has. ``stock_columns``: the shop shows
    sales and stock (its dial of that name). Raises ValueError for an unknown task.
    """
    wanted = {*optional, "wish"} if wish_list else {*optional}
    known = [task.name for task in OPTIONAL_TASKS]
    if not wanted <= set(known):
        raise ValueError(f"optional: {sorted(wanted - set(known))} not in {known}; name only those")
    stock = STOCK_DENSE if stock_columns else ()
    return Encoder(
        tasks=(*TASKS, *(task for task in OPTIONAL_TASKS if task.name in wanted)),
        categorical=[
            "user", "item", "category", "style", "seller", "price_band", "age_band",
            "favourite_category", "region", "device", "hour", "weekday", "scenario",
        ],
        dense=[
            "price_euro", "position", "past_visits", "user_clicks", "user_buys", "user_basket",
            "recency_days", "item_clicks", "item_rating", *stock,
        ],
        log1p=["price_euro", "position", "past_visits", "recency_days", *stock],
        scenario="scenario",
        keys=KEYS,
    )  # fmt: skip


def frame_truth(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    """The truth columns of a frame made with truth=True, named as in `Table.truth`."""
    tasks = (*TASKS, *(task for task in OPTIONAL_TASKS if task.name in frame.columns))
    names = truth_names(tasks, "true_in_stock" in frame.columns)
    return {name.removeprefix("true_"): frame[name].to_numpy() for name in names}
