"""The world that every table of a shop is drawn from: one seed, one set of dials."""

from __future__ import annotations

import numpy as np

import mtlkit.shop.entities as entities
from mtlkit.shop.contents import KINDS, SUBJECTS, make_contents
from mtlkit.shop.dials import Dials
from mtlkit.shop.draws import make_rng


class World:
    """Who shops, what is sold and where, before anybody acts.

    ``users``, ``items``, ``sellers`` are {name: array}, and so are ``contents``, empty where the
    dial of that name is 0; ``scenarios`` names the places of the shop
    and ``traffic`` (scenario,) is their share of the visits; ``distance_km`` is (warehouse,
    region). Every generator of a table takes a world and draws from ``rng`` alone.
    """

    categories = list(entities.CATEGORIES)
    styles = list(entities.STYLES)
    shapes = list(entities.SHAPES)
    age_bands = list(entities.AGE_BANDS)
    regions = list(entities.REGIONS)
    devices = list(entities.DEVICES)
    price_bands = list(entities.PRICE_BANDS)
    warehouses = list(entities.WAREHOUSES)
    content_kinds = list(KINDS)
    content_subjects = list(SUBJECTS)

    def __init__(self, seed: int, dials: Dials) -> None:
        self.seed, self.dials = int(seed), dials
        self.users = entities.make_users(self.seed, dials)
        self.sellers = entities.make_sellers(self.seed, dials)
        self.items = entities.make_items(self.seed, dials, self.sellers)
        self.contents = make_contents(self.seed, dials, self.items)
        names, self.traffic = entities.make_scenarios(dials)
        self.scenarios = list(names)
        difference = entities.WAREHOUSE_KM[:, None, :] - entities.REGION_KM[None, :, :]
        self.distance_km = np.sqrt((difference**2).sum(axis=2))  # (warehouse, region)

    def rng(self, name: str, *numbers: int) -> np.random.Generator:
        """A generator for one purpose: the same (seed, name, numbers) draws the same anywhere."""
        return make_rng(self.seed, name, *numbers)
