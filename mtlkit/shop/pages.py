"""Pages: which products the shop showed, and in which order (the dial ``exposure``)."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.taste import Taste
from mtlkit.shop.world import World


class Decks:
    """Things dealt into as many decks as a page has places: no page has one of them twice."""

    def __init__(self, rng: np.random.Generator, popularity: np.ndarray, slots: int) -> None:
        order = rng.permutation(len(popularity))
        decks = [order[deck::slots] for deck in range(slots)]
        self._things = np.concatenate(decks)
        self._start = np.cumsum([0] + [len(deck) for deck in decks[:-1]])
        self._size = np.array([len(deck) for deck in decks])
        shares = [popularity[deck] for deck in decks]
        steps = [deck + np.cumsum(share) / share.sum() for deck, share in enumerate(shares)]
        self._popular = np.concatenate(steps)  # grows from 0 to slots

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], popular: bool) -> np.ndarray:
        """Things (page, slot, ...), the popular ones more often or all alike."""
        pages, slots = shape[:2]
        deck = (rng.integers(0, slots, pages)[:, None] + np.arange(slots)) % slots
        deck = deck.reshape(pages, slots, *([1] * (len(shape) - 2)))
        u = rng.random(shape)
        if popular:
            place = np.searchsorted(self._popular, deck + u, side="right")
            return self._things[np.minimum(place, self._start[deck] + self._size[deck] - 1)]
        return self._things[self._start[deck] + (u * self._size[deck]).astype(int)]


class Pages:
    """Chooses the products of a page, never one of them twice."""

    def __init__(self, world: World, taste: Taste) -> None:
        self.world, self.taste = world, taste
        self.decks = Decks(world.rng("decks"), world.items["popularity"], world.dials.page_size)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], popular: bool) -> np.ndarray:
        """Items (page, slot, ...), the popular ones more often or all alike."""
        return self.decks.draw(rng, shape, popular)

    def choose(self, rng: np.random.Generator, visit: dict[str, np.ndarray]) -> np.ndarray:
        """Items (page, slot), in the order of the positions, chosen by the exposure policy."""
        policy, slots = self.world.dials.exposure, self.world.dials.page_size
        pages = len(visit["user"])
        if policy != "personal":
            return self.draw(rng, (pages, slots), popular=policy == "popular")
        # an older recommender: the best of three by a blurred view of the click utility, best first
        offers = self.draw(rng, (pages, slots, 3), popular=True)
        liking = self.taste.utilities(visit, offers.reshape(pages, -1))["click"]
        score = liking.reshape(offers.shape)
        score = score + 0.7 * rng.standard_normal(offers.shape, dtype=np.float32)
        best = score.argmax(axis=2)[..., None]
        chosen = np.take_along_axis(offers, best, axis=2)[..., 0]
        order = np.argsort(-np.take_along_axis(score, best, axis=2)[..., 0], axis=1, kind="stable")
        return np.take_along_axis(chosen, order, axis=1)
