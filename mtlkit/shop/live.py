"""The live shop: simulated visitors who see a ranked page and act on it.

Two policies are compared on the same visitors with common random numbers: what a visitor would do
with a product depends on draws hashed from (seed, visitor, item) alone, whatever else is shown and
in whatever order. So a paired A/B test measures the difference of the policies, not of the luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mtlkit.data.table import Table
from mtlkit.shop.dials import TILL_SHARE
from mtlkit.shop.impression_table import features, impression_schema
from mtlkit.shop.impressions import (
    BLOCK_PAGES,
    DWELL_MEAN,
    DWELL_SD,
    DWELL_SLOPE,
    rounded,
    sigmoid,
)
from mtlkit.shop.taste import OUTCOMES

if TYPE_CHECKING:
    from mtlkit.shop.market import Market

GOALS = ("click", "purchase", "revenue")


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


class Live:
    """A stream of visitors; the same seed gives the same visitors and the same luck."""

    def __init__(self, market: Market, seed: int = 0, visitors_per_day: int = 1000) -> None:
        if visitors_per_day < 1:
            raise ValueError(f"visitors_per_day: expected at least 1, got {visitors_per_day}")
        self.market, self.seed = market, int(seed)
        self.visitors_per_day = int(visitors_per_day)
        self._number = 0
        self._block: tuple[int, dict[str, np.ndarray]] = (-1, {})
        words = market.rng("live luck", self.seed).integers(0, 2**63, 1)
        self._salt = words.astype(np.uint64)

    def next(self) -> Visitor:
        """The next visitor."""
        number = self._number
        self._number += 1
        block, place = divmod(number, BLOCK_PAGES)
        if self._block[0] != block:
            rng = self.market.rng("live visits", self.seed, block)
            self._block = (block, self.market.log.visits(rng, BLOCK_PAGES))
        visit = {name: int(value[place]) for name, value in self._block[1].items()}
        visit["day"] = self.market.dials.days + number // self.visitors_per_day
        return Visitor(number=number, **visit)

    def visitors(self, count: int) -> list[Visitor]:
        """The next `count` visitors."""
        return [self.next() for _ in range(count)]

    def candidates(self, visitor: Visitor, count: int = 40) -> np.ndarray:
        """Items (count,) that may be shown to this visitor, always the same ones."""
        items = self.market.dials.items
        if not 1 <= count <= items:
            raise ValueError(f"count: {count} is outside 1 to {items}, the number of items")
        draws = self._uniform(np.full(items, visitor.number), np.arange(items), 99)
        return np.argsort(draws, kind="stable")[:count]

    def table(self, visitor: Visitor | Sequence[Visitor], items: np.ndarray) -> Table:
        """What a model may read to rank: a table without labels, position 0 in every row.

        visitor: one with items (item,), or several with items (visitor, item); rows in that order.
        """
        visits, pages = self._pages(visitor, items)
        rows = {name: np.repeat(value, pages.shape[1]) for name, value in visits.items()}
        rows |= {"item": pages.ravel(), "position": np.zeros(pages.size, dtype=np.int64)}
        ids, dense = features(self.market, rows)
        schema = impression_schema(self.market)
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
        price = self.market.items["price"][pages]
        money, expected = (what["purchase"] * price).sum(1), (what["sale"] * price).sum(1)
        return [
            Outcome(
                pages[i], what["click"][i], what["cart"][i], what["purchase"][i],
                what["dwell"][i], float(money[i]), what["p_click"][i], what["sale"][i],
                float(expected[i]),
            )
            for i in range(len(pages))
        ]  # fmt: skip

    def best_page(
        self, visitor: Visitor, items: np.ndarray, size: int | None = None, goal: str = "purchase"
    ) -> np.ndarray:
        """The `size` items that the true probabilities before luck rank first, best on top.

        goal: "click", "purchase" (P(click) P(purchase | click)) or "revenue" (times the price).
        """
        if goal not in GOALS:
            raise ValueError(f"goal: {goal!r} is not one of {GOALS}")
        visits, pages = self._pages(visitor, items)
        log = self.market.log
        score, utility = log.scores(visits, pages, np.zeros(pages.shape[1]))
        click, cart, checkout, _ = np.moveaxis(sigmoid(score[0]), 1, 0)
        value = click
        if goal != "click":
            wish = None if log.wish_list is None else sigmoid(log.wish_list.score(utility[0]))
            value = click * checkout * log.to_till(cart, wish)
        if goal == "revenue":
            value = value * self.market.items["price"][pages[0]]
        order = np.argsort(-value, kind="stable")
        return pages[0][order[: size or self.market.dials.page_size]]

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
        bad = (pages < 0) | (pages >= self.market.dials.items)
        if bad.any():
            raise ValueError(
                f"items: {pages[bad][0]} is no item; they are 0 to {self.market.dials.items - 1}"
            )
        names = ("number", "user", "scenario", "day", "hour", "region", "device")
        visits = {name: np.array([getattr(v, name) for v in many]) for name in names}
        return visits, pages.astype(np.int64)

    def _act(self, visits: dict[str, np.ndarray], pages: np.ndarray) -> dict[str, np.ndarray]:
        """Outcomes (visitor, slot) from draws that belong to (visitor, item)."""
        log, dials = self.market.log, self.market.dials
        score, utility = log.scores(visits, pages, np.arange(pages.shape[1]))
        number = np.broadcast_to(visits["number"][:, None], pages.shape)
        luck = [self._normal(number, pages, kind) for kind in range(4)]
        logits = score[..., :3] + dials.noise * np.stack(luck[:3], axis=-1)
        logits[..., [0, 2]] += (dials.selection_bias * luck[3])[..., None]
        click, cart, checkout = np.moveaxis(rounded(sigmoid(logits)), 2, 0)
        u = [self._uniform(number, pages, 20 + kind) for kind in range(4)]
        did_click = u[0] < click
        did_cart = did_click & (u[1] < cart)
        at_till = did_cart | (did_click & (u[2] < dials.buy_now))
        wish = None
        if log.wish_list is not None:
            luck_of_wish = dials.noise * self._normal(number, pages, 5)
            wish = rounded(sigmoid(log.wish_list.score(utility) + luck_of_wish))
            wished = did_click & (self._uniform(number, pages, 24) < wish)
            at_till |= wished & (self._uniform(number, pages, 25) < TILL_SHARE)
        mean = DWELL_MEAN + DWELL_SLOPE * utility[..., OUTCOMES.index("dwell")]
        seconds = np.expm1(mean + DWELL_SD * self._normal(number, pages, 4))
        return {
            "click": did_click,
            "cart": did_cart,
            "purchase": at_till & (u[3] < checkout),
            "dwell": np.where(did_click, np.maximum(seconds, 0).round(1), 0.0),
            "p_click": click,
            "sale": click * checkout * log.to_till(cart, wish),
        }

    def _uniform(self, number: np.ndarray, item: np.ndarray, kind: int) -> np.ndarray:
        """Uniform in (0, 1), hashed from (seed, visitor, item, kind): no state, no order."""
        with np.errstate(over="ignore"):
            word = _mixed(self._salt + number.astype(np.uint64))
            word = _mixed(word ^ item.astype(np.uint64))
            word = _mixed(word ^ np.uint64(kind))
        return ((word >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def _normal(self, number: np.ndarray, item: np.ndarray, kind: int) -> np.ndarray:
        """Standard normal from two uniforms (Box and Muller, 1958)."""
        first = self._uniform(number, item, 100 + 2 * kind)
        second = self._uniform(number, item, 101 + 2 * kind)
        return np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)


def _mixed(word: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
