"""Margins: what the shop earns on one piece of each product, in euro."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.demand_process import products_of_demand
from mtlkit.shop.world import World


def margins(world: World) -> np.ndarray:
    """Price less unit cost of each product, as the weekly demand has them: euro (item,), float64.

    Of the price it is a share that differs from product to product, so a high price is not a high
    margin: a ranking by profit differs from one by revenue.
    """
    traits = products_of_demand(world)
    return (traits["price_cents"] - traits["cost_cents"]) / 100
