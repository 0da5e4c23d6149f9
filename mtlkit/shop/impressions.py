"""Impressions: pages shown to visitors, and everything that follows from each product on them.

Rows are made in blocks of 1,024 pages, each from a generator of its own; so any range of rows is
the same whatever was asked for before, and a short table is the start of a long one.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.behaviour import Behaviour
from mtlkit.shop.draws import rows_of_blocks
from mtlkit.shop.luck import DrawnLuck
from mtlkit.shop.visits import BLOCK_PAGES


class ImpressionLog:
    """The log of one shop; `block(n)` is its n-th block of rows."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.world = behaviour, behaviour.world
        self.block_rows = BLOCK_PAGES * self.world.dials.page_size

    def block(self, number: int) -> dict[str, np.ndarray]:
        """Block `number`: columns (row,) of inputs, labels and truths, in page order.

        Labels are `<task>`, what is true of them `true_<task>`, logits before luck `score_<event>`.
        """
        size, outcomes = self.world.dials.page_size, self.behaviour.outcomes
        rng = self.world.rng("impressions", number)
        visit = self.behaviour.visits.draw(rng, BLOCK_PAGES)
        item = self.behaviour.pages.choose(rng, visit)
        scores, utility = self.behaviour.scores(visit, item, np.arange(size))
        scores = {name: value.ravel() for name, value in scores.items()}
        utility = {name: value.ravel() for name, value in utility.items()}
        page = np.repeat(np.arange(BLOCK_PAGES), size)
        columns = {name: value[page] for name, value in visit.items()}
        columns["item"] = item.ravel()
        columns["position"] = np.tile(np.arange(size), BLOCK_PAGES)
        columns["session"] = number * BLOCK_PAGES + page
        luck = DrawnLuck(
            outcomes, rng, item.size, lambda event: self.world.rng(event.stream, number)
        )
        stock = self.behaviour.stock_columns(columns["day"], columns["item"])
        chances = outcomes.chances(outcomes.with_luck(scores, luck))
        chances = self.behaviour.buyable(chances, stock)
        truth = outcomes.truth(chances, utility)
        columns |= {f"score_{name}": value for name, value in scores.items()}
        columns |= {f"true_{name}": value for name, value in truth.items()}
        columns |= outcomes.acts(chances, luck)
        columns |= stock
        if stock:
            columns["true_in_stock"] = (stock["stock"] > 0).astype(np.float32)
        columns["dwell"] = outcomes.dwell(utility, luck).astype(np.float32)
        columns["rating"] = outcomes.rating(utility, luck)
        return columns

    def columns(self, start: int, rows: int) -> dict[str, np.ndarray]:
        """Columns (row,) of rows start .. start + rows - 1."""
        return rows_of_blocks(self.block, self.block_rows, start, rows)
