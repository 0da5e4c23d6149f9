"""Impressions of contents: pages of guides and videos, and what follows from each of them.

Rows are made in blocks as those of `impressions.py`, by the same users, in the same scenarios,
from generators of their own. Pages hold popular contents more often (dial exposure "random": all
alike); no recommender chose them.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.behaviour import Behaviour
from mtlkit.shop.content_outcomes import FINISH_SD, ContentOutcomes, share_seen
from mtlkit.shop.content_taste import ContentTaste
from mtlkit.shop.draws import rows_of_blocks
from mtlkit.shop.margins import margins
from mtlkit.shop.mean_over_luck import mean_over_luck
from mtlkit.shop.outcomes import Named
from mtlkit.shop.pages import Decks
from mtlkit.shop.season import season_push
from mtlkit.shop.visits import BLOCK_PAGES


class ContentLog:
    """The log of the contents of one shop; `block(n)` is its n-th block of rows."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        world = self.world = behaviour.world
        if not world.contents:
            raise ValueError("dial contents is 0: this shop has no contents; set it, e.g. to 200")
        self.block_rows = BLOCK_PAGES * world.dials.page_size
        self.decks = Decks(
            world.rng("content decks"), world.contents["popularity"], world.dials.page_size
        )
        self.taste, self.outcomes = ContentTaste(behaviour), ContentOutcomes(world)
        self._margins = margins(world).astype(np.float64)
        rng = world.rng("content calibration")
        visit, content = self._pages(rng, 4 * BLOCK_PAGES)
        self.outcomes.calibrate(self._scores(visit, content)[0], rng)

    def _pages(self, rng: np.random.Generator, pages: int) -> tuple[Named, np.ndarray]:
        visit = self.behaviour.visits.draw(rng, pages)
        popular = self.world.dials.exposure != "random"
        return visit, self.decks.draw(rng, (pages, self.world.dials.page_size), popular)

    def _scores(self, visit: Named, content: np.ndarray) -> tuple[Named, Named, Named]:
        """Logits of the contents before luck, their utilities, logits of their products."""
        items = self.taste.products(content)
        products, liking = self.behaviour.scores(visit, items, np.zeros(items.shape[1]))
        utility = self.taste.utilities(visit, content, liking)
        category = self.world.contents["category"][content]
        season = season_push(self.world, category, visit["day"][:, None], visit["hour"][:, None])
        position = np.arange(content.shape[1])
        scores = self.outcomes.scores(utility, visit["scenario"], season, position)
        return scores, utility, products

    def _worth(self, visit: Named, content: np.ndarray, products: Named) -> np.ndarray:
        """Expected margin in euro of a visit, float32 (page, slot)."""
        items = self.taste.products(content)
        flat = {name: score.ravel() for name, score in products.items()}
        means = mean_over_luck(self.behaviour.outcomes, flat, selected=False)
        chance = means["purchase"].reshape(items.shape).astype(np.float64)
        stock = self.behaviour.stock_columns(visit["day"][:, None], items)
        if stock:
            chance = chance * (stock["stock"] > 0)
        euro = self.taste.mean_over_products(chance * self._margins[items], content)
        return np.round(euro, 5).astype(np.float32)

    def block(self, number: int) -> dict[str, np.ndarray]:
        """Block `number`: columns (row,) of inputs, labels and truths, in page order."""
        size = self.world.dials.page_size
        rng = self.world.rng("content impressions", number)
        visit, content = self._pages(rng, BLOCK_PAGES)
        normal = rng.standard_normal((3, content.size), dtype=np.float32)
        uniform = rng.random((2, content.size), dtype=np.float32)
        scores, utility, products = self._scores(visit, content)
        scores = {name: value.ravel() for name, value in scores.items()}
        page = np.repeat(np.arange(BLOCK_PAGES), size)
        columns = {name: value[page] for name, value in visit.items()}
        columns["content"] = content.ravel()
        columns["position"] = np.tile(np.arange(size), BLOCK_PAGES)
        columns["session"] = number * BLOCK_PAGES + page
        contents = self.world.contents
        share = share_seen(utility["finish"].ravel(), contents["seconds_z"][columns["content"]])
        luck = dict(zip(("open", "visit"), normal))
        chances = self.outcomes.chances(scores, luck, share)
        full = np.log1p(contents["seconds"][columns["content"]])
        seen = FINISH_SD * normal[2].astype(np.float64) + share
        columns["open"] = uniform[0] < chances["open"]
        columns["visit"] = uniform[1] < chances["visit"]
        columns["finish"] = seen >= 0
        columns["seconds"] = np.maximum(np.expm1(full + seen), 0).round(1).astype(np.float32)
        columns |= {f"true_{name}": value for name, value in chances.items()}
        columns["true_seconds"] = (
            np.expm1(full + share + FINISH_SD**2 / 2).round(3).astype(np.float32)
        )
        columns["true_seconds_log1p"] = (full + share).astype(np.float32)
        columns |= {f"score_{name}": value for name, value in scores.items()}
        columns["true_visit_worth"] = self._worth(visit, content, products).ravel()
        return columns

    def columns(self, start: int, rows: int) -> dict[str, np.ndarray]:
        """Columns (row,) of rows start .. start + rows - 1."""
        return rows_of_blocks(self.block, self.block_rows, start, rows)
