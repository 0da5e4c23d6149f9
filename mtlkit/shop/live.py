"""The live shop: simulated visitors who see a ranked page and act on it.

Two policies are compared on the same visitors with common random numbers: what a visitor would do
with a product depends on draws hashed from (seed, visitor, item) alone, whatever else is shown and
in whatever order. So a paired A/B test measures the difference of the policies, not of the luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mtlkit.data.table import Table
from mtlkit.shop.behaviour import Behaviour
from mtlkit.shop.impression_table import features, impression_schema
from mtlkit.shop.luck import HashedLuck
from mtlkit.shop.margins import margins
from mtlkit.shop.outcomes import Named
from mtlkit.shop.probability import sigmoid
from mtlkit.shop.visits import BLOCK_PAGES

GOALS = ("click", "purchase", "revenue", "margin")
CANDIDATES = 99  # the kind of draw that decides what may be shown


@dataclass(frozen=True)
class Visitor:
    """One visit: who, where and when."""

    number: int  # place in the stream
    user: int
    scenario: int
    day: int  # counts on from the log's first day
    hour: int
    region: int
    device: int


@dataclass(frozen=True)
class Outcome:
    """What a visitor did with a page; arrays are (slot,) in the order shown."""

    items: np.ndarray
    click: np.ndarray  # bool
    cart: np.ndarray  # bool, only where clicked
    purchase: np.ndarray  # bool, only where clicked
    dwell: np.ndarray  # seconds, 0 where not clicked
    revenue: float  # euro
    expected_click: np.ndarray  # P(click) of each slot, with the visitor's luck
    expected_purchase: np.ndarray  # P(click and purchase)
    expected_revenue: float  # euro
    margin: float  # euro, see `margins.py`
    expected_margin: float  # euro


class Live:
    """A stream of visitors; the same seed gives the same visitors and the same luck."""

    def __init__(self, behaviour: Behaviour, seed: int = 0, visitors_per_day: int = 1000) -> None:
        if visitors_per_day < 1:
            raise ValueError(f"visitors_per_day: expected at least 1, got {visitors_per_day}")
        self.behaviour, self.world, self.seed = behaviour, behaviour.world, int(seed)
        self.visitors_per_day = int(visitors_per_day)
        self._number = 0
        self._block: tuple[int, dict[str, list[int]]] = (-1, {})
        words = self.world.rng("live luck", self.seed).integers(0, 2**63, 1)
        self._salt = words.astype(np.uint64)
        self._margins = margins(self.world)

    def next(self) -> Visitor:
        """The next visitor."""
        number = self._number
        self._number += 1
        block, place = divmod(number, BLOCK_PAGES)
        if self._block[0] != block:
            rng = self.world.rng("live visits", self.seed, block)
            visits = self.behaviour.visits.draw(rng, BLOCK_PAGES)
            self._block = (block, {name: value.tolist() for name, value in visits.items()})
        visit = {name: value[place] for name, value in self._block[1].items()}
        visit["day"] = self.world.dials.days + number // self.visitors_per_day
        return Visitor(number=number, **visit)

    def visitors(self, count: int) -> list[Visitor]:
        """The next `count` visitors."""
        return [self.next() for _ in range(count)]

    def candidates(self, visitor: Visitor | Sequence[Visitor], count: int = 40) -> np.ndarray:
        """Items (count,) that may be shown to this visitor, always the same ones.

        Several visitors: items (visitor, count), the same as one by one.
        """
        items = self.world.dials.items
        if not 1 <= count <= items:
            raise ValueError(f"count: {count} is outside 1 to {items}, the number of items")
        if isinstance(visitor, Visitor):
            return self.candidates([visitor], count)[0]
        found = np.empty((len(visitor), count), dtype=np.int64)
        for at in range(0, len(visitor), 256):
            numbers = np.array([v.number for v in visitor[at : at + 256]])
            shown = np.broadcast_to(np.arange(items), (len(numbers), items))
            draws = HashedLuck(self._salt, numbers[:, None], shown).draw(CANDIDATES)
            found[at : at + 256] = np.argsort(draws, axis=1, kind="stable")[:, :count]
        return found

    def table(self, visitor: Visitor | Sequence[Visitor], items: np.ndarray) -> Table:
        """What a model may read to rank: a table without labels, position 0 in every row.

        visitor: one with items (item,), or several with items (visitor, item); rows in that order.
        """
        visits, pages = self._pages(visitor, items)
        rows = {name: np.repeat(value, pages.shape[1]) for name, value in visits.items()}
        rows |= {"item": pages.ravel(), "position": np.zeros(pages.size, dtype=np.int64)}
        rows |= self.behaviour.stock_columns(rows["day"], rows["item"])
        ids, dense = features(self.world, rows)
        schema = impression_schema(self.world)
        nothing = torch.zeros(len(ids), schema.num_tasks)
        return Table(
            schema, torch.from_numpy(ids), torch.from_numpy(dense), {}, nothing, nothing.bool(),
            torch.from_numpy(rows["scenario"]),
            keys={name: torch.from_numpy(rows[name]) for name in ("user", "item", "day")},
        )  # fmt: skip

    def serve(self, visitor: Visitor, ranked_items: Sequence[int] | np.ndarray) -> Outcome:
        """Show the items, the first on top, and see what the visitor does."""
        return self.serve_many([visitor], np.asarray(ranked_items)[None])[0]

    def serve_many(self, visitors: Iterable[Visitor], pages: np.ndarray) -> list[Outcome]:
        """As `serve` for many visitors at once; pages (visitor, slot)."""
        visits, pages = self._pages(list(visitors), pages)
        ordered = np.sort(pages, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise ValueError("ranked_items: an item stands twice on one page; show each once")
        what = self._act(visits, pages)
        price = self.world.items["price"][pages]
        money, expected = (what["purchase"] * price).sum(1), (what["sale"] * price).sum(1)
        margin = self._margins[pages].astype(np.float64)
        earned, hoped = (what["purchase"] * margin).sum(1), (what["sale"] * margin).sum(1)
        return [
            Outcome(
                pages[i], what["click"][i], what["cart"][i], what["purchase"][i],
                what["dwell"][i], float(money[i]), what["p_click"][i], what["sale"][i],
                float(expected[i]), float(earned[i]), float(hoped[i]),
            )
            for i in range(len(pages))
        ]  # fmt: skip

    def best_page(
        self, visitor: Visitor, items: np.ndarray, size: int | None = None, goal: str = "purchase"
    ) -> np.ndarray:
        """The `size` items that the true probabilities before luck rank first, best on top.

        goal: "click", "purchase" (P(click) P(purchase | click)), "revenue" (times the price) or
        "margin" (times the margin).
        """
        return self.best_pages([visitor], np.atleast_2d(np.asarray(items)), size, goal)[0]

    def best_pages(
        self,
        visitors: Sequence[Visitor],
        items: np.ndarray,
        size: int | None = None,
        goal: str = "purchase",
    ) -> np.ndarray:
        """As `best_page` for many visitors at once: items (visitor, item) to (visitor, size)."""
        if goal not in GOALS:
            raise ValueError(f"goal: {goal!r} is not one of {GOALS}")
        visits, pages = self._pages(visitors, items)
        scores, _ = self._scores(visits, pages, np.zeros(pages.shape[1]))
        chances = {name: sigmoid(score) for name, score in scores.items()}
        chances = self.behaviour.buyable(chances, self._stock(visits, pages))
        stage = "click" if goal == "click" else "purchase"
        value = self.behaviour.outcomes.joint(stage, chances)
        if goal == "revenue":
            value = value * self.world.items["price"][pages]
        if goal == "margin":
            value = value * self._margins[pages]
        order = np.argsort(-value, axis=1, kind="stable")
        return np.take_along_axis(pages, order[:, : size or self.world.dials.page_size], axis=1)

    # --- inside -----------------------------------------------------------------------------

    def _pages(
        self, visitors: Visitor | Sequence[Visitor], items: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        many = [visitors] if isinstance(visitors, Visitor) else list(visitors)
        pages = np.atleast_2d(np.asarray(items))
        if pages.dtype.kind not in "iu" or pages.ndim != 2 or pages.shape[1] == 0:
            raise ValueError("items: expected whole item numbers, (slot,) or (visitor, slot)")
        if len(pages) != len(many):
            raise ValueError(f"items: {len(pages)} pages for {len(many)} visitors; give one each")
        bad = (pages < 0) | (pages >= self.world.dials.items)
        if bad.any():
            raise ValueError(
                f"items: {pages[bad][0]} is no item; they are 0 to {self.world.dials.items - 1}"
            )
        names = ("number", "user", "scenario", "day", "hour", "region", "device")
        visits = {name: np.array([getattr(v, name) for v in many]) for name in names}
        return visits, pages.astype(np.int64)

    def _scores(
        self, visits: dict[str, np.ndarray], pages: np.ndarray, position: np.ndarray
    ) -> tuple[Named, Named]:
        """Logits before luck of what a visit shows, and utilities, {name: (visitor, slot)}."""
        scores, utility = self.behaviour.scores(visits, pages, position)
        # what follows a purchase happens at home
        later = [e.name for e in self.behaviour.outcomes.events if e.given == "purchase"]
        return {name: score for name, score in scores.items() if name not in later}, utility

    def _stock(self, visits: Named, pages: np.ndarray) -> Named:
        return self.behaviour.stock_columns(visits["day"][:, None], pages)

    def _act(self, visits: dict[str, np.ndarray], pages: np.ndarray) -> Named:
        """Outcomes (visitor, slot) from draws that belong to (visitor, item)."""
        outcomes = self.behaviour.outcomes
        scores, utility = self._scores(visits, pages, np.arange(pages.shape[1]))
        luck = HashedLuck(self._salt, visits["number"][:, None], pages)
        chances = outcomes.chances(outcomes.with_luck(scores, luck))
        chances = self.behaviour.buyable(chances, self._stock(visits, pages))
        did = outcomes.acts(chances, luck)
        return {
            "click": did["click"],
            "cart": did["click"] & did["cart"],
            "purchase": did["click"] & did["purchase"],
            "dwell": np.where(did["click"], outcomes.dwell(utility, luck), 0.0),
            "p_click": chances["click"],
            "sale": outcomes.joint("purchase", chances),
        }
