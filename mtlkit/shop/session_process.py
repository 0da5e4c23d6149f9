"""Sessions: what a visitor looked at, what they typed, and what they do next.

A visitor comes with an intent that nobody sees. The intent decides how they move from category to
category (a chain that remembers the last two steps), which words they type and how likely they
buy. The truths are exact: the posterior of the intent given all that is seen (by Bayes' rule), and
the next category and the purchase averaged over it. So no model can beat them.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.draws import pick, rows_of_blocks, softmax
from mtlkit.shop.entities import AGE_BANDS, CATEGORIES
from mtlkit.shop.newcomers import Newcomers
from mtlkit.shop.probability import rounded, sigmoid
from mtlkit.shop.season import SUMMER
from mtlkit.shop.session_gaps import draw_gaps, gap_evidence
from mtlkit.shop.visits import Visits
from mtlkit.shop.world import World

INTENTS = ("browse", "compare", "outfit", "gift", "bargain")
WORDS = {
    "browse": ("new", "ideas", "trend", "looks", "season"),
    "compare": ("best", "versus", "review", "sizes", "quality"),
    "outfit": ("matching", "set", "with", "combine", "complete"),
    "gift": ("gift", "present", "birthday", "for-her", "for-him"),
    "bargain": ("cheap", "sale", "discount", "outlet", "deal"),
}
FILLER = (
    "black", "white", "red", "blue", "green", "cotton", "leather", "wool", "light", "warm",
    "small", "large", "long", "short", "soft",
)  # fmt: skip
TOKENS = tuple(word for words in WORDS.values() for word in words) + CATEGORIES + FILLER
# what goes with what: t-shirt -> trousers, trousers -> shirt, ...
PARTNER = np.array([1, 6, 1, 9, 2, 8, 4, 0, 3, 8])
MOVES_TO_BUY = np.array([-0.9, 1.0, 0.3, 0.6, 0.2])  # each intent's push on buying, in logits
PURCHASE_INTERCEPT, FOCUS_SLOPE, USER_SLOPE = -2.6, 1.2, 0.5
INTENT_WORD, CATEGORY_WORD = 0.25, 0.4  # a word's chance to tell of the intent, of the category
OWN_WORD = 0.7  # an intent word is the intent's own; else any intent's
SHORTEST, LONGEST = 3, 16
BLOCK = 4096


class SessionLog:
    """The sessions of one shop; `block(n)` is its n-th block of rows."""

    def __init__(self, world: World) -> None:
        self.world, self.visits, self.newcomers = world, Visits(world), Newcomers(world)
        rng = world.rng("session tables")
        users = world.users
        tastes = 0.8 * rng.standard_normal((len(AGE_BANDS), len(CATEGORIES)))[users["age_band"]]
        tastes[np.arange(world.dials.users), users["favourite_category"]] += 1.5
        self.interest = softmax(tastes)  # (user, category)
        lean = 0.6 * rng.standard_normal((len(AGE_BANDS), len(INTENTS)))[users["age_band"]]
        self.prior = softmax(lean + np.array([0.4, 0.2, 0.0, -0.3, -0.1]))  # (user, intent)
        summer = softmax(np.stack([-SUMMER, SUMMER]).astype(np.float64))
        self.leftovers = summer[0]  # on sale in spring: winter goods, (category,)
        order = np.argsort(world.items["category"], kind="stable")
        self._shelf = order
        self._shelf_start = np.searchsorted(
            world.items["category"][order], np.arange(len(CATEGORIES) + 1)
        )
        share = world.items["popularity"][order]
        total = np.bincount(world.items["category"], world.items["popularity"])
        within = share / total[world.items["category"][order]]
        before = np.cumsum(within) - within
        self._steps = world.items["category"][order] + (
            before - before[self._shelf_start[world.items["category"][order]]] + within
        )

    def moves(self, user: np.ndarray, last: np.ndarray, before: np.ndarray) -> np.ndarray:
        """P(next category | intent, last two categories, user), float64 (row, intent, category)."""
        n, wide = len(user), len(CATEGORIES)
        one = np.eye(wide)
        stay, back, match = one[last], one[before], one[PARTNER[last]]
        like = self.interest[user]
        return np.stack(
            [
                0.25 * stay + 0.75 * like,
                0.40 * stay + 0.45 * back + 0.15 * like,
                0.15 * stay + 0.70 * match + 0.15 * like,
                0.25 * stay + np.full((n, wide), 0.75 / wide),
                0.45 * stay + 0.40 * self.leftovers + 0.15 * like,
            ],
            axis=1,
        )

    def _items(self, category: np.ndarray, u: np.ndarray) -> np.ndarray:
        """An item of each category, popular ones more often."""
        place = np.searchsorted(self._steps, category + u, side="right")
        return self._shelf[
            np.clip(place, self._shelf_start[category], self._shelf_start[category + 1] - 1)
        ]

    def block(self, number: int) -> dict[str, np.ndarray]:
        """Block `number`: columns (row,), padded lists (row, step) and truths."""
        columns, beliefs = self.play(number)
        posterior, after, buys = (beliefs[name] for name in ("posterior", "moves", "buys"))
        truth = {
            "true_next_category": np.einsum("rk,rkc->rc", posterior, after),
            "true_intent": posterior,
            "true_purchase": rounded((posterior * buys).sum(axis=1).astype(np.float32)),
        }
        return columns | {n: np.round(v, 6).astype(np.float32) for n, v in truth.items()}

    def play(self, number: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Block `number`: what happened, and what can be known of it, float64.

        The first are columns (row,) and padded lists (row, step). The second: `posterior`
        (row, intent) given what a model may read, and given each intent `moves`, P(next category)
        (row, intent, category), and `buys`, P(purchase) (row, intent).
        """
        world = self.world
        rng = world.rng("sessions", number)
        visit = self.visits.draw(rng, BLOCK)
        if world.dials.new_users:
            visit = self.newcomers.settle(visit, number)
        user = visit["user"]
        rows = np.arange(BLOCK)
        intent = pick(self.prior[user], rng.random(BLOCK))
        length = np.minimum(SHORTEST + rng.poisson(3.5, BLOCK), LONGEST)
        u = rng.random((LONGEST + 1, BLOCK))
        path = np.zeros((BLOCK, LONGEST + 1), dtype=np.int64)
        path[:, 0] = pick(self.interest[user], u[0])
        likelihood = np.zeros((BLOCK, len(INTENTS)))  # log P(path, words | intent)
        after = np.zeros((BLOCK, len(INTENTS), len(CATEGORIES)))  # moves after the last step
        for step in range(1, LONGEST + 1):
            live = np.flatnonzero(step <= length)  # the step after the last one is the label
            if len(live) == 0:
                break
            last, before = path[live, step - 1], path[live, max(0, step - 2)]
            chances = self.moves(user[live], last, before)
            path[live, step] = pick(chances[np.arange(len(live)), intent[live]], u[step, live])
            is_label = step == length[live]
            after[live[is_label]] = chances[is_label]
            seen = live[~is_label]
            likelihood[seen] += np.log(chances[~is_label, :, path[seen, step]])
        words, word_count, word_evidence = self._words(rng, intent, path[rows, length - 1])
        evidence = likelihood + word_evidence
        clock = {}
        tells = world.dials.gap_tells
        if tells:  # gaps before the steps of the history, the label and what follows it
            draws = world.rng("session gaps", number)
            place, minutes = draw_gaps(draws, intent, LONGEST + 2, tells)
            evidence = evidence + gap_evidence(place[:, :LONGEST], length, tells)
            clock = {"gap": place, "minutes": minutes, "clock": draws.random((BLOCK, 2))}
        evidence -= evidence.max(axis=1, keepdims=True)  # exp of a long history is 0 else
        posterior = self.prior[user] * np.exp(evidence)
        posterior /= posterior.sum(axis=1, keepdims=True)
        recent = np.stack([path[rows, length - back] for back in (1, 2, 3)])
        focus = (recent[0] == recent[1]).astype(float) + (recent[0] == recent[2])
        logit = PURCHASE_INTERCEPT + FOCUS_SLOPE * (focus - 0.8) / 2 + MOVES_TO_BUY[:, None]
        buys = sigmoid(logit.T + USER_SLOPE * world.users["level"][user][:, 1:])  # (row, intent)
        columns = visit | {
            "session": number * BLOCK + rows,
            "length": length,
            "history_category": path[:, :LONGEST],
            "history": self._items(path[:, :LONGEST], rng.random((BLOCK, LONGEST))),
            "query": words,
            "query_length": word_count,
            "next_category": path[rows, length],
            "intent": intent,
            "purchase": rng.random(BLOCK) < buys[rows, intent],
        }
        own = world.rng("session next items", number).random(BLOCK)
        columns |= clock | {"next_item": self._items(path[rows, length], own)}
        return columns, {"posterior": posterior, "moves": after, "buys": buys}

    def _words(
        self, rng: np.random.Generator, intent: np.ndarray, category: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens (row, 4), how many count, and log P(tokens | intent) up to a constant."""
        most, per, kinds = 4, 5, len(INTENTS)
        u = rng.random((4, len(intent), most))
        count = 1 + rng.integers(0, most, len(intent))
        owner = np.where(u[1] < OWN_WORD, intent[:, None], (u[2] * kinds).astype(int))
        word = owner * per + (u[3] * per).astype(int)
        filler = per * kinds + len(CATEGORIES) + (u[3] * len(FILLER)).astype(int)
        about_intent = u[0] < INTENT_WORD
        about_category = ~about_intent & (u[0] < INTENT_WORD + CATEGORY_WORD)
        token = np.where(about_category, per * kinds + category[:, None], filler)
        token = np.where(about_intent, word, token)
        counted = about_intent & (np.arange(most) < count[:, None])
        own = np.log((OWN_WORD + (1 - OWN_WORD) / kinds) / ((1 - OWN_WORD) / kinds))
        hits = (owner[:, :, None] == np.arange(kinds)) & counted[:, :, None]
        return token, count, own * hits.sum(axis=1)

    def columns(self, start: int, rows: int) -> dict[str, np.ndarray]:
        """Columns of rows start .. start + rows - 1."""
        return rows_of_blocks(self.block, BLOCK, start, rows)

    def rows(self, row_id: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What happened and what can be known (see `play`) of rows in any order, (row,)."""
        row_id = np.asarray(row_id)
        blocks = row_id // BLOCK
        found: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        for number in np.unique(blocks):
            here = np.flatnonzero(blocks == number)
            for whole, part in zip(found, self.play(int(number)), strict=True):
                for name, value in part.items():
                    shape = (len(row_id), *value.shape[1:])
                    whole.setdefault(name, np.empty(shape, value.dtype))[here] = value[
                        row_id[here] - number * BLOCK
                    ]
        return found
