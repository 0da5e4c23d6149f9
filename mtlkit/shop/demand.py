"""Weekly demand as a table: units sold, a lower bound where the shelf ran empty, and more.

How demand comes about is told in `demand_process.py`. This file shows it as a frame and a table,
and scores an order in money (the newsvendor).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike
from scipy.stats import poisson

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Task
from mtlkit.shop.demand_process import (
    chance_sold_out,
    mean_units,
    products_of_demand,
    simulate_demand,
)
from mtlkit.shop.world import World

TASKS = (
    Task("units", "censored_count", unit="pieces"),
    Task("sold_out", "binary"),
    Task("returned", "count", unit="pieces"),
    Task("coupon_units", "count", unit="pieces"),
)
DENSE = (
    "price", "discount", "promotion", "stock", "units_last", "units_mean", "empty_share",
    "promotion_last", "year_sine", "year_cosine", "week_number",
)  # fmt: skip


def _columns(world: World, weeks: int) -> dict[str, np.ndarray]:
    """The panel as columns (row,), row = week * items + item."""
    panel = simulate_demand(world, weeks)
    count = len(world.items["category"])
    traits, items = products_of_demand(world), world.items
    item = np.tile(np.arange(count), weeks)
    columns: dict[str, Any] = {"item": item, "week": np.repeat(np.arange(weeks), count)}
    columns |= {name: value.reshape(-1) for name, value in panel.items()}
    for name in ("category", "style", "seller", "price_band", "warehouse", "price"):
        columns[name] = items[name][item]
    for name in ("price_cents", "cost_cents", "salvage_cents"):
        columns[name] = traits[name][item]
    columns["paid_cents"] = np.round(columns["price_cents"] * (1 - columns["discount"]))
    columns["week_of_year"] = columns["week"] % 52
    columns["sold_out"] = columns["units"] == columns["stock"]
    columns["true_sold_out"] = chance_sold_out(columns["mean"], columns["stock"])
    columns["true_units_sold"] = mean_units(columns["mean"], columns["stock"])
    columns["true_returned"] = columns["true_units_sold"] * traits["returned"][item]
    columns["true_coupon_units"] = columns["true_units_sold"] * traits["coupon"][item]
    return columns


def demand_frame(world: World, weeks: int = 52) -> pl.DataFrame:
    """What the shop itself knows of each product and week: no true mean, no unmet demand.

    `coupon_units` is null outside promotions. Money in euro; `warehouse` is the product's home.
    """
    columns = _columns(world, weeks)
    names = {
        "category": world.categories, "style": world.styles,
        "price_band": world.price_bands, "warehouse": world.warehouses,
    }  # fmt: skip
    shown = (
        "week", "item", "category", "style", "seller", "price_band", "warehouse", "price",
        "discount", "promotion", "stock", "units", "sold_out", "returned", "coupon_units",
        "units_last", "units_mean", "empty_share", "promotion_last",
    )  # fmt: skip
    readable = {
        name: np.array(names[name])[columns[name]] if name in names else columns[name]
        for name in shown
    }
    readable["unit_cost"] = columns["cost_cents"] / 100
    frame = pl.DataFrame(readable)
    coupon = pl.when(pl.col("promotion")).then(pl.col("coupon_units"))
    return frame.with_columns(coupon.alias("coupon_units"))


def demand_schema(world: World) -> Schema:
    """Schema of the demand table; fields named as in the impression table hold the same ids."""
    sizes = {
        "item": world.dials.items, "category": len(world.categories),
        "style": len(world.styles), "seller": world.dials.sellers,
        "price_band": len(world.price_bands), "warehouse": len(world.warehouses),
        "week_of_year": 52,
    }  # fmt: skip
    return Schema(
        TASKS,
        categorical=tuple(Categorical(name, size + 1) for name, size in sizes.items()),
        dense=tuple(Dense(name) for name in DENSE),
        scenarios=tuple(Scenario(name, "warehouse") for name in world.warehouses),
    )


def demand_table(world: World, weeks: int = 52) -> Table:
    """Products by weeks as a table; scenario = the product's home warehouse.

    Tasks: units (censored_count: sold pieces; censored where units == stock, so that demand was at
    least that), sold_out (binary: the shelf was empty at the end of the week), returned (count),
    coupon_units (count: pieces bought with the promotion's coupon, observed in promotion weeks).

    Inputs are known before the week begins: its price, promotion and stock, and the past. `truth`:
    the mean demand for units (Poisson; it knows the product's hidden level, so a model can come
    near it but not reach it), P(sold_out), mean returned, mean coupon_units; besides `demand` (what
    shoppers wanted, also where it was not met), `units_regular` and `units_promoted` (mean demand
    of this very week without a promotion and with 20 % off), `units_sold` (mean of min(demand,
    stock)). Keys: item, week, stock, and money in cents: price_cents (list price), paid_cents,
    cost_cents, salvage_cents. Raises ValueError for fewer than 1 week.
    """
    columns, schema = _columns(world, weeks), demand_schema(world)
    year = 2 * np.pi * columns["week"] / 52
    dense = {
        "price": (np.log(columns["price"]) - 3.7) / 0.75,
        "discount": columns["discount"] * 5,
        "promotion": columns["promotion"],
        "stock": np.log1p(columns["stock"]) - 2.5,
        "units_last": np.log1p(columns["units_last"]) - 2,
        "units_mean": np.log1p(columns["units_mean"]) - 2,
        "empty_share": columns["empty_share"],
        "promotion_last": columns["promotion_last"],
        "year_sine": np.sin(year),
        "year_cosine": np.cos(year),
        "week_number": columns["week"] / 52,
    }
    ids = np.stack([columns[field.name] + 1 for field in schema.categorical], axis=1)
    labels = np.stack([columns[task.name] for task in TASKS], axis=1).astype(np.float32)
    observed = np.ones(labels.shape, dtype=bool)
    observed[:, 3] = columns["promotion"]
    censored = np.zeros(labels.shape, dtype=bool)
    censored[:, 0] = columns["sold_out"]
    truth = {
        "units": columns["mean"], "sold_out": columns["true_sold_out"],
        "returned": columns["true_returned"], "coupon_units": columns["true_coupon_units"],
        "demand": columns["demand"], "units_regular": columns["mean_regular"],
        "units_promoted": columns["mean_promoted"], "units_sold": columns["true_units_sold"],
    }  # fmt: skip
    keys = (
        "item", "week", "stock", "price_cents", "paid_cents", "cost_cents", "salvage_cents",
    )  # fmt: skip
    numbers = np.stack([dense[name] for name in DENSE], axis=1)
    return Table(
        schema,
        torch.from_numpy(ids.astype(np.int64)),
        torch.from_numpy(np.round(numbers, 4).astype(np.float32)),
        {},
        torch.from_numpy(np.where(observed, labels, np.float32(0))),
        torch.from_numpy(observed),
        torch.from_numpy(columns["warehouse"].astype(np.int64)),
        censored=torch.from_numpy(censored),
        truth={name: torch.from_numpy(value.astype(np.float32)) for name, value in truth.items()},
        keys={name: torch.from_numpy(columns[name].astype(np.int64)) for name in keys},
    )


def newsvendor_order(
    mean: ArrayLike, price: ArrayLike, cost: ArrayLike, salvage: ArrayLike
) -> np.ndarray:
    """The order with the highest mean profit when demand is Poisson(mean), int64, elementwise.

    The smallest q with P(D <= q) >= (price - cost) / (price - salvage): one piece too few loses
    price - cost, one too many cost - salvage. Needs salvage < cost; at a price that does not cover
    the cost the order is 0. Raises ValueError otherwise. (Arrow, Harris and Marschak 1951.)
    """
    mean, price, cost, salvage = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (mean, price, cost, salvage))
    )
    if (salvage >= cost).any():
        row = int(np.flatnonzero((salvage >= cost).reshape(-1))[0])
        raise ValueError(
            f"row {row}: salvage {salvage.flat[row]:g} is not below cost {cost.flat[row]:g}, so "
            "the best order has no end"
        )
    share = (price - cost) / (price - salvage)
    order = poisson.ppf(np.clip(share, 0.0, 1.0), mean)
    return np.where(price > cost, order, 0).astype(np.int64)


def newsvendor_profit(
    order: ArrayLike, demand: ArrayLike, price: ArrayLike, cost: ArrayLike, salvage: ArrayLike
) -> np.ndarray:
    """Profit of an order once demand is known, elementwise, in the unit of the prices:

    price * min(demand, order) + salvage * max(order - demand, 0) - cost * order.
    """
    order, demand = np.asarray(order, dtype=np.float64), np.asarray(demand, dtype=np.float64)
    price, cost = np.asarray(price, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    sold = np.minimum(order, demand)
    return price * sold + np.asarray(salvage, dtype=np.float64) * (order - sold) - cost * order
