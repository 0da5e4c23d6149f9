"""How visitors of one world behave: from a visit and a page to logits, at the dials' rates."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.luck import DrawnLuck
from mtlkit.shop.outcomes import Named, Outcomes
from mtlkit.shop.pages import Pages
from mtlkit.shop.probability import shift_to_rate, sigmoid
from mtlkit.shop.season import season_push
from mtlkit.shop.stock import Stock
from mtlkit.shop.taste import Taste
from mtlkit.shop.visits import Visits
from mtlkit.shop.world import World

CALIBRATION_ROWS = 32_768
ORDER = ("", "click", "till", "purchase")  # what an event is given, from the first to the last


class Behaviour:
    """Visits, pages, taste and outcomes of one world; the log and the live shop both ask it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taste = Taste(world)
        self.visits = Visits(world)
        self.pages = Pages(world, self.taste)
        self.outcomes = Outcomes(world)
        self.stock = Stock(world)
        self._calibrate()

    def scores(
        self, visit: dict[str, np.ndarray], item: np.ndarray, position: np.ndarray
    ) -> tuple[Named, Named]:
        """Logits before luck, and utilities, both {name: float32 (page, slot)}.

        visit {name: (page,)}, item (page, slot), position (slot,).
        """
        utility = self.taste.utilities(visit, item)
        category = self.world.items["category"][item]
        season = season_push(self.world, category, visit["day"][:, None], visit["hour"][:, None])
        return self.outcomes.scores(utility, visit["scenario"], season, position), utility

    def stock_columns(self, day: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
        """Sales and stock, see `Stock.columns`; nothing where the dial ``stock_columns`` is 0."""
        return self.stock.columns(day, item) if self.world.dials.stock_columns else {}

    def buyable(self, chances: Named, stock: dict[str, np.ndarray]) -> Named:
        """The chances, that of a checkout 0 where `stock` (of `stock_columns`) is sold out.

        chances {event: float32}, stock {column: int64}: all of one shape, (page, slot) or (row,).
        """
        if "stock" not in stock or "checkout" not in chances:
            return chances
        left = stock["stock"] > 0
        return chances | {"checkout": np.where(left, chances["checkout"], np.float32(0))}

    def _calibrate(self) -> None:
        """Set the intercepts that give the rates of the dials on a sample of pages.

        Shelves count as full: what is sold out lowers the purchases, and moves no intercept.
        """
        world, outcomes, dials = self.world, self.outcomes, self.world.dials
        rng = world.rng("calibration")
        visit = self.visits.draw(rng, max(256, CALIBRATION_ROWS // dials.page_size))
        item = self.pages.choose(rng, visit)
        scores, _ = self.scores(visit, item, np.arange(dials.page_size))
        luck = DrawnLuck(
            outcomes, rng, item.size, lambda event: world.rng(f"{event.name} calibration", 0)
        )
        flat = {name: score.ravel() for name, score in scores.items()}
        logits = outcomes.with_luck(flat, luck)
        chances: Named = {}
        for event in sorted(outcomes.events, key=lambda event: ORDER.index(event.given)):
            reached = np.ones(item.size)
            if event.given:
                reached = outcomes.joint(event.given, chances)
            rate = getattr(dials, event.rate) / (dials.label_sparsity if event.sparse else 1)
            if event.per is not None:
                rate = rate * outcomes.joint(event.per, chances).sum() / reached.sum()
            logit = logits[event.name].astype(np.float64)
            shift = shift_to_rate(logit, reached, rate)
            outcomes.intercept[event.name] = np.float32(round(shift, 3))
            chances[event.name] = sigmoid(logit + shift)
