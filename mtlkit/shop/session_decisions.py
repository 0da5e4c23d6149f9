"""What a shop can do with a session, and what it earns: four decisions of known worth in euro.

Each has two worths. `by="truth"` is the expectation given what a model may read, the intent
averaged over its exact posterior: no policy without the hidden intent earns more than `best`.
`by="hidden"` is the worth under the session's own intent (and, where the next view pays, its own
next category); over many sessions its mean is that of the first. Margins are those of the weekly
demand: price less unit cost.
"""

from __future__ import annotations

import numpy as np
import torch

from mtlkit.data.table import Table
from mtlkit.shop.entities import CATEGORIES
from mtlkit.shop.luck import HashedLuck
from mtlkit.shop.margins import margins
from mtlkit.shop.probability import sigmoid
from mtlkit.shop.session_process import INTENTS, PARTNER
from mtlkit.shop.sessions import ragged, sequence_ids, session_schema
from mtlkit.shop.world import World

BY = ("truth", "hidden")
BANNER_LIFT = 0.1  # more sales of a category where its banner meets the next view
# by place of the lead: more sales of the category whose turn it is; a share of those who look
LEAD_ATTENTION = 0.1 * 0.8 ** np.arange(len(CATEGORIES))
COUPON_FACE = 6.0  # euro off, on every purchase
# what a coupon adds to the logit of buying: browse, compare, outfit, gift, bargain
COUPON_PUSH = np.array([0.4, 0.15, 0.3, 0.0, 1.2])
CANDIDATES, PLACES = 40, 8
CLOSE = {"last": 8.0, "before": 4.0, "partner": 8.0}  # odds of a category among the candidates
PAGE_ATTENTION = 0.8 ** np.arange(PLACES)  # P(a place is looked at)
PAGE_INTERCEPT = -5.0  # logit of buying what is looked at, where nothing speaks for it
# pushes in logits; price, rating and popularity in standard deviations
BROWSE_POPULAR, COMPARE_SAME, COMPARE_RATING = 0.8, 1.8, 0.8
OUTFIT_PARTNER, GIFT_DEAR, BARGAIN_CHEAP = 2.4, 0.9, 1.3
BLOCK = 2048


class SessionDecisions:
    """The worth of decisions about every session of a table, in euro.

    `market` made `table` (by `Market.sessions`, whole or a part of its rows). Raises ValueError for
    a table that is not one of sessions, has no rows or is of another market (its fields, users,
    histories, words, labels or truth are others), and for a shop of fewer than 40 items.

    `item_margin` (item,) and `margin` (category,), the mean over what is viewed of a category;
    `next_category` (row, 10), P(next category); `buys` (row, intent), P(purchase | intent);
    `posterior` (row, intent); `candidates` (row, 40), items; `search_chance` (row, intent, 40),
    P(buying a candidate that is looked at | intent).
    """

    def __init__(self, market: World, table: Table) -> None:
        log = getattr(market, "session_log", None)
        if log is None:
            raise ValueError(f"market: expected a Market, got {type(market).__name__}")
        row_id = _row_ids(market, table)
        happened, known = log.rows(row_id)
        _require_rows(table, happened, known["posterior"])
        if market.dials.items < CANDIDATES:
            raise ValueError(f"market: {market.dials.items} items, a search shows {CANDIDATES}")
        items, self.item_margin = market.items, margins(market)
        share = np.bincount(items["category"], items["popularity"])
        self.margin = np.bincount(items["category"], items["popularity"] * self.item_margin) / share
        self.posterior, self.buys, self._moves = known["posterior"], known["buys"], known["moves"]
        self.next_category = np.einsum("rk,rkc->rc", self.posterior, self._moves)
        self._intent, self._next = happened["intent"], happened["next_category"]
        at = np.arange(len(row_id))
        path, length = happened["history_category"], happened["length"]
        self._last, before = path[at, length - 1], path[at, length - 2]
        salt = market.rng("session candidates").integers(0, 2**63, 1).astype(np.uint64)
        self.candidates = _candidates(items["category"], salt, row_id, self._last, before)
        self.search_chance = self._chances(items)

    # --- one action for the session ----------------------------------------------------------

    def banner_value(self, by: str = "truth") -> np.ndarray:
        """Euro (row, category) of showing the banner of a category.

        BANNER_LIFT times the category's margin where it is the next category, else nothing.
        """
        return BANNER_LIFT * self._next_chance(by) * self.margin

    def lead_value(self, orders: np.ndarray | torch.Tensor, by: str = "truth") -> np.ndarray:
        """Euro (row,) of pages that lead with the categories in `orders` (row, 10), first on top.

        Sum over places of LEAD_ATTENTION[place] P(next = c) margin_c. Raises ValueError where a
        row of `orders` does not hold each category once.
        """
        orders = self._pages(orders, "orders", len(CATEGORIES))
        if not (np.sort(orders, axis=1) == np.arange(len(CATEGORIES))).all():
            raise ValueError("orders: a row must hold each category 0 to 9 once")
        worth = self._next_chance(by) * self.margin
        return np.take_along_axis(worth, orders, axis=1) @ LEAD_ATTENTION

    def coupon_value(self, by: str = "truth") -> np.ndarray:
        """Euro (row, 2) that the session earns without and with a coupon.

        Given an intent: P(purchase) times the margin of the next category, from which a coupon
        takes COUPON_FACE, while it adds COUPON_PUSH[intent] to the logit of the purchase.
        """
        logit = np.log(self.buys) - np.log1p(-self.buys)
        chance = np.stack([self.buys, sigmoid(logit + COUPON_PUSH)], axis=2)  # (row, intent, 2)
        face = np.array([0.0, COUPON_FACE])
        if _known(by) == "truth":
            margin = (self._moves @ self.margin)[:, :, None] - face
            return np.einsum("rk,rka->ra", self.posterior, chance * margin)
        return chance[np.arange(len(chance)), self._intent] * (
            self.margin[self._next][:, None] - face
        )

    def coupon_score(
        self, intents: np.ndarray, purchase: np.ndarray, next_category: np.ndarray
    ) -> np.ndarray:
        """Euro (row, 2) without and with a coupon, as predictions promise them.

        P(intent) (row, intent), P(purchase) (row,), P(next category) (row, category). From the
        truth it falls a little short of `coupon_value`, as it takes the three for independent.
        Raises ValueError for another shape.
        """
        rows = len(self._last)
        intents = _shaped(intents, "intents", (rows, len(INTENTS)))
        purchase = _shaped(purchase, "purchase", (rows,))
        margin = _shaped(next_category, "next_category", (rows, len(CATEGORIES))) @ self.margin
        odds = (purchase / np.maximum(1 - purchase, 1e-9))[:, None] * np.exp(COUPON_PUSH)
        bought = (intents * odds / (1 + odds)).sum(axis=1)
        return np.stack([purchase * margin, bought * (margin - COUPON_FACE)], axis=1)

    # --- a page of found items ---------------------------------------------------------------

    def search_score(self, intents: np.ndarray | None = None, by: str = "truth") -> np.ndarray:
        """Euro (row, 40) of each candidate where it is looked at: P(buy) times margin.

        `intents` (row, intent): P(intent) as a model has it, in place of the posterior and of
        `by`. Raises ValueError for another shape.
        """
        chance = self.posterior
        if intents is not None:
            chance = _shaped(intents, "intents", self.posterior.shape)
        elif _known(by) == "hidden":
            chance = np.eye(len(INTENTS))[self._intent]
        bought = np.einsum("rk,rkj->rj", chance, self.search_chance)
        return bought * self.item_margin[self.candidates]

    def best_pages(self, score: np.ndarray) -> np.ndarray:
        """The 8 items (row, 8) of highest `score` (row, 40), the highest on top."""
        score = _shaped(score, "score", self.candidates.shape)
        order = np.argsort(-score, axis=1, kind="stable")[:, :PLACES]
        return np.take_along_axis(self.candidates, order, axis=1)

    def search_value(self, pages: np.ndarray | torch.Tensor, by: str = "truth") -> np.ndarray:
        """Euro (row,) of `pages` (row, 8): items among the row's candidates, the first on top.

        Sum over places of PAGE_ATTENTION[place] P(buy | intent, item) margin_item. Raises
        ValueError for an item that is no candidate of its row or stands twice on a page.
        """
        pages = self._pages(pages, "pages", PLACES)
        ordered = np.sort(pages, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise ValueError("pages: an item stands twice on one page; show each once")
        order = np.argsort(self.candidates, axis=1)
        sorted_ = np.take_along_axis(self.candidates, order, axis=1)
        place = (sorted_[:, None, :] < pages[:, :, None]).sum(axis=2)
        place = np.take_along_axis(order, np.minimum(place, CANDIDATES - 1), axis=1)
        if not np.array_equal(np.take_along_axis(self.candidates, place, axis=1), pages):
            raise ValueError("pages: an item is not among the row's candidates")
        return np.take_along_axis(self.search_score(by=by), place, axis=1) @ PAGE_ATTENTION

    def best(self, decision: str) -> np.ndarray:
        """Euro (row,) of the best that can be done given what a model may read.

        decision: "banner", "lead", "coupon" or "search"; else ValueError.
        """
        if decision == "banner":
            return self.banner_value().max(axis=1)
        if decision == "coupon":
            return self.coupon_value().max(axis=1)
        if decision == "lead":
            return self.lead_value(np.argsort(-self.banner_value(), axis=1, kind="stable"))
        if decision == "search":
            return self.search_value(self.best_pages(self.search_score()))
        raise ValueError(f"decision: {decision!r} is not one of banner, lead, coupon, search")

    # --- inside ------------------------------------------------------------------------------

    def _next_chance(self, by: str) -> np.ndarray:
        if _known(by) == "truth":
            return self.next_category
        return np.eye(len(CATEGORIES))[self._next]

    def _pages(self, pages: np.ndarray | torch.Tensor, name: str, wide: int) -> np.ndarray:
        if isinstance(pages, torch.Tensor):
            pages = pages.detach().cpu().numpy()
        pages = np.asarray(pages)
        if pages.shape != (len(self._last), wide) or pages.dtype.kind not in "iu":
            raise ValueError(f"{name}: expected whole numbers ({len(self._last)}, {wide})")
        return pages.astype(np.int64)

    def _chances(self, items: dict[str, np.ndarray]) -> np.ndarray:
        shown, last = self.candidates, self._last[:, None]
        popular = np.log(items["popularity"])
        rating = items["past_rating"]
        popular, rating = ((v - v.mean()) / v.std() for v in (popular, rating))
        category, dear = items["category"][shown], items["price_z"][shown].astype(np.float64)
        pushes = [
            BROWSE_POPULAR * popular[shown],
            COMPARE_SAME * (category == last) + COMPARE_RATING * rating[shown],
            OUTFIT_PARTNER * (category == PARTNER[last]),
            GIFT_DEAR * dear,
            -BARGAIN_CHEAP * dear,
        ]
        return sigmoid(PAGE_INTERCEPT + np.stack(pushes, axis=1))


def _row_ids(market: World, table: Table) -> np.ndarray:
    """The row ids of a table that has the form of this market's sessions, (row,)."""
    if table.row_id is None or "user" not in table.keys:
        raise ValueError(
            'table: it has no row ids or no key "user"; take one of Market.sessions as it is'
        )
    own = session_schema(market)
    if not set(table.schema.task_names) <= set(own.task_names):
        raise ValueError("table: it is no table of sessions; take one of Market.sessions")
    for part in ("categorical", "dense", "sequences", "scenarios"):
        if getattr(table.schema, part) != getattr(own, part):
            raise ValueError(
                f"table: its {part} fields are not those of the sessions of this market; give the "
                "market that made it, with the same dials"
            )
    if len(table) == 0:
        raise ValueError("table: it has 0 rows, so there is no session to decide about")
    return table.row_id.cpu().numpy()


def _require_rows(table: Table, happened: dict[str, np.ndarray], posterior: np.ndarray) -> None:
    """Raise ValueError where the rows of a table are not what happened in this market."""
    theirs = [("user", table.keys["user"], happened["user"])]
    for place, task in enumerate(table.schema.tasks):
        labels = happened[task.name].astype(np.float32)
        theirs.append((f"{task.name} label", table.labels[:, place], labels))
    for name, values in sequence_ids(happened).items():
        own = zip(("entries", "offsets"), ragged(*values), table.sequences[name], strict=True)
        theirs += [(f"{name} {part}", found, expected) for part, expected, found in own]
    wrong = [n for n, found, own in theirs if not np.array_equal(found.cpu().numpy(), own)]
    if not wrong and "intent" in table.truth:
        truth = table.truth["intent"].cpu().numpy()
        close = truth.shape == posterior.shape and np.allclose(truth, posterior, atol=2e-6)
        wrong = [] if close else ["P(intent)"]
    if wrong:
        raise ValueError(
            f"table: its rows are not those of this market ({wrong[0]} differs); give the market "
            "that made it, with the same seed and dials"
        )


def _shaped(values: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"{name}: expected numbers {shape}, got {values.shape}")
    return values


def _known(by: str) -> str:
    if by not in BY:
        raise ValueError(f"by: {by!r} is not one of {BY}")
    return by


def _candidates(
    category: np.ndarray,
    salt: np.ndarray,
    session: np.ndarray,
    last: np.ndarray,
    before: np.ndarray,
) -> np.ndarray:
    """Items (row, 40), the first 40 to ring of clocks whose rates are the odds (category)."""
    found = []
    for part in np.array_split(np.arange(len(session)), -(-len(session) // BLOCK)):
        odds = np.ones((len(part), len(CATEGORIES)))
        at = np.arange(len(part))
        odds[at, before[part]] = CLOSE["before"]
        odds[at, PARTNER[last[part]]] = CLOSE["partner"]
        odds[at, last[part]] = CLOSE["last"]
        item = np.broadcast_to(np.arange(len(category)), (len(part), len(category)))
        u = HashedLuck(salt, session[part][:, None], item).draw(99)
        wait = -np.log(u) / odds[:, category]
        found.append(np.argsort(wait, axis=1, kind="stable")[:, :CANDIDATES])
    return np.concatenate(found)
