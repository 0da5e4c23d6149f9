"""Sessions: what a visitor looked at, what they typed, and what they do next.

A visitor comes with an intent that nobody sees. The intent decides how they move from category to
category (a chain that remembers the last two steps), which words they type and how likely they
buy. The truths are exact: the posterior of the intent given all that is seen (by Bayes' rule), and
the next category and the purchase averaged over it. So no model can beat them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Sequence, Task
from mtlkit.shop.impressions import SUMMER, rounded, sigmoid
from mtlkit.shop.world import AGE_BANDS, CATEGORIES, DEVICES, REGIONS

if TYPE_CHECKING:
    from mtlkit.shop.market import Market

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
TASKS = (
    Task("next_category", "multiclass", classes=len(CATEGORIES)),
    Task("intent", "multiclass", classes=len(INTENTS)),
    Task("purchase", "binary"),
)


class SessionLog:
    """The sessions of one market; `block(n)` is its n-th block of rows."""

    def __init__(self, market: Market) -> None:
        self.market = market
        rng = market.rng("session tables")
        users = market.users
        tastes = 0.8 * rng.standard_normal((len(AGE_BANDS), len(CATEGORIES)))[users["age_band"]]
        tastes[np.arange(market.dials.users), users["favourite_category"]] += 1.5
        self.interest = _softmax(tastes)  # (user, category)
        lean = 0.6 * rng.standard_normal((len(AGE_BANDS), len(INTENTS)))[users["age_band"]]
        self.prior = _softmax(lean + np.array([0.4, 0.2, 0.0, -0.3, -0.1]))  # (user, intent)
        summer = _softmax(np.stack([-SUMMER, SUMMER]).astype(np.float64))
        self.leftovers = summer[0]  # on sale in spring: winter goods, (category,)
        order = np.argsort(market.items["category"], kind="stable")
        self._shelf = order
        self._shelf_start = np.searchsorted(
            market.items["category"][order], np.arange(len(CATEGORIES) + 1)
        )
        share = market.items["popularity"][order]
        total = np.bincount(market.items["category"], market.items["popularity"])
        within = share / total[market.items["category"][order]]
        before = np.cumsum(within) - within
        self._steps = market.items["category"][order] + (
            before - before[self._shelf_start[market.items["category"][order]]] + within
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
        market = self.market
        rng = market.rng("sessions", number)
        visit = market.log.visits(rng, BLOCK)
        user = visit["user"]
        rows = np.arange(BLOCK)
        intent = _pick(self.prior[user], rng.random(BLOCK))
        length = np.minimum(SHORTEST + rng.poisson(3.5, BLOCK), LONGEST)
        u = rng.random((LONGEST + 1, BLOCK))
        path = np.zeros((BLOCK, LONGEST + 1), dtype=np.int64)
        path[:, 0] = _pick(self.interest[user], u[0])
        likelihood = np.zeros((BLOCK, len(INTENTS)))  # log P(path, words | intent)
        after = np.zeros((BLOCK, len(INTENTS), len(CATEGORIES)))  # moves after the last step
        for step in range(1, LONGEST + 1):
            live = np.flatnonzero(step <= length)  # the step after the last one is the label
            if len(live) == 0:
                break
            last, before = path[live, step - 1], path[live, max(0, step - 2)]
            chances = self.moves(user[live], last, before)
            path[live, step] = _pick(chances[np.arange(len(live)), intent[live]], u[step, live])
            is_label = step == length[live]
            after[live[is_label]] = chances[is_label]
            seen = live[~is_label]
            likelihood[seen] += np.log(chances[~is_label, :, path[seen, step]])
        words, word_count, word_evidence = self._words(rng, intent, path[rows, length - 1])
        posterior = self.prior[user] * np.exp(likelihood + word_evidence)
        posterior /= posterior.sum(axis=1, keepdims=True)
        recent = np.stack([path[rows, length - back] for back in (1, 2, 3)])
        focus = (recent[0] == recent[1]).astype(float) + (recent[0] == recent[2])
        logit = PURCHASE_INTERCEPT + FOCUS_SLOPE * (focus - 0.8) / 2 + MOVES_TO_BUY[:, None]
        buys = sigmoid(logit.T + USER_SLOPE * market.users["level"][user][:, 1:])  # (row, intent)
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
        truth = {
            "true_next_category": np.einsum("rk,rkc->rc", posterior, after),
            "true_intent": posterior,
            "true_purchase": rounded((posterior * buys).sum(axis=1).astype(np.float32)),
        }
        return columns | {n: np.round(v, 6).astype(np.float32) for n, v in truth.items()}

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


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _pick(chances: np.ndarray, u: np.ndarray) -> np.ndarray:
    """One class a row from chances (row, class), with u uniform in 0..1."""
    steps = np.cumsum(chances, axis=1)
    return np.minimum((u[:, None] >= steps).sum(axis=1), chances.shape[1] - 1)


def session_columns(market: Market, start: int, rows: int) -> dict[str, np.ndarray]:
    """Columns of rows start .. start + rows - 1 of the market's sessions."""
    parts = []
    for number in range(start // BLOCK, -(-(start + rows) // BLOCK)):
        block = market.session_log.block(number)
        first, last = max(0, start - number * BLOCK), min(BLOCK, start + rows - number * BLOCK)
        parts.append({name: value[first:last] for name, value in block.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ragged(values: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Padded (row, step) as values (n,) and offsets (row + 1,)."""
    kept = np.arange(values.shape[1]) < length[:, None]
    return values[kept], np.concatenate([[0], np.cumsum(length)])


def session_schema(market: Market) -> Schema:
    """Schema of the sessions; fields shared with the impressions have the same ids."""
    dials = market.dials
    sizes = {
        "user": dials.users, "item": dials.items, "category": len(CATEGORIES),
        "age_band": len(AGE_BANDS), "favourite_category": len(CATEGORIES),
        "region": len(REGIONS), "device": len(DEVICES), "hour": 24, "weekday": 7,
        "scenario": dials.scenarios,
    }  # fmt: skip
    return Schema(
        TASKS,
        categorical=tuple(Categorical(name, size + 1) for name, size in sizes.items()),
        dense=(Dense("length"), Dense("user_visits"), Dense("user_clicks"), Dense("user_buys")),
        sequences=(
            Sequence("history", shares="item", max_length=LONGEST),
            Sequence("history_category", shares="category", max_length=LONGEST),
            Sequence("query", size=len(TOKENS) + 1, max_length=4),
        ),
        scenarios=tuple(Scenario(name) for name in market.scenarios),
    )


def sessions_table(market: Market, rows: int, start: int = 0) -> Table:
    """The sessions as a table; see `Market.sessions`."""
    c = session_columns(market, start, rows)
    users, user = market.users, c["user"]
    at = np.arange(rows)
    ids = [
        user, c["history"][at, c["length"] - 1], c["history_category"][at, c["length"] - 1],
        users["age_band"][user], users["favourite_category"][user], c["region"], c["device"],
        c["hour"], c["day"] % 7, c["scenario"],
    ]  # fmt: skip
    dense = [
        np.log(c["length"]) - 1.7, (np.log1p(users["past_visits"])[user] - 2.7) / 0.8,
        users["past_level"][user], users["past_buys"][user],
    ]  # fmt: skip
    sequences = {
        "history": _ragged(c["history"] + 1, c["length"]),
        "history_category": _ragged(c["history_category"] + 1, c["length"]),
        "query": _ragged(c["query"] + 1, c["query_length"]),
    }
    labels = np.stack([c[task.name] for task in TASKS], axis=1).astype(np.float32)
    keys = {"user": user, "session": c["session"], "time": c["day"] * 24 + c["hour"]}
    return Table(
        session_schema(market),
        torch.from_numpy(np.stack(ids, axis=1).astype(np.int64) + 1),
        torch.from_numpy(np.round(np.stack(dense, axis=1), 4).astype(np.float32)),
        {n: (torch.from_numpy(v), torch.from_numpy(o)) for n, (v, o) in sequences.items()},
        torch.from_numpy(labels),
        torch.ones(labels.shape, dtype=torch.bool),
        torch.from_numpy(c["scenario"]),
        truth={task.name: torch.from_numpy(c[f"true_{task.name}"]) for task in TASKS},
        keys={n: torch.from_numpy(v) for n, v in (keys | {"day": c["day"]}).items()},
        row_id=torch.arange(start, start + rows),
    )


def sessions_frame(market: Market, rows: int, start: int = 0) -> pl.DataFrame:
    """The sessions in words: lists of items, categories and query words."""
    c = session_columns(market, start, rows)
    user = c["user"]

    def lists(words: tuple[str, ...] | None, values: np.ndarray, length: np.ndarray) -> pl.Series:
        rows_ = [row[:n].tolist() for row, n in zip(values, length)]
        if words is not None:
            rows_ = [[words[index] for index in row] for row in rows_]
        return pl.Series(rows_, dtype=pl.List(pl.Int64 if words is None else pl.String))

    def names(words: list[str] | tuple[str, ...], index: np.ndarray) -> pl.Series:
        return pl.Series(words, dtype=pl.String)[index]

    return pl.DataFrame(
        {
            "session": c["session"],
            "day": c["day"],
            "hour": c["hour"],
            "scenario": names(market.scenarios, c["scenario"]),
            "user": user,
            "age_band": names(AGE_BANDS, market.users["age_band"][user]),
            "region": names(REGIONS, c["region"]),
            "device": names(DEVICES, c["device"]),
            "history": lists(None, c["history"], c["length"]),
            "history_category": lists(CATEGORIES, c["history_category"], c["length"]),
            "query": lists(TOKENS, c["query"], c["query_length"]),
            "next_category": names(CATEGORIES, c["next_category"]),
            "intent": names(INTENTS, c["intent"]),
            "purchase": c["purchase"].astype(np.int8),
        }
    )
