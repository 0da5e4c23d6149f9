"""The wish list of a shop that has one: a second way from a click to the till.

A clicked product is put on the list with probability sigmoid(b + signal * u + noise * luck), where
u = (utility_click + utility_rating) / sqrt(2 (1 + rho)) has variance 1: what pleases is kept in
mind. Of the wished products a share of ``TILL_SHARE`` comes to the till without a cart:

    P(till | click) = 1 - (1 - cart) (1 - TILL_SHARE wish) (1 - buy_now)

Every draw comes from generators of its own, so visits, clicks and carts are those of the same shop
without a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtlkit.schema import Task
from mtlkit.shop.taste import OUTCOMES

if TYPE_CHECKING:
    from mtlkit.shop.market import Market

WISH = Task("wish", "binary", given="click")


class WishList:
    """Who wishes for what in one market; the dial ``wish_rate`` is above 0."""

    def __init__(self, market: Market) -> None:
        self.market = market
        rho = market.dials.task_correlation
        self._scale = np.float32(market.dials.signal / np.sqrt(2 + 2 * rho)) if rho > -1 else 0.0
        self.intercept = np.float32(0.0)

    def score(self, utility: np.ndarray) -> np.ndarray:
        """Logits before luck, float32 (...), of utilities (..., outcome)."""
        pleases = utility[..., OUTCOMES.index("click")] + utility[..., OUTCOMES.index("rating")]
        return (self._scale * pleases + self.intercept).astype(np.float32)

    def draws(self, name: str, block: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Luck in logits (row,), and two uniform numbers a row (2, row): wished, came to the till.

        The same (name, block) draws the same.
        """
        rng = self.market.rng(name, block)
        luck = self.market.dials.noise * rng.standard_normal(rows, dtype=np.float32)
        return luck.astype(np.float32), rng.random((2, rows), dtype=np.float32)
