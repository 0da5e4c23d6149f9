"""Impressions: pages shown to visitors, and everything that follows from each product on them.

Rows are made in blocks of 1,024 pages, each from a generator of its own; so any range of rows is
the same whatever was asked for before, and a short table is the start of a long one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtlkit.shop.dials import TILL_SHARE
from mtlkit.shop.taste import OUTCOMES, Taste
from mtlkit.shop.wish import WishList
from mtlkit.shop.world import DEVICES, HOUR_TRAFFIC, REGIONS

if TYPE_CHECKING:
    from mtlkit.shop.market import Market

BLOCK_PAGES = 1024
LUCK = ("click", "cart", "checkout", "return")  # outcomes with luck that no feature explains
DWELL_MEAN, DWELL_SLOPE, DWELL_SD = 3.4, 0.45, 0.55  # of log(1 + seconds)
RATING_MEAN, RATING_SLOPE = 0.9, 0.8  # of the logit of one star more, out of four
# +1: a summer product, -1: a winter product; the first day is the first of March
SUMMER = np.array([1, 0, -1, 1, -1, 1, 0.3, 0.2, 0, -1], dtype=np.float32)
FIRST_DAY_OF_YEAR = 60


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), in the precision of `values`."""
    return 1 / (1 + np.exp(-np.maximum(values, -80)))  # exp(89) overflows float32


def rounded(probability: np.ndarray) -> np.ndarray:
    """Probabilities as whole multiples of 2**-20, never 0 or 1: the same on every platform."""
    step = np.float32(2.0**-20)
    return np.clip(np.round(probability / step) * step, step, 1 - step).astype(np.float32)


class ImpressionLog:
    """The log of one market; `block(n)` is its n-th block of rows."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.taste = Taste(market)
        dials = market.dials
        self.block_rows = BLOCK_PAGES * dials.page_size
        self._visits = np.cumsum(market.users["activity"].astype(np.float64))
        self._traffic = np.cumsum(market.traffic)
        self._hours = np.cumsum(HOUR_TRAFFIC / HOUR_TRAFFIC.sum())
        self._prepare_slots()
        rng = market.rng("scenario rates")
        rates = rng.standard_normal((100, len(LUCK)))[: dials.scenarios]
        self.scenario_rate = (dials.scenario_rates * rates).astype(np.float32)
        self.wish_list = WishList(market) if dials.wish_rate else None
        self.intercept = np.zeros(len(LUCK), dtype=np.float32)
        self.intercept = self._calibrate()

    # --- who sees what ----------------------------------------------------------------------

    def _prepare_slots(self) -> None:
        """Deal the items into page_size decks, so that no page shows an item twice."""
        market, slots = self.market, self.market.dials.page_size
        order = market.rng("decks").permutation(market.dials.items)
        self._decks = [order[deck::slots] for deck in range(slots)]
        self._deck_items = np.concatenate(self._decks)
        self._deck_start = np.cumsum([0] + [len(deck) for deck in self._decks[:-1]])
        self._deck_size = np.array([len(deck) for deck in self._decks])
        shares = [market.items["popularity"][deck] for deck in self._decks]
        steps = [deck + np.cumsum(share) / share.sum() for deck, share in enumerate(shares)]
        self._popular = np.concatenate(steps)  # grows from 0 to page_size

    def _draw_items(self, rng: np.random.Generator, shape: tuple[int, ...], popular: bool):
        """Items (page, slot, ...): each slot draws from a deck of its own."""
        pages, slots = shape[:2]
        deck = (rng.integers(0, slots, pages)[:, None] + np.arange(slots)) % slots
        deck = deck.reshape(pages, slots, *([1] * (len(shape) - 2)))
        u = rng.random(shape)
        if popular:
            place = np.searchsorted(self._popular, deck + u, side="right")
            last = self._deck_start[deck] + self._deck_size[deck] - 1
            return self._deck_items[np.minimum(place, last)]
        return self._deck_items[self._deck_start[deck] + (u * self._deck_size[deck]).astype(int)]

    def visits(self, rng: np.random.Generator, pages: int) -> dict[str, np.ndarray]:
        """Who comes, when, where from and to which scenario: arrays (page,)."""
        users, dials = self.market.users, self.market.dials
        u = rng.random((7, pages))
        user = np.searchsorted(self._visits, u[0] * self._visits[-1], side="right")
        user = np.minimum(user, dials.users - 1)
        scenario = np.minimum(
            np.searchsorted(self._traffic, u[1], side="right"), dials.scenarios - 1
        )
        hour = np.minimum(np.searchsorted(self._hours, u[2], side="right"), 23)
        away = (u[5] * 10 * len(REGIONS)).astype(np.int64)  # one visit in ten is from elsewhere
        other = (u[6] * 5 * len(DEVICES)).astype(np.int64)  # one in five on another device
        return {
            "user": user,
            "scenario": scenario,
            "hour": hour,
            "day": (u[3] * dials.days).astype(np.int64),
            "region": np.where(away < len(REGIONS), away, users["home_region"][user]),
            "device": np.where(other < len(DEVICES), other, users["device"][user]),
        }

    def _choose_pages(self, rng: np.random.Generator, visit: dict[str, np.ndarray]) -> np.ndarray:
        """Items (page, slot), in the order of the positions, chosen by the exposure policy."""
        policy, slots = self.market.dials.exposure, self.market.dials.page_size
        pages = len(visit["user"])
        if policy != "personal":
            return self._draw_items(rng, (pages, slots), popular=policy == "popular")
        # an older recommender: the best of three by a blurred view of the click utility, best first
        offers = self._draw_items(rng, (pages, slots, 3), popular=True)
        score = self.utilities(visit, offers.reshape(pages, -1))[..., 0].reshape(offers.shape)
        score = score + 0.7 * rng.standard_normal(offers.shape, dtype=np.float32)
        best = score.argmax(axis=2)[..., None]
        chosen = np.take_along_axis(offers, best, axis=2)[..., 0]
        order = np.argsort(-np.take_along_axis(score, best, axis=2)[..., 0], axis=1, kind="stable")
        return np.take_along_axis(chosen, order, axis=1)

    # --- what follows ----------------------------------------------------------------------

    def utilities(self, visit: dict[str, np.ndarray], item: np.ndarray) -> np.ndarray:
        """Utilities float32 (page, slot, outcome), variance about 1."""
        part = self.taste.components(
            visit["user"], item, visit["region"], visit["hour"], visit["device"]
        )
        return self.taste.utilities(part, visit["scenario"], visit["day"])

    def season(self, category: np.ndarray, day: np.ndarray, hour: np.ndarray) -> np.ndarray:
        """The season's push in logits: time of day, weekend and time of year of the category."""
        year = -np.cos(2 * np.pi * (day + FIRST_DAY_OF_YEAR) / 364)
        daily = 0.5 * np.sin(2 * np.pi * (hour - 14) / 24)
        weekend = 0.5 * (day % 7 >= 5)
        swing = SUMMER[category] * year + daily + weekend
        return (self.market.dials.seasonality * swing).astype(np.float32)

    def scores(
        self, visit: dict[str, np.ndarray], item: np.ndarray, position: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits before luck (page, slot, luck outcome) and utilities (page, slot, outcome)."""
        dials = self.market.dials
        utility = self.utilities(visit, item)
        columns = [OUTCOMES.index(name) for name in LUCK]
        score = dials.signal * utility[..., columns] + self.intercept
        score += self.scenario_rate[visit["scenario"]][:, None]
        push = self.season(
            self.market.items["category"][item], visit["day"][:, None], visit["hour"][:, None]
        )
        score[..., 0] += push - dials.position_bias * np.log1p(position).astype(np.float32)
        score[..., 2] += push
        return score.astype(np.float32), utility

    def _calibrate(self) -> np.ndarray:
        """Intercepts (luck outcome,) that give the rates of the dials on a sample of pages."""
        dials = self.market.dials
        rng = self.market.rng("calibration")
        pages = max(256, 32768 // dials.page_size)
        visit = self.visits(rng, pages)
        item = self._choose_pages(rng, visit)
        score, utility = self.scores(visit, item, np.arange(dials.page_size))
        logits = self.add_luck(rng, score.reshape(-1, len(LUCK))).astype(np.float64)
        click_rate = dials.click_rate / dials.label_sparsity
        click = _solve(logits[:, 0], np.ones(len(logits)), click_rate)
        clicked = sigmoid(logits[:, 0] + click)
        cart = _solve(logits[:, 1], clicked, dials.cart_rate)
        wish = None
        if self.wish_list is not None:
            luck, _ = self.wish_list.draws("wish calibration", 0, len(logits))
            wishes = self.wish_list.score(utility).ravel().astype(np.float64) + luck
            shift = _solve(wishes, clicked, dials.wish_rate)
            self.wish_list.intercept = np.float32(round(shift, 3))
            wish = sigmoid(wishes + shift)
        to_till = self.to_till(sigmoid(logits[:, 1] + cart), wish)
        purchase_rate = dials.purchase_rate / dials.label_sparsity
        share = purchase_rate * clicked.sum() / (clicked * to_till).sum()
        checkout = _solve(logits[:, 2], clicked * to_till, share)
        bought = clicked * to_till * sigmoid(logits[:, 2] + checkout)
        back = _solve(logits[:, 3], bought, dials.return_rate)
        return np.round([click, cart, checkout, back], 3).astype(np.float32)

    def to_till(self, cart: np.ndarray, wish: np.ndarray | None = None) -> np.ndarray:
        """P(can buy | click): through the cart, by the buy-now button or from the wish list."""
        at_till = cart + self.market.dials.buy_now * (1 - cart)
        return at_till if wish is None else at_till + TILL_SHARE * wish * (1 - at_till)

    def add_luck(self, rng: np.random.Generator, score: np.ndarray) -> np.ndarray:
        """Logits (row, luck outcome) with each outcome's own luck and the shared hidden appeal."""
        dials = self.market.dials
        luck = rng.standard_normal((len(score), len(LUCK) + 1), dtype=np.float32)
        logits = score + np.float32(dials.noise) * luck[:, : len(LUCK)]
        logits[:, [0, 2]] += np.float32(dials.selection_bias) * luck[:, len(LUCK) :]
        return logits

    def block(self, number: int) -> dict[str, np.ndarray]:
        """Block `number`: columns (row,) of inputs, labels and truths, in page order."""
        dials = self.market.dials
        rng = self.market.rng("impressions", number)
        visit = self.visits(rng, BLOCK_PAGES)
        item = self._choose_pages(rng, visit)
        score, utility = self.scores(visit, item, np.arange(dials.page_size))
        score = score.reshape(-1, len(LUCK))
        utility = utility.reshape(-1, len(OUTCOMES))
        page = np.repeat(np.arange(BLOCK_PAGES), dials.page_size)
        columns = {name: value[page] for name, value in visit.items()}
        columns["item"] = item.ravel()
        columns["position"] = np.tile(np.arange(dials.page_size), BLOCK_PAGES)
        columns["session"] = number * BLOCK_PAGES + page
        columns |= {f"score_{name}": score[:, i] for i, name in enumerate(LUCK)}
        wishes = {}
        if self.wish_list is not None:
            columns["score_wish"] = self.wish_list.score(utility)
            luck, u = self.wish_list.draws("wishes", number, len(score))
            wish = rounded(sigmoid(columns["score_wish"] + luck))
            wishes = {"true_wish": wish, "wish": u[0] < wish}
            wishes["from_list"] = wishes["wish"] & (u[1] < TILL_SHARE)
        return columns | self.outcomes(rng, self.add_luck(rng, score), utility, wishes)

    def outcomes(
        self,
        rng: np.random.Generator,
        logits: np.ndarray,
        utility: np.ndarray,
        wishes: dict[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """True values (`true_<task>`) and drawn labels (`<task>`) of each row."""
        click, cart, checkout, back = rounded(sigmoid(logits)).T
        purchase = rounded(checkout * self.to_till(cart, wishes.get("true_wish")))
        dwell = DWELL_MEAN + DWELL_SLOPE * utility[:, OUTCOMES.index("dwell")]  # of the log
        star = rounded(sigmoid(RATING_MEAN + RATING_SLOPE * utility[:, OUTCOMES.index("rating")]))
        u = rng.random((6, len(logits)), dtype=np.float32)
        did_click = u[0] < click
        did_cart = u[1] < cart
        can_buy = did_cart | (u[2] < self.market.dials.buy_now) | wishes.get("from_list", False)
        seconds = dwell + DWELL_SD * rng.standard_normal(len(logits), dtype=np.float32)
        return {
            "true_click": click,
            "true_cart": cart,
            "true_purchase": purchase,
            "true_checkout": checkout,
            "true_dwell": (np.exp(dwell + DWELL_SD**2 / 2) - 1).round(3).astype(np.float32),
            "true_dwell_log1p": dwell.astype(np.float32),
            "true_return": back,
            "true_rating": (1 + 4 * star).astype(np.float32),
            "click": did_click,
            "cart": did_cart,
            "purchase": can_buy & (u[3] < checkout),
            "dwell": np.maximum(np.exp(seconds) - 1, 0).round(1).astype(np.float32),
            "return": u[4] < back,
            "rating": 1 + _binomial4(u[5], star),
        } | wishes


def _binomial4(u: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Number of successes in four trials, by inversion: the mean is exactly 4 p."""
    q = 1 - p
    steps = np.cumsum([q**4, 4 * p * q**3, 6 * p**2 * q**2, 4 * p**3 * q], axis=0)
    return (u >= steps).sum(axis=0).astype(np.float32)


def _solve(logits: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """The shift b with weighted mean of sigmoid(logits + b) equal to rate, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        if (weights * sigmoid(logits + middle)).sum() < rate * weights.sum():
            low = middle
        else:
            high = middle
    return middle
