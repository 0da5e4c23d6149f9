"""How an order travels: from a warehouse, with a carrier, to a region; when, how well, how dear.

For an order with distance d (km), weight w (kg), shipped in week t by carrier c from warehouse h to
region r, with z standard normal:

    mean days   = handling_c + d / speed_c + queue_h * rush(t) * crowd_c + local_c,r  (at least 0.3)
    days        = mean days * exp(spread_c * z - spread_c^2 / 2)
    late        = days > promised; P(late) = Phi((log(mean / promised) - spread_c^2 / 2) / spread_c)
    P(damaged)  = expit(damage_c + fragile_category + 0.5 * log w + 0.0015 * d)
    P(returned) = expit(-2.4 - 0.4 * quality + late + 2 * damaged), averaged over late and damaged
    cost (euro) = base_c + kilo_c * w + kilometre_c * d

Every order carries its own uniform draws, so the same order sent another way meets the same luck:
differences between two choices are paired.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtr, ndtri

from mtlkit.shop.world import World

CARRIERS = ("swift", "parcel", "green", "freight")
BLOCK = 4096  # orders drawn from one generator: row r is the same in every table
DAYS = 364
LATE_EURO = 9.0  # voucher and service call of a late parcel
RETURN_EURO = 5.0  # way back and handling; a damaged parcel costs its price

_HANDLING = np.array([0.4, 0.9, 1.2, 1.6])  # days
_SPEED = np.array([420.0, 260.0, 200.0, 230.0])  # km a day
_SPREAD = np.array([0.22, 0.30, 0.40, 0.28])  # of log days
_CROWD = np.array([0.6, 1.3, 1.0, 0.7])  # how much a rush slows the carrier down
_QUEUE = np.array([0.5, 0.9, 0.7])  # days a rush adds at each warehouse
_DAMAGE = np.array([-4.0, -3.7, -3.5, -3.8])
_BASE, _KILO = np.array([4.4, 3.2, 3.0, 4.3]), np.array([2.0, 1.6, 1.4, 0.2])  # euro
_KILOMETRE = np.array([0.0040, 0.0024, 0.0012, 0.0014])  # euro
_FRAGILE = np.array([-0.6, -0.5, -0.4, 0.0, 0.1, 0.2, -0.3, 0.3, 0.6, 0.4])  # by category


class Orders(NamedTuple):
    """Orders as arrays (row,): who, what, when, and the luck each order carries."""

    row: np.ndarray
    user: np.ndarray
    item: np.ndarray
    day: np.ndarray  # 0 .. 363
    region: np.ndarray
    warehouse: np.ndarray  # the shop's own choice
    carrier: np.ndarray  # the shop's own choice
    promised_days: np.ndarray  # told to the shopper before anything is chosen
    luck: np.ndarray  # (row, 3) uniform: days, damaged, returned


class Outcome(NamedTuple):
    """What an order's way leads to, in the mean, as arrays (row,)."""

    distance_km: np.ndarray
    cost: np.ndarray  # euro, known when the choice is made
    days: np.ndarray
    spread: np.ndarray
    late: np.ndarray
    damaged: np.ndarray
    returned: np.ndarray
    total: np.ndarray  # euro: cost + what late, damaged and returned parcels cost on average


def rush(week: np.ndarray) -> np.ndarray:
    """How full the network is: 0 in a quiet week, about 1 before the year's end and in summer."""
    return np.exp(-0.5 * ((week - 49) / 2.0) ** 2) + 0.4 * np.exp(-0.5 * ((week - 26) / 3.0) ** 2)


def draw_orders(world: World, rows: int, start: int = 0) -> Orders:
    """Orders start .. start + rows - 1.

    Raises ValueError for fewer than 1 row or a negative start.
    """
    for name, value, low in (("rows", rows, 1), ("start", start, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
            raise ValueError(f"{name} is {value!r}; give a whole number of {low} or more")
    first, last = start // BLOCK, -(-(start + rows) // BLOCK)
    draws = np.concatenate(
        [world.rng("deliveries", block).random((BLOCK, 9)) for block in range(first, last)]
    )[start - first * BLOCK :][:rows]
    row = np.arange(start, start + rows)
    users, items = world.users, world.items
    user = _pick(users["activity"], draws[:, 0])
    item = _pick(items["popularity"], draws[:, 1])
    day_weight = 1.0 + 1.5 * rush(np.arange(DAYS) // 7)
    day = _pick(day_weight, draws[:, 2])
    region = users["home_region"][user]
    distance = world.distance_km[:, region].T  # (row, warehouse)
    nearest = distance.argmin(axis=1)
    warehouse = np.where(draws[:, 3] < 0.75, items["warehouse"][item], nearest)
    away = distance[np.arange(rows), warehouse]
    weight, price = items["weight_kg"][item], items["price"][item]
    # the shop sends dear things swiftly and heavy things by freight: choices are not random
    taste = np.stack(
        [
            -0.6 + 0.8 * np.log(price / 40),
            np.full(rows, 0.9),
            0.1 - 0.3 * np.log(price / 40),
            -1.2 + 1.2 * np.log(weight / 0.5) + 0.001 * away,
        ],
        axis=1,
    )
    chance = np.exp(taste)
    ladder = np.cumsum(chance, axis=1) / chance.sum(axis=1, keepdims=True)
    carrier = np.minimum((draws[:, 4, None] >= ladder).sum(axis=1), len(CARRIERS) - 1)
    promised = np.clip(np.ceil(1.2 + distance.min(axis=1) / 180 + 1.2 * draws[:, 5]), 2, 9)
    return Orders(row, user, item, day, region, warehouse, carrier, promised, draws[:, 6:9])


def outcome(world: World, orders: Orders, warehouse: np.ndarray, carrier: np.ndarray) -> Outcome:
    """The true means of orders sent from `warehouse` with `carrier`, both (row,)."""
    items, item = world.items, orders.item
    weight = items["weight_kg"][item].astype(np.float64)
    distance = world.distance_km[warehouse, orders.region]
    local = world.rng("carrier regions").normal(0, 0.35, (len(CARRIERS), len(world.regions)))
    mean = _HANDLING[carrier] + distance / _SPEED[carrier] + local[carrier, orders.region]
    mean = mean + _QUEUE[warehouse] * rush(orders.day // 7) * _CROWD[carrier]
    mean = np.maximum(mean, 0.3)
    spread = _SPREAD[carrier]
    late = ndtr((np.log(mean / orders.promised_days) - spread**2 / 2) / spread)
    fragile = _FRAGILE[items["category"][item]]
    damaged = expit(_DAMAGE[carrier] + fragile + 0.5 * np.log(weight) + 0.0015 * distance)
    returned = np.zeros(len(item))
    for is_late in (0, 1):
        for is_damaged in (0, 1):
            share = np.where(is_late, late, 1 - late) * np.where(is_damaged, damaged, 1 - damaged)
            returned += share * chance_returned(world, item, is_late, is_damaged)
    cost = _BASE[carrier] + _KILO[carrier] * weight + _KILOMETRE[carrier] * distance
    price = items["price"][item]
    total = cost + LATE_EURO * late + price * damaged + RETURN_EURO * returned
    return Outcome(distance, cost, mean, spread, late, damaged, returned, total)


def chance_returned(
    world: World, item: np.ndarray, late: np.ndarray | int, damaged: np.ndarray | int
) -> np.ndarray:
    """P(returned | late, damaged) of each order's product."""
    quality = world.items["quality"][item].astype(np.float64)
    return expit(-2.4 - 0.4 * quality + 1.0 * late + 2.0 * damaged)


def happened(world: World, orders: Orders, truth: Outcome) -> dict[str, np.ndarray]:
    """What came of it with each order's own luck: days, late, damaged, returned, each (row,)."""
    normal = ndtri(np.clip(orders.luck[:, 0], 1e-12, 1 - 1e-12))
    days = truth.days * np.exp(truth.spread * normal - truth.spread**2 / 2)
    late = (days > orders.promised_days).astype(np.int64)
    damaged = (orders.luck[:, 1] < truth.damaged).astype(np.int64)
    returned = orders.luck[:, 2] < chance_returned(world, orders.item, late, damaged)
    return {"days": days, "late": late, "damaged": damaged, "returned": returned.astype(np.int64)}


def _pick(weight: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """One index a draw, with chances in proportion to `weight`."""
    ladder = np.cumsum(weight, dtype=np.float64)
    return np.minimum(np.searchsorted(ladder / ladder[-1], draw, side="right"), len(weight) - 1)
