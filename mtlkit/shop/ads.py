"""Ads: every product is promoted by its seller, who bids in euro a click (dial ``ad_bid``).

    log bid_i = constant + SELLER_SD * z_seller(i) + VALUE * log(margin_i) + ITEM_SD * z_i

so sellers bid more for what earns more, and some are keener than others. The mean over the products
is the dial before bids are rounded to whole cents and raised to at least one: with a dial of a few
cents the mean bid differs from it, and below one cent it is about one. An ad shown is worth
P(click) * bid to the shop. Bids change no impression: the scenario "ads" is what it is without
them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from mtlkit.shop.margins import margins
from mtlkit.shop.world import World

SELLER_SD, VALUE, ITEM_SD = 0.4, 0.5, 0.3
QUALITIES = 10


def bids(world: World) -> np.ndarray:
    """Bid of each product's seller in euro a click, float32 (item,), whole cents.

    Raises ValueError where the dial ad_bid is 0.
    """
    if world.dials.ad_bid == 0:
        raise ValueError("dial ad_bid is 0: nobody bids in this shop; set it to a mean bid in euro")
    rng = world.rng("ads")
    keen = SELLER_SD * rng.standard_normal(world.dials.sellers)
    own = ITEM_SD * rng.standard_normal(world.dials.items)
    worth = np.log(np.maximum(margins(world).astype(np.float64), 0.01))
    relative = np.exp(keen[world.items["seller"]] + VALUE * worth + own)
    bid = world.dials.ad_bid * relative / relative.mean()
    return np.maximum(np.round(bid, 2), 0.01).astype(np.float32)


def ads_frame(world: World) -> pl.DataFrame:
    """One row an ad: item, seller (as in the impressions frame), bid (euro a click), quality.

    ``quality`` is the shop's own score from 1 (worst) to 10: in which tenth of all products the
    clicks before day 0 put the item. Raises ValueError where the dial ad_bid is 0.
    """
    items, count = world.items, world.dials.items
    rank = np.argsort(np.argsort(items["past_clicks"], kind="stable"), kind="stable")
    return pl.DataFrame(
        {
            "item": np.arange(count),
            "seller": [f"seller-{number:03d}" for number in items["seller"]],
            "bid": bids(world),
            "quality": 1 + rank * QUALITIES // count,
        }
    )
