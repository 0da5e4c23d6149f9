"""Contents: guides to read and videos to watch, each about one to three products of a category.

Two kinds of subject: a content about products names one to three of them; one about a category
shows the three best sellers of it (fewer where it has fewer). All of it is drawn from a stream of
its own, so a shop with contents sells what the same shop without them sells.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.dials import Dials
from mtlkit.shop.draws import make_rng, whitened

KINDS = ("guide", "video")
SUBJECTS = ("products", "category")
MOST = 3  # products that one content is about
CATEGORY_SHARE = 0.3  # of the contents, those about a category
TYPICAL_SECONDS = np.array([150.0, 60.0])  # to read a guide, to watch a video to its end
SECONDS_SD = 0.6  # of their logarithm
MEAN_AGE = 60.0  # days before day 0


def make_contents(seed: int, dials: Dials, items: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Contents as arrays (content,): what a visitor sees, latent quality, past before day 0.

    Empty without the dial `contents`. ``about`` (content, 3) holds item numbers, -1 where there is
    none; the first one lends the content its style.
    """
    n = dials.contents
    if n == 0:
        return {}
    rng = make_rng(seed, "contents")
    kind = rng.integers(0, len(KINDS), n)
    subject = (rng.random(n) < CATEGORY_SHARE).astype(np.int64)
    categories = int(items["category"].max()) + 1
    category = rng.permutation(np.arange(n) % categories)
    count = rng.integers(1, MOST + 1, n)
    shelves = []
    for place in range(categories):
        shelf = np.flatnonzero(items["category"] == place)
        shelves.append(shelf[np.argsort(-items["popularity"][shelf], kind="stable")])
    about = np.full((n, MOST), -1, dtype=np.int64)
    for place in range(n):
        shelf = shelves[category[place]]
        chosen = shelf[:MOST]
        if subject[place] == 0:
            share = items["popularity"][shelf]
            size = min(int(count[place]), len(shelf))
            chosen = rng.choice(shelf, size, replace=False, p=share / share.sum())
        about[place, : len(chosen)] = chosen
    length = rng.standard_normal(n)
    appeal = whitened(rng.standard_normal((n, 2)))
    popularity = (1 + rng.permutation(n)) ** -0.6 * np.exp(0.3 * appeal[:, 0])
    return {
        "factors": whitened(rng.standard_normal((n, dials.factors))).astype(np.float32),
        "kind": kind,
        "subject": subject,
        "about": about,
        "category": category,
        "style": items["style"][about[:, 0]],
        "seconds": np.maximum(np.round(TYPICAL_SECONDS[kind] * np.exp(SECONDS_SD * length)), 5),
        "seconds_z": length.astype(np.float32),  # longer (+) or shorter (-) than others of its kind
        "quality": appeal[:, 0].astype(np.float32),  # mean 0, sd 1
        "appeal": appeal.astype(np.float32),  # (content, 2), the first is quality
        "age_days": np.floor(rng.exponential(MEAN_AGE, n)).astype(np.int64),  # on day 0
        "popularity": popularity / popularity.sum(),
        # what the shop saw before day 0: noisy views of the two sides of the appeal
        "past_opens": (appeal[:, 1] + 0.4 * rng.standard_normal(n)).astype(np.float32),
        "past_rating": np.round(
            np.clip(3.8 + 0.5 * appeal[:, 0] + 0.3 * rng.standard_normal(n), 1, 5), 1
        ),
    }


def make_readers(seed: int, users: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the users are besides when they read and watch, (user,): mean 0, sd 1 over visits."""
    rng = make_rng(seed, "readers")
    n, activity = len(users["activity"]), users["activity"].astype(np.float64)
    both = whitened(rng.standard_normal((n, 2)), activity)
    blur = rng.standard_normal(n) * 2 / np.sqrt(1 + users["past_visits"])
    return {
        "level": both[:, 0].astype(np.float32),  # how easily this user opens something
        "patience": both[:, 1].astype(np.float32),  # high: likes what is long
        "past_reads": (both[:, 0] + blur).astype(np.float32),  # what the shop saw of the level
    }
