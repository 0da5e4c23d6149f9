"""Margins: what the shop earns on one piece of each product, in euro.

    margin_i = price_i * (share_c(i) + deviation_i)

with the share of each category uniform in ``SHARES`` and a small deviation of each product's own,
normal with standard deviation ``ITEM_SD`` and cut at twice that. So a high price is not a high
margin: a ranking by profit differs from one by revenue.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.entities import CATEGORIES
from mtlkit.shop.world import World

SHARES = (0.15, 0.45)  # of the price, by category
ITEM_SD = 0.02  # of the price, by product


def margins(world: World) -> np.ndarray:
    """Margin of one piece of each product in euro, float32 (item,), whole cents."""
    rng = world.rng("margins")
    share = rng.uniform(*SHARES, len(CATEGORIES))
    deviation = ITEM_SD * np.clip(rng.standard_normal(world.dials.items), -2, 2)
    margin = world.items["price"] * (share[world.items["category"]] + deviation)
    return np.round(margin, 2).astype(np.float32)
