"""What a visitor does with a product: from utilities to outcomes, the equations once for all.

Each event e (click, cart, checkout, return, wish) has a logit before anybody's luck, and with it

    score_e = signal * utility_e + intercept_e  [+ scenario rate] [+ season] [- position]
    logit_e = score_e + noise * z_e             [+ selection_bias * z_appeal]
    p_e     = sigmoid(logit_e)

with the parts in brackets where its line in ``EVENTS`` says so, and z standard normal. Then

    P(till | click)     = 1 - prod over the ways w to the till (1 - share_w * p_w)
    P(purchase | click) = P(till | click) * p_checkout
    log(1 + dwell)      = DWELL_MEAN + DWELL_SLOPE * utility_dwell + DWELL_SD * z_dwell
    rating              = 1 + binomial(4, sigmoid(RATING_MEAN + RATING_SLOPE * utility_rating))

The log, the live shop and the oracle take all of this from here. One more outcome is a line of
``EVENTS`` and one more way to the till a line of ``WAYS``, their draws a name in ``NORMALS`` and
``UNIFORMS``: this file, its rate in dials.py, its task in impression_table.py, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mtlkit.shop.dials import TILL_SHARE
from mtlkit.shop.probability import at_least_one, binomial4, rounded, sigmoid
from mtlkit.shop.taste import correlation
from mtlkit.shop.world import World

Named = dict[str, np.ndarray]


@dataclass(frozen=True)
class Event:
    """One thing that a visitor may do, decided by a logit."""

    name: str
    rate: str  # the dial that says how often; at 0 a shop has no event with a stream
    pleases: tuple[str, ...]  # the utilities that speak for it, in equal parts
    given: str = ""  # what comes first: "click", "till" or "purchase"; "": nothing
    per: str | None = None  # what the rate is counted by, if not by `given`
    sparse: bool = False  # the dial label_sparsity divides its rate
    seasonal: bool = False
    positioned: bool = False  # it loses by standing far down the page
    appealing: bool = False  # the hidden appeal moves it; means take click and checkout alone
    stream: str = ""  # generators of its own, so that nothing else moves when it comes or goes


@dataclass(frozen=True)
class Way:
    """A way from a click to the till: a share of those who did the event (None: of all)."""

    name: str
    event: str | None
    share: float | str  # a number, or the dial that holds it


EVENTS = (
    Event("click", "click_rate", ("click",), "", sparse=True, seasonal=True, positioned=True,
          appealing=True),
    Event("cart", "cart_rate", ("cart",), "click"),
    Event("checkout", "purchase_rate", ("checkout",), "till", per="click", sparse=True,
          seasonal=True, appealing=True),
    Event("return", "return_rate", ("return",), "purchase"),
    Event("wish", "wish_rate", ("click", "rating"), "click", stream="wishes"),
)  # fmt: skip
WAYS = (
    Way("cart", "cart", 1.0),
    Way("buy_now", None, "buy_now"),
    Way("wish_list", "wish", TILL_SHARE),
)
# every draw by name; the place of a name is its number in the live shop: append, never reorder
NORMALS = ("click", "cart", "checkout", "appeal", "dwell", "wish", "return")
UNIFORMS = ("click", "cart", "buy_now", "checkout", "wish", "wish_list", "return", "rating")
DWELL_MEAN, DWELL_SLOPE, DWELL_SD = 3.4, 0.45, 0.55  # of log(1 + seconds)
RATING_MEAN, RATING_SLOPE = 0.9, 0.8  # of the logit of one star more, out of four


def uniforms_of(event: Event) -> tuple[str, ...]:
    """Names of the uniform draws that belong to an event: its own, and those of its ways."""
    ways = (way.name for way in WAYS if way.event == event.name and way.share != 1)
    return (event.name, *ways)


class Luck(Protocol):
    """The draws that one row's outcomes take, by name."""

    def normal(self, name: str) -> np.ndarray:
        """Standard normal draws, one a row."""

    def uniform(self, name: str) -> np.ndarray:
        """Draws uniform in 0..1, one a row."""


class Outcomes:
    """The equations of one world; ``events`` and ``ways`` are those that this shop has.

    ``intercept`` {event: logits} starts at 0 and is set by the calibration to the dials' rates.
    """

    def __init__(self, world: World) -> None:
        dials = self.dials = world.dials
        self.events = tuple(e for e in EVENTS if e.stream == "" or getattr(dials, e.rate))
        names = {event.name for event in self.events}
        self.ways = tuple(way for way in WAYS if way.event is None or way.event in names)
        self.intercept = {name: np.float32(0) for name in names}
        common = [event.name for event in self.events if not event.stream]
        rates = world.rng("scenario rates").standard_normal((100, len(common)))[: dials.scenarios]
        columns = (dials.scenario_rates * rates).astype(np.float32).T
        self.scenario_rate = dict(zip(common, columns, strict=True))  # {event: (scenario,)}
        self._scale = {event.name: self._utility_scale(event) for event in self.events}

    def _share(self, way: Way) -> float:
        return getattr(self.dials, way.share) if isinstance(way.share, str) else way.share

    def _utility_scale(self, event: Event) -> np.float32:
        """signal / the deviation of the sum of the utilities that please."""
        rho = self.dials.task_correlation
        variance = sum(correlation(a, b, rho) for a in event.pleases for b in event.pleases)
        return np.float32(self.dials.signal / np.sqrt(variance) if variance > 0 else 0.0)

    # --- logits and chances -----------------------------------------------------------------

    def scores(
        self, utility: Named, scenario: np.ndarray, season: np.ndarray, position: np.ndarray
    ) -> Named:
        """Logits of every event before luck, float32 (page, slot).

        utility {name: (page, slot)}, scenario (page,), season (page, slot), position (slot,).
        """
        found = {}
        drop = self.dials.position_bias * np.log1p(position).astype(np.float32)
        for event in self.events:
            pleased = utility[event.pleases[0]]
            for name in event.pleases[1:]:
                pleased = pleased + utility[name]
            score = self._scale[event.name] * pleased + self.intercept[event.name]
            if event.name in self.scenario_rate:
                score = score + self.scenario_rate[event.name][scenario][:, None]
            moves = [season] if event.seasonal else []
            moves += [-drop] if event.positioned else []
            found[event.name] = (score + sum(moves) if moves else score).astype(np.float32)
        return found

    def with_luck(self, scores: Named, luck: Luck) -> Named:
        """Logits with each event's own luck and the hidden appeal."""
        found = {}
        for event in self.events:
            if event.name in scores:
                logit = scores[event.name] + self.dials.noise * luck.normal(event.name)
                if event.appealing:
                    logit = logit + self.dials.selection_bias * luck.normal("appeal")
                found[event.name] = logit
        return found

    def chances(self, logits: Named) -> Named:
        """P(event | what comes before it), as the log keeps it: whole multiples of 2**-20."""
        return {name: rounded(sigmoid(logit)) for name, logit in logits.items()}

    def till(self, chances: Named) -> np.ndarray:
        """P(the visitor comes to the till | click), by any way."""
        shares = [(way.event, self._share(way)) for way in self.ways]
        return np.asarray(
            at_least_one(
                share if event is None else share * chances[event] for event, share in shares
            )
        )

    def purchase(self, chances: Named) -> np.ndarray:
        """P(purchase | click), as the log keeps it; 0 where a checkout is impossible."""
        found = rounded(chances["checkout"] * self.till(chances))
        return np.where(chances["checkout"] > 0, found, np.float32(0))

    def joint(self, stage: str, chances: Named) -> np.ndarray:
        """P(a shown product comes as far as "click", "till" or "purchase")."""
        if stage == "click":
            return chances["click"]
        if stage == "till":
            return chances["click"] * self.till(chances)
        return chances["click"] * chances["checkout"] * self.till(chances)

    # --- what is true and what happens ---------------------------------------------------------

    def truth(self, chances: Named, utility: Named) -> Named:
        """True values of every row: chances, P(purchase | click), mean dwell and rating."""
        dwell = _log_dwell(utility)
        return chances | {
            "purchase": self.purchase(chances),
            "dwell": (np.exp(dwell + DWELL_SD**2 / 2) - 1).round(3).astype(np.float32),
            "dwell_log1p": dwell.astype(np.float32),
            "rating": (1 + 4 * _star(utility)).astype(np.float32),
        }

    def acts(self, chances: Named, luck: Luck) -> Named:
        """Whether each event, and the purchase, happens where what it is given has happened."""
        did: Named = {name: luck.uniform(name) < chance for name, chance in chances.items()}
        at_till: np.ndarray | bool = False
        for way in self.ways:
            took: np.ndarray | bool = True if way.event is None else did[way.event]
            if self._share(way) < 1:
                took = took & (luck.uniform(way.name) < self._share(way))
            at_till = at_till | took
        return did | {"purchase": at_till & did["checkout"]}

    def dwell(self, utility: Named, luck: Luck) -> np.ndarray:
        """Seconds that a visitor stays, if they click."""
        seconds = np.exp(_log_dwell(utility) + DWELL_SD * luck.normal("dwell")) - 1
        return np.maximum(seconds, 0).round(1)

    def rating(self, utility: Named, luck: Luck) -> np.ndarray:
        """Stars 1..5, if they buy."""
        return 1 + binomial4(luck.uniform("rating"), _star(utility))


def _log_dwell(utility: Named) -> np.ndarray:
    return DWELL_MEAN + DWELL_SLOPE * utility["dwell"]


def _star(utility: Named) -> np.ndarray:
    return rounded(sigmoid(RATING_MEAN + RATING_SLOPE * utility["rating"]))
