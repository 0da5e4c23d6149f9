"""Stock and sales of each product on each day, from the weekly demand of the same shop.

Day d lies in week d // 7 of `demand_process`. The demand of a week falls on its seven days alike
(multinomial, a stream of its own), so the shelf holds in the morning

    stock_i(d) = max(stock at the start of the week - demand of its earlier days, 0)

and a product with nothing left in the morning cannot be bought that day: P(checkout) = 0 (dial
``stock_columns``). The visitors of the log and of the live shop are a sample of all who buy: what
they do takes nothing off the shelf.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.demand_process import simulate_demand
from mtlkit.shop.world import World

COLUMNS = ("sales_7d", "stock")
DAYS = 7


class Stock:
    """Sales and stock of one world; weeks are lived through when they are first asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._sales = self._morning = np.zeros((0, world.dials.items), dtype=np.int64)

    def _live(self, weeks: int) -> None:
        known = len(self._sales)
        if weeks <= known:
            return
        panel = simulate_demand(self.world, max(weeks, 2 * known))
        self._sales = panel["units_last"].astype(np.int64)  # (week, item)
        mornings = []
        for week in range(len(self._sales)):
            rng = self.world.rng("demand days", week)
            days = rng.multinomial(panel["demand"][week], np.full(DAYS, 1 / DAYS)).T
            before = np.cumsum(days, axis=0) - days  # (day, item)
            mornings.append(np.maximum(panel["stock"][week] - before, 0))
        self._morning = np.concatenate(mornings)  # (day, item)

    def columns(self, day: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
        """Pieces, int64, shaped as day and item broadcast: ``sales_7d`` and ``stock``.

        ``sales_7d``: sold in the last full week before the day's week; ``stock``: left in the
        morning of the day.
        """
        self._live(int(np.max(day)) // DAYS + 1)
        return {"sales_7d": self._sales[day // DAYS, item], "stock": self._morning[day, item]}
