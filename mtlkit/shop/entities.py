"""Who shops and what is sold: users, items, sellers, places, all drawn from one seed."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.dials import Dials
from mtlkit.shop.draws import make_rng, whitened

CATEGORIES = (
    "t-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
STYLES = ("plain", "striped", "dotted", "checked")
SHAPES = ("slim", "regular", "wide")
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
REGIONS = ("north", "south", "east", "west", "centre", "coast", "lakes", "hills")
DEVICES = ("phone", "tablet", "laptop")
PRICE_BANDS = ("budget", "low", "middle", "high", "luxury")
WAREHOUSES = ("harbour", "valley", "station")
FIRST_SCENARIOS = (
    "search", "feed", "ads", "cart-page", "home", "category", "deals", "email", "video", "similar",
)  # fmt: skip
# place of each region and warehouse on a map, in km: for delivery distances
REGION_KM = np.array(
    [[0, 420], [20, -390], [400, 30], [-410, 10], [0, 0], [-280, 300], [250, 260], [240, -220]],
    dtype=np.float64,
)
WAREHOUSE_KM = np.array([[-300, 200], [180, -150], [60, 120]], dtype=np.float64)
# visits by hour of the day, relative
HOUR_TRAFFIC = np.array(
    [2, 1, 1, 1, 1, 2, 3, 5, 6, 6, 6, 7, 8, 7, 6, 6, 6, 7, 8, 10, 11, 10, 7, 4], dtype=np.float64
)
TYPICAL_PRICE = np.array([15, 40, 35, 55, 110, 30, 32, 75, 60, 95], dtype=np.float64)  # euro
TYPICAL_WEIGHT = np.array([0.2, 0.5, 0.5, 0.4, 1.4, 0.6, 0.3, 0.9, 0.8, 1.3])  # kg


def make_users(seed: int, dials: Dials) -> dict[str, np.ndarray]:
    """Users as arrays (user,): latent taste, what the shop knows, and their past before day 0."""
    rng = make_rng(seed, "users")
    n, k = dials.users, dials.factors
    activity = rng.lognormal(0.0, 0.8, n)
    activity /= activity.mean()
    favourite = rng.integers(0, len(CATEGORIES), n)
    # half of the taste comes with the favourite category, so ids are not the only way to it
    centre = make_rng(seed, "taste centres").standard_normal((len(CATEGORIES), k))
    factors = np.sqrt(0.7) * centre[favourite] + np.sqrt(0.3) * rng.standard_normal((n, k))
    level = whitened(rng.standard_normal((n, 2)), activity)
    sensitivity = whitened(rng.standard_normal((n, 1)), activity)[:, 0]
    visits = rng.poisson(20 * activity)
    return {
        "factors": whitened(factors, activity).astype(np.float32),
        "age_band": rng.choice(len(AGE_BANDS), n, p=[0.2, 0.25, 0.2, 0.15, 0.12, 0.08]),
        "home_region": rng.choice(
            len(REGIONS), n, p=[0.2, 0.15, 0.15, 0.12, 0.15, 0.1, 0.07, 0.06]
        ),
        "device": rng.choice(len(DEVICES), n, p=[0.6, 0.1, 0.3]),
        "favourite_category": favourite,
        "price_sensitivity": sensitivity.astype(np.float32),  # mean 0, sd 1; high: wants it cheap
        "level": level.astype(np.float32),  # (user, 2) how easily this user is moved to act
        "activity": activity.astype(np.float32),  # relative number of visits, mean 1
        # what the shop saw before day 0, a noisy view of the values above
        "past_visits": visits,
        "past_level": (level[:, 0] + rng.standard_normal(n) * 2 / np.sqrt(1 + visits)).astype("f4"),
        "past_buys": (level[:, 1] + rng.standard_normal(n) * 3 / np.sqrt(1 + visits)).astype("f4"),
        "past_basket": (-sensitivity + 0.7 * rng.standard_normal(n)).astype(np.float32),
        "recency_days": rng.exponential(10 / (0.3 + activity)).astype(np.float32),
    }


def make_sellers(seed: int, dials: Dials) -> dict[str, np.ndarray]:
    """Sellers as arrays (seller,): quality (mean 0, sd 1), size, home warehouse."""
    rng = make_rng(seed, "sellers")
    n = dials.sellers
    size = rng.pareto(1.5, n) + 0.2
    return {
        "quality": rng.standard_normal(n).astype(np.float32),
        "size": (size / size.sum()).astype(np.float32),
        "warehouse": rng.integers(0, len(WAREHOUSES), n),
    }


def make_items(seed: int, dials: Dials, sellers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Items as arrays (item,): attributes a shopper sees, latent appeal, past before day 0."""
    rng = make_rng(seed, "items")
    n, k = dials.items, dials.factors
    category = rng.permutation(np.arange(n) % len(CATEGORIES))  # every category is filled alike
    style = rng.choice(len(STYLES), n, p=[0.4, 0.25, 0.15, 0.2])
    shape = rng.choice(len(SHAPES), n, p=[0.3, 0.5, 0.2])
    share = sellers["size"].astype(np.float64)
    seller = rng.choice(dials.sellers, n, p=share / share.sum())
    log_deviation = rng.standard_normal(n)  # price compared with others of its category
    price = np.round(TYPICAL_PRICE[category] * np.exp(0.4 * log_deviation), 2)
    band = np.clip(np.floor((log_deviation + 1.5) / 0.75), 0, 4).astype(np.int64)
    centre = make_rng(seed, "taste centres").standard_normal((len(CATEGORIES), k))
    look = make_rng(seed, "style centres").standard_normal((len(STYLES), k))
    factors = np.sqrt(0.6) * centre[category] + np.sqrt(0.15) * look[style]
    factors = factors + np.sqrt(0.25) * rng.standard_normal((n, k))
    quality = np.sqrt(0.3) * sellers["quality"][seller] + np.sqrt(0.7) * rng.standard_normal(n)
    appeal = whitened(np.column_stack([quality, rng.standard_normal((n, 2))]))
    popularity = (1 + rng.permutation(n)) ** -0.6 * np.exp(0.3 * appeal[:, 0])
    return {
        "factors": whitened(factors).astype(np.float32),
        "category": category,
        "style": style,
        "shape": shape,
        "price": price,  # euro
        "price_z": whitened(log_deviation[:, None])[:, 0].astype(np.float32),
        "price_band": band,
        "seller": seller,
        "quality": appeal[:, 0].astype(np.float32),  # mean 0, sd 1
        "appeal": appeal.astype(np.float32),  # (item, 3), the first is quality
        "popularity": (popularity / popularity.sum()).astype(np.float64),  # sums to 1
        "weight_kg": np.round(TYPICAL_WEIGHT[category] * np.exp(0.25 * rng.standard_normal(n)), 2),
        "warehouse": np.where(
            rng.random(n) < 0.7, sellers["warehouse"][seller], rng.integers(0, len(WAREHOUSES), n)
        ),
        # what the shop saw before day 0: noisy views of two sides of the appeal
        "past_clicks": (appeal[:, 1] + 0.4 * rng.standard_normal(n)).astype(np.float32),
        "past_rating": np.round(
            np.clip(3.8 + 0.5 * appeal[:, 0] + 0.3 * rng.standard_normal(n), 1, 5), 1
        ),
    }


def make_scenarios(dials: Dials) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the scenarios and their share of the traffic, (scenario,), summing to 1."""
    names = FIRST_SCENARIOS + tuple(f"place-{i}" for i in range(len(FIRST_SCENARIOS), 100))
    traffic = (1 + np.arange(dials.scenarios)) ** -float(dials.scenario_tail)
    return names[: dials.scenarios], traffic / traffic.sum()
