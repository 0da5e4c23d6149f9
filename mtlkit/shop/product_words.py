"""The words of a product's title: how the shop's sellers describe what they sell.

A title has five words, each from its own list: the first four depend on one label (noun and
material on the category, print on the style, promise on the price band), the last on the seller.
Given the labels the words are independent, so what they tell about a label follows by Bayes' rule.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.entities import CATEGORIES

NOUNS = (
    "tee", "top", "trousers", "jeans", "sweater", "knit", "dress", "skirt", "coat", "jacket",
    "sandal", "slipper", "shirt", "blouse", "sneaker", "shoe", "bag", "purse", "boot", "item",
)  # fmt: skip
MATERIALS = ("cotton", "denim", "wool", "linen", "leather", "rubber", "canvas", "synthetic")
PRINTS = ("uni", "lines", "dots", "grid", "colourful", "classic")
PROMISES = ("basic", "value", "everyday", "selected", "premium", "handmade")
LINES = tuple(f"line-{number}" for number in range(12))
VOCABULARY = ("unknown", *NOUNS, *MATERIALS, *PRINTS, *PROMISES, *LINES)
"""Word of each id; id 0 is out of vocabulary, as in every field."""

# nouns a category may be called, from its own name to names it shares with others
_CALLED = {
    "t-shirt": ("tee", "top", "shirt"),
    "trousers": ("trousers", "jeans", "item"),
    "pullover": ("sweater", "knit", "top"),
    "dress": ("dress", "skirt", "knit"),
    "coat": ("coat", "jacket", "knit"),
    "sandal": ("sandal", "slipper", "shoe"),
    "shirt": ("shirt", "blouse", "top"),
    "sneaker": ("sneaker", "shoe", "slipper"),
    "bag": ("bag", "purse", "item"),
    "boot": ("boot", "shoe", "item"),
}
_MADE_OF = {
    "t-shirt": ("cotton", "linen"),
    "trousers": ("denim", "cotton"),
    "pullover": ("wool", "cotton"),
    "dress": ("linen", "synthetic"),
    "coat": ("wool", "synthetic"),
    "sandal": ("leather", "rubber"),
    "shirt": ("cotton", "linen"),
    "sneaker": ("canvas", "rubber"),
    "bag": ("leather", "canvas"),
    "boot": ("leather", "rubber"),
}


def _spread(
    words: tuple[str, ...], favourites: tuple[str, ...], shares: tuple[float, ...]
) -> np.ndarray:
    """Chances (word,): the favourites' shares, the rest spread evenly over all words."""
    chances = np.full(len(words), (1.0 - sum(shares)) / len(words))
    for word, share in zip(favourites, shares, strict=True):
        chances[words.index(word)] += share
    return chances


NOUN_GIVEN_CATEGORY = np.stack(
    [_spread(NOUNS, _CALLED[name], (0.35, 0.25, 0.20)) for name in CATEGORIES]
)  # (category, noun)
MATERIAL_GIVEN_CATEGORY = np.stack(
    [_spread(MATERIALS, _MADE_OF[name], (0.4, 0.3)) for name in CATEGORIES]
)  # (category, material)
PRINT_GIVEN_STYLE = np.stack(
    [
        _spread(PRINTS, (word, other), (0.4, 0.3))
        for word, other in zip(
            PRINTS[:4], ("classic", "classic", "colourful", "colourful"), strict=True
        )
    ]
)  # (style, print)
PROMISE_GIVEN_BAND = np.stack(
    [_spread(PROMISES, PROMISES[band : band + 2], (0.4, 0.3)) for band in range(5)]
)  # (price band, promise)


def draw_words(chances: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """One word's place in its list for each row: labels (row,), uniform draws (row,) -> (row,)."""
    ladder = np.cumsum(chances, axis=1)[labels]  # (row, word)
    return np.minimum((draws[:, None] >= ladder).sum(axis=1), chances.shape[1] - 1)


def titles(
    category: np.ndarray, style: np.ndarray, band: np.ndarray, seller: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Word ids int64 (row, 5): noun, material, print, promise, line; draws (row, 4) uniform."""
    lists = (NOUNS, MATERIALS, PRINTS, PROMISES, LINES)
    starts = 1 + np.cumsum([0, *(len(words) for words in lists[:-1])])
    columns = [
        draw_words(NOUN_GIVEN_CATEGORY, category, draws[:, 0]),
        draw_words(MATERIAL_GIVEN_CATEGORY, category, draws[:, 1]),
        draw_words(PRINT_GIVEN_STYLE, style, draws[:, 2]),
        draw_words(PROMISE_GIVEN_BAND, band, draws[:, 3]),
        seller % len(LINES),
    ]
    return np.stack(columns, axis=1).astype(np.int64) + starts


def posterior(prior: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """P(label | evidence), (row, label), by Bayes' rule.

    `prior` (label,), all above 0; `log_likelihood` (row, label): log P(evidence | label) plus any
    number that is the same for all labels of a row.
    """
    logits = np.log(prior) + log_likelihood
    logits -= logits.max(axis=1, keepdims=True)
    weight = np.exp(logits)
    return weight / weight.sum(axis=1, keepdims=True)
