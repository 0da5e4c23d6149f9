"""The impression table: which columns a model may read, and how the log fills them."""

from __future__ import annotations

import numpy as np
import torch

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Task
from mtlkit.shop.entities import CATEGORIES
from mtlkit.shop.outcomes import EVENTS
from mtlkit.shop.world import World

TASKS = (
    Task("click", "binary"),
    Task("cart", "binary", given="click"),
    Task("purchase", "binary", given="click"),
    Task("dwell", "regression", given="click", unit="seconds", log1p=True),
    Task("return", "binary", given="purchase"),
    Task("rating", "regression", given="purchase", unit="stars"),
)
DENSE = (
    "price", "position", "user_visits", "user_clicks", "user_buys", "user_basket", "recency",
    "item_clicks", "item_rating",
)  # fmt: skip
KEYS = ("user", "item", "session", "time", "day", "position")

STOCK_DENSE = ("sales_7d", "stock")  # besides, with the dial stock_columns

# tasks of events that not every shop has: in the table where the shop's dial has them
OPTIONAL_TASKS = (Task("wish", "binary", given="click"),)


def tasks_of(world: World) -> tuple[Task, ...]:
    """The tasks of the impressions: ``TASKS``, and those of what else this shop has."""
    rates = {event.name: event.rate for event in EVENTS}
    return (*TASKS, *(t for t in OPTIONAL_TASKS if getattr(world.dials, rates[t.name])))


def dense_of(world: World) -> tuple[str, ...]:
    """The dense columns of the impressions: ``DENSE``, and those of what else this shop has."""
    return (*DENSE, *(STOCK_DENSE if world.dials.stock_columns else ()))


def truth_names(tasks: tuple[Task, ...], stock: bool = False) -> tuple[str, ...]:
    """The truth columns of a log with these tasks: true values, then logits before luck.

    stock: with ``in_stock``, 1 where the product could be bought.
    """
    names = [task.name for task in tasks]
    scores = [e.name for e in EVENTS if not e.stream or e.name in names]
    common = [*(task.name for task in TASKS), "checkout", "dwell_log1p"]
    return (
        *(f"true_{name}" for name in common),
        *(f"score_{name}" for name in scores),
        *(f"true_{name}" for name in names[len(TASKS) :]),
        *(("true_in_stock",) if stock else ()),
    )


def seen_labels(tasks: tuple[Task, ...], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where a label is seen, {task: bool (row,)}: where its parent was seen and is 1."""
    seen: dict[str, np.ndarray] = {}
    for task in tasks:
        if task.given is None:
            seen[task.name] = np.ones(len(columns["user"]), dtype=bool)
        else:
            seen[task.name] = seen[task.given] & columns[task.given].astype(bool)
    return seen


class TableFiller:
    """Tensors of a table of known length, filled piece by piece."""

    def __init__(self, world: World, rows: int) -> None:
        self.world, self.schema = world, impression_schema(world)
        self.categorical = torch.empty(rows, len(self.schema.categorical), dtype=torch.int64)
        self.dense = torch.empty(rows, self.schema.dense_width)
        self.labels = torch.zeros(rows, self.schema.num_tasks)
        self.observed = torch.zeros(rows, self.schema.num_tasks, dtype=torch.bool)
        self.scenario = torch.empty(rows, dtype=torch.int64)
        self.truth_names = truth_names(self.schema.tasks, bool(world.dials.stock_columns))
        self.truth = {n.removeprefix("true_"): torch.empty(rows) for n in self.truth_names}
        self.keys = {name: torch.empty(rows, dtype=torch.int64) for name in KEYS}

    def fill(self, columns: dict[str, np.ndarray], at: int) -> None:
        """Write columns (row,) into rows `at` and following."""
        rows = slice(at, at + len(columns["user"]))
        ids, dense = features(self.world, columns)
        self.categorical[rows] = torch.from_numpy(ids)
        self.dense[rows] = torch.from_numpy(dense)
        self.scenario[rows] = torch.from_numpy(columns["scenario"])
        columns = columns | {"time": columns["day"] * 24 + columns["hour"]}
        for name in KEYS:
            self.keys[name][rows] = torch.from_numpy(columns[name])
        for name in self.truth_names:
            self.truth[name.removeprefix("true_")][rows] = torch.from_numpy(columns[name])
        seen = seen_labels(self.schema.tasks, columns)
        for place, task in enumerate(self.schema.tasks):
            mask = seen[task.name]
            self.observed[rows, place] = torch.from_numpy(mask)
            label = np.where(mask, columns[task.name], 0).astype(np.float32)
            self.labels[rows, place] = torch.from_numpy(label)

    def table(self, first_row: int) -> Table:
        """The finished table; row ids count from `first_row`."""
        return Table(
            self.schema, self.categorical, self.dense, {}, self.labels, self.observed,
            self.scenario, truth=self.truth, keys=self.keys,
            row_id=torch.arange(first_row, first_row + len(self.scenario)),
        )  # fmt: skip


def impression_schema(world: World) -> Schema:
    """Schema of the impression table. Id 0 of a field is kept for the unknown."""
    dials = world.dials
    sizes = {
        "user": dials.users, "item": dials.items, "category": len(CATEGORIES),
        "style": len(world.styles), "seller": dials.sellers,
        "price_band": len(world.price_bands), "age_band": len(world.age_bands),
        "favourite_category": len(CATEGORIES), "region": len(world.regions),
        "device": len(world.devices),
        "hour": 24, "weekday": 7, "scenario": dials.scenarios,
    }  # fmt: skip
    return Schema(
        tasks_of(world),
        categorical=tuple(Categorical(name, size + 1) for name, size in sizes.items()),
        dense=tuple(Dense(name) for name in dense_of(world)),
        scenarios=tuple(Scenario(name) for name in world.scenarios),
    )


def user_numbers(world: World, user: np.ndarray) -> dict[str, np.ndarray]:
    """Dense columns (row,) of the users, as every table of impressions shows them."""
    users = world.users
    return {
        "user_visits": (np.log1p(users["past_visits"])[user] - 2.7) / 0.8,
        "user_clicks": users["past_level"][user],
        "user_buys": users["past_buys"][user],
        "user_basket": users["past_basket"][user],
        "recency": np.log1p(users["recency_days"])[user] - 2,
    }


def features(world: World, columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ids int64 (row, field) and dense float32 (row, column) that a model may read.

    columns {name: (row,)}; with the dial stock_columns also ``sales_7d`` and ``stock``, in pieces.
    """
    users, items = world.users, world.items
    user, item = columns["user"], columns["item"]
    ids = {
        "user": user, "item": item, "category": items["category"][item],
        "style": items["style"][item], "seller": items["seller"][item],
        "price_band": items["price_band"][item], "age_band": users["age_band"][user],
        "favourite_category": users["favourite_category"][user], "region": columns["region"],
        "device": columns["device"], "hour": columns["hour"], "weekday": columns["day"] % 7,
        "scenario": columns["scenario"],
    }  # fmt: skip
    dense = {
        "price": (np.log(items["price"])[item] - 3.7) / 0.75,
        "position": np.log1p(columns["position"]),
        **user_numbers(world, user),
        "item_clicks": items["past_clicks"][item],
        "item_rating": (items["past_rating"][item] - 3.8) / 0.6,
    }
    if world.dials.stock_columns:
        dense["sales_7d"] = np.log1p(columns["sales_7d"]) - 2
        dense["stock"] = np.log1p(columns["stock"]) - 2.5
    categorical = np.empty((len(user), len(ids)), dtype=np.int64)  # (row, field)
    for place, values in enumerate(ids.values()):
        np.add(values, 1, out=categorical[:, place])
    numbers = np.empty((len(user), len(dense)), dtype=np.float32)  # (row, column)
    for place, name in enumerate(dense_of(world)):
        numbers[:, place] = dense[name]
    return categorical, np.round(numbers, 4)
