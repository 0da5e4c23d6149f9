"""Deliveries as a table: days, late, damaged, returned; and the other ways an order could go.

How an order travels is told in `delivery_process.py`. The scenario is the carrier: carriers differ
in how everything acts on a parcel (distance, weight, rush, region) and in how many orders they get.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Task
from mtlkit.shop.delivery_process import (
    CARRIERS,
    LATE_EURO,
    RETURN_EURO,
    Orders,
    Outcome,
    draw_orders,
    happened,
    outcome,
)
from mtlkit.shop.world import World

__all__ = [
    "CARRIERS", "LATE_EURO", "RETURN_EURO", "deliveries_frame", "deliveries_schema",
    "deliveries_table", "delivery_euro", "delivery_options",
]  # fmt: skip

TASKS = (
    Task("days", "regression", unit="days"),
    Task("late", "binary"),
    Task("damaged", "binary"),
    Task("returned", "binary"),
)
DENSE = ("distance", "weight", "price", "promised_days", "carrier_cost", "year_sine", "year_cosine")


def _sent(
    world: World, rows: int, start: int, warehouse: int | str | None, carrier: int | str | None
) -> tuple[Orders, Outcome, np.ndarray, np.ndarray]:
    """Orders, their true means, and the warehouse and carrier (row,) that they are sent with."""
    orders = draw_orders(world, rows, start)
    home = _choice(orders.warehouse, warehouse, world.warehouses, "warehouse")
    way = _choice(orders.carrier, carrier, list(CARRIERS), "carrier")
    return orders, outcome(world, orders, home, way), home, way


def _choice(own: np.ndarray, wish: int | str | None, names: list[str], what: str) -> np.ndarray:
    """The shop's own choices (row,), or one wish for all rows."""
    if wish is None:
        return own
    number = names.index(wish) if wish in names else wish
    known = isinstance(number, (int, np.integer)) and 0 <= number < len(names)
    if isinstance(number, bool) or not known:
        raise ValueError(f"{what} {wish!r} is unknown; choose from {', '.join(names)}")
    return np.full_like(own, number)


def deliveries_frame(
    world: World,
    rows: int,
    start: int = 0,
    warehouse: int | str | None = None,
    carrier: int | str | None = None,
) -> pl.DataFrame:
    """Delivered orders in words, one row each: who, what, when, which way, and what came of it."""
    orders, truth, home, way = _sent(world, rows, start, warehouse, carrier)
    items, result = world.items, happened(world, orders, truth)
    return pl.DataFrame(
        {
            "order": orders.row,
            "day": orders.day,
            "user": orders.user,
            "item": orders.item,
            "category": np.array(world.categories)[items["category"][orders.item]],
            "region": np.array(world.regions)[orders.region],
            "warehouse": np.array(world.warehouses)[home],
            "carrier": np.array(CARRIERS)[way],
            "distance_km": np.round(truth.distance_km, 1),
            "weight_kg": items["weight_kg"][orders.item],
            "price": items["price"][orders.item],
            "carrier_cost": np.round(truth.cost, 2),
            "promised_days": orders.promised_days.astype(np.int64),
            "days": np.round(result["days"], 2),
            **{name: result[name].astype(bool) for name in ("late", "damaged", "returned")},
        }
    )


def deliveries_schema(world: World) -> Schema:
    """Schema of the delivery table; fields named as in the impression table hold the same ids."""
    sizes = {
        "item": world.dials.items, "category": len(world.categories),
        "seller": world.dials.sellers, "region": len(world.regions),
        "warehouse": len(world.warehouses), "carrier": len(CARRIERS), "week_of_year": 52,
        "weekday": 7,
    }  # fmt: skip
    return Schema(
        TASKS,
        categorical=tuple(Categorical(name, size + 1) for name, size in sizes.items()),
        dense=tuple(Dense(name) for name in DENSE),
        scenarios=tuple(Scenario(name, "carrier") for name in CARRIERS),
    )


def deliveries_table(
    world: World,
    rows: int,
    start: int = 0,
    warehouse: int | str | None = None,
    carrier: int | str | None = None,
) -> Table:
    """Orders and how they arrived; scenario = carrier.

    Tasks: days (regression), late (binary: days > promised), damaged, returned (binary). All are
    seen on every row. With `warehouse` or `carrier` (number or name) every order goes that way
    instead of the shop's own choice, and meets the same luck: tables of the same rows are paired.

    `truth`: mean days, P(late), P(damaged), P(returned), the best a model can know from the inputs
    (only a product's quality stays hidden behind its id); besides `expected_euro`, the mean cost of
    this choice: carrier + LATE_EURO * late + price * damaged + RETURN_EURO * returned. Keys: order,
    user, item, day, price_cents, carrier_cents, promised_days. Row r is the same in every table.
    Raises ValueError for an unknown choice, fewer than 1 row or a negative start.
    """
    orders, truth, home, way = _sent(world, rows, start, warehouse, carrier)
    items, item, week = world.items, orders.item, orders.day // 7
    result, schema = happened(world, orders, truth), deliveries_schema(world)
    ids = {
        "item": item, "category": items["category"][item], "seller": items["seller"][item],
        "region": orders.region, "warehouse": home, "carrier": way, "week_of_year": week,
        "weekday": orders.day % 7,
    }  # fmt: skip
    dense = {
        "distance": (truth.distance_km - 300) / 150,
        "weight": np.log(items["weight_kg"][item]) + 0.5,
        "price": (np.log(items["price"][item]) - 3.7) / 0.75,
        "promised_days": orders.promised_days - 4,
        "carrier_cost": truth.cost - 6,
        "year_sine": np.sin(2 * np.pi * week / 52),
        "year_cosine": np.cos(2 * np.pi * week / 52),
    }
    keys = {
        "order": orders.row, "user": orders.user, "item": item, "day": orders.day,
        "price_cents": np.round(items["price"][item] * 100),
        "carrier_cents": np.round(truth.cost * 100), "promised_days": orders.promised_days,
    }  # fmt: skip
    true = {
        "days": truth.days, "late": truth.late, "damaged": truth.damaged,
        "returned": truth.returned, "expected_euro": truth.total,
    }  # fmt: skip
    numbers = np.round(np.stack([dense[name] for name in DENSE], axis=1), 4)
    labels = np.stack([result[task.name] for task in TASKS], axis=1).astype(np.float32)
    tasks = (TASKS[0].fitted(labels[:, 0]), *TASKS[1:])
    ids_block = np.stack([ids[field.name] + 1 for field in schema.categorical], axis=1)
    return Table(
        schema.with_tasks(tasks),
        torch.from_numpy(ids_block.astype(np.int64)),
        torch.from_numpy(numbers.astype(np.float32)),
        {},
        torch.from_numpy(labels),
        torch.ones(labels.shape, dtype=torch.bool),
        torch.from_numpy(way.astype(np.int64)),
        truth={name: torch.from_numpy(value.astype(np.float32)) for name, value in true.items()},
        keys={name: torch.from_numpy(value.astype(np.int64)) for name, value in keys.items()},
        row_id=torch.from_numpy(orders.row.astype(np.int64)),
    )


def delivery_options(world: World, rows: int, start: int = 0) -> dict[str, np.ndarray]:
    """The true means of every choice: days, late, damaged, returned, cost, total (euro).

    Each array is (row, warehouse, carrier); `total` is the mean cost, so its smallest entry in a
    row is the best choice for that order.
    """
    orders = draw_orders(world, rows, start)
    shape = (rows, len(world.warehouses), len(CARRIERS))
    options = {
        name: np.empty(shape) for name in ("days", "late", "damaged", "returned", "cost", "total")
    }
    for home in range(shape[1]):
        for way in range(shape[2]):
            truth = outcome(world, orders, np.full(rows, home), np.full(rows, way))
            for name, values in options.items():
                values[:, home, way] = getattr(truth, name)
    return options


def delivery_euro(
    carrier_euro: np.ndarray,
    late: np.ndarray,
    damaged: np.ndarray,
    returned: np.ndarray,
    price: np.ndarray,
) -> np.ndarray:
    """Cost of a delivery in euro, of what happened (0 or 1) or of probabilities, elementwise:

    carrier + LATE_EURO * late + price * damaged + RETURN_EURO * returned.
    """
    return carrier_euro + LATE_EURO * late + price * damaged + RETURN_EURO * returned
