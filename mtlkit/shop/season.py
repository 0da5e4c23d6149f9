"""The season: time of day, weekend, and the time of year of a product's category."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.world import World

# +1: a summer product, -1: a winter product; the first day is the first of March
SUMMER = np.array([1, 0, -1, 1, -1, 1, 0.3, 0.2, 0, -1], dtype=np.float32)
FIRST_DAY_OF_YEAR = 60


def season_push(
    world: World, category: np.ndarray, day: np.ndarray, hour: np.ndarray
) -> np.ndarray:
    """The season's push in logits, float32, of the dial ``seasonality`` (the arrays broadcast)."""
    year = -np.cos(2 * np.pi * (day + FIRST_DAY_OF_YEAR) / 364)
    daily = 0.5 * np.sin(2 * np.pi * (hour - 14) / 24)
    weekend = 0.5 * (day % 7 >= 5)
    swing = SUMMER[category] * year + daily + weekend
    return (world.dials.seasonality * swing).astype(np.float32)
