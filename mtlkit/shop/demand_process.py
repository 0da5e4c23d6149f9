"""Weekly demand for each product, seen through a shelf that can run empty.

One row a product and week. Demand is Poisson with a known mean; the shop sees only
units = min(demand, stock). Where the shelf ran empty, units is a lower bound (censored).

Mean demand of product i in week w:

    log mean = base_i + season_c(w) + trend_i * w + level_i(w) - elasticity_i * log(1 - discount)

with season_c the yearly swing of its category (dial `seasonality`), a trend that ends after two
years, and level_i(w) a slow random walk that keeps 90 % of last week's value (its standard
deviation is half the dial `noise`). Promotions are not random: strong products in their season
get them more often, so promoted weeks sell more even before the promotion does anything.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, gammainc, gammaincc

from mtlkit.shop.entities import CATEGORIES
from mtlkit.shop.world import World

WARM_UP = 8  # weeks lived before week 0, so that every row has a past
MEAN_UNITS = 12.0  # demand of an average product in an average week
DISCOUNTS = np.array([0.1, 0.2, 0.3])
LEVEL_MEMORY = 0.9  # share of last week's level that stays
TREND_WEEKS = 104
HISTORY = 4  # weeks that the mean of past sales looks back
SALVAGE = 0.5  # share of the unit cost that an unsold piece still brings
# week of the year in which a category sells best, and how strongly it swings
_PEAK_WEEK = dict(zip(CATEGORIES, (26, 40, 46, 24, 48, 26, 14, 18, 50, 45), strict=True))
_SWING = dict(zip(CATEGORIES, (1.0, 0.3, 1.2, 0.9, 1.8, 2.0, 0.3, 0.5, 0.5, 1.5), strict=True))


def season(world: World, category: np.ndarray, week: np.ndarray | int) -> np.ndarray:
    """Yearly swing of the log mean: seasonality * swing_c * cos(2 pi (week - peak_c) / 52)."""
    peak, swing = np.array(list(_PEAK_WEEK.values())), np.array(list(_SWING.values()))
    angle = 2 * np.pi * (np.asarray(week) - peak[category]) / 52
    return world.dials.seasonality * swing[category] * np.cos(angle)


def mean_units(mean: np.ndarray, stock: np.ndarray) -> np.ndarray:
    """Expected units sold, E[min(D, stock)] for D ~ Poisson(mean), elementwise.

    E[min(D, s)] = mean * P(D <= s - 2) + s * P(D >= s); 0 for an empty shelf.
    """
    mean, stock = np.broadcast_arrays(np.asarray(mean, float), np.asarray(stock, float))
    below = np.where(stock >= 2, gammaincc(np.maximum(stock - 1, 1), mean), 0.0)
    return np.where(stock >= 1, mean * below + stock * chance_sold_out(mean, stock), 0.0)


def chance_sold_out(mean: np.ndarray, stock: np.ndarray) -> np.ndarray:
    """P(D >= stock) for D ~ Poisson(mean), elementwise; 1 for an empty shelf."""
    return np.where(np.asarray(stock) >= 1, gammainc(np.maximum(stock, 1), mean), 1.0)


def products_of_demand(world: World) -> dict[str, np.ndarray]:
    """What decides each product's demand, (item,): base, trend, elasticity, costs, rates."""
    items, rng = world.items, world.rng("demand products")
    count = len(items["category"])
    popularity = items["popularity"] / items["popularity"].mean()
    draws = rng.standard_normal((count, 3))
    margin = rng.uniform(0.35, 0.65, count)
    price = np.round(items["price"] * 100).astype(np.int64)
    cost = np.maximum(np.round(price * (1 - margin)), 1).astype(np.int64)
    steep = 2.0 + 0.7 * items["price_z"] + 0.4 * draws[:, 1]  # dear things react more to a price
    return {
        "base": np.log(MEAN_UNITS * popularity) + 0.3 * draws[:, 0],
        "elasticity": np.clip(steep, 0.3, 4.0),
        "trend": 0.004 * draws[:, 2],  # log units a week
        "returned": expit(-2.2 - 0.5 * items["quality"] + 0.6 * (items["category"] >= 5)),
        "coupon": expit(-0.6 + 0.8 * items["price_z"]),  # buyers who use the coupon of a promotion
        "price_cents": price,
        "cost_cents": cost,
        "salvage_cents": np.round(cost * SALVAGE).astype(np.int64),
    }


def simulate_demand(world: World, weeks: int) -> dict[str, np.ndarray]:
    """Weeks 0 .. weeks - 1 of every product, each value (week, item); a longer run begins alike.

    `demand`, `stock`, `units`, `promotion`, `discount`, `returned`, `coupon_units`; the true
    `mean`, `mean_regular` (no promotion) and `mean_promoted` (20 % off); and the past as known
    before the week began: `units_last`, `units_mean` and `empty_share` (last 4 weeks),
    `promotion_last`. Raises ValueError for fewer than 1 week.
    """
    if isinstance(weeks, bool) or not isinstance(weeks, (int, np.integer)) or weeks < 1:
        raise ValueError(f"weeks is {weeks!r}; give a whole number of 1 or more")
    traits, category = products_of_demand(world), world.items["category"]
    count = len(category)
    strength = (traits["base"] - traits["base"].mean()) / traits["base"].std()
    spread = 0.5 * world.dials.noise
    level = spread * world.rng("demand level").standard_normal(count)
    left = np.zeros(count, dtype=np.int64)
    past_units: list[np.ndarray] = []
    past_empty: list[np.ndarray] = []
    past_promotion: list[np.ndarray] = []
    kept: dict[str, list[np.ndarray]] = {}
    for week in range(-WARM_UP, weeks):
        rng = world.rng("demand week", week + WARM_UP)
        step = rng.standard_normal(count) * spread * np.sqrt(1 - LEVEL_MEMORY**2)
        level = LEVEL_MEMORY * level + step
        swing = season(world, category, week)
        wanted = expit(-2.2 + 0.7 * strength + 1.5 * swing)
        promotion = rng.random(count) < wanted
        discount = np.where(promotion, DISCOUNTS[rng.integers(0, 3, count)], 0.0)
        log_regular = traits["base"] + swing + traits["trend"] * min(week, TREND_WEEKS) + level
        mean = np.exp(log_regular - traits["elasticity"] * np.log1p(-discount))
        demand = rng.poisson(mean)
        # the shop orders by what it sold lately, with a cover that is now too thin, now too thick
        recent = np.mean(past_units[-HISTORY:], axis=0) if past_units else np.exp(traits["base"])
        cover = rng.uniform(0.8, 2.2, count) * (1 + 1.5 * discount)
        stock = np.maximum(left, np.ceil(recent * cover + 1)).astype(np.int64)
        units = np.minimum(demand, stock)
        if week >= 0:
            now = {
                "demand": demand, "stock": stock, "units": units, "promotion": promotion,
                "discount": discount, "mean": mean, "mean_regular": np.exp(log_regular),
                "mean_promoted": np.exp(log_regular - traits["elasticity"] * np.log(0.8)),
                "returned": rng.binomial(units, traits["returned"]),
                "coupon_units": rng.binomial(units, traits["coupon"]),
                "units_last": past_units[-1], "units_mean": np.mean(past_units[-HISTORY:], axis=0),
                "empty_share": np.mean(past_empty[-HISTORY:], axis=0),
                "promotion_last": past_promotion[-1],
            }  # fmt: skip
            for name, value in now.items():
                kept.setdefault(name, []).append(value)
        left = stock - units
        past_units.append(units)
        past_empty.append(units == stock)
        past_promotion.append(promotion)
    return {name: np.stack(value) for name, value in kept.items()}
