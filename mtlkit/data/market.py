"""The synthetic shop: one generator, many tables, known truth."""

from __future__ import annotations

import numpy as np

from mtlkit.data import market_world as world
from mtlkit.data.market_dials import Dials, load_dials, presets


class Market:
    """A shop whose every probability is known.

    `preset` names a file of datasets/markets; `seed` decides every draw; `dials` change single
    dials (see `market_dials.Dials`): `Market("small", seed=1, noise=0.0)`.
    """

    categories = list(world.CATEGORIES)
    styles = list(world.STYLES)
    shapes = list(world.SHAPES)
    age_bands = list(world.AGE_BANDS)
    regions = list(world.REGIONS)
    devices = list(world.DEVICES)
    price_bands = list(world.PRICE_BANDS)
    warehouses = list(world.WAREHOUSES)

    def __init__(self, preset: str | None = "small", seed: int = 0, **dials) -> None:
        self.preset, self.seed = preset, int(seed)
        self.dials: Dials = load_dials(preset, dials)
        self.users = world.make_users(self.seed, self.dials)
        self.sellers = world.make_sellers(self.seed, self.dials)
        self.items = world.make_items(self.seed, self.dials, self.sellers)
        names, self.traffic = world.make_scenarios(self.dials)
        self.scenarios = list(names)
        difference = world.WAREHOUSE_KM[:, None, :] - world.REGION_KM[None, :, :]
        self.distance_km = np.sqrt((difference**2).sum(axis=2))  # (warehouse, region)

    @staticmethod
    def presets() -> list[str]:
        """Names of the presets in datasets/markets."""
        return presets()

    def rng(self, name: str, *numbers: int) -> np.random.Generator:
        """A generator for one purpose: the same (seed, name, numbers) draws the same anywhere."""
        return world.make_rng(self.seed, name, *numbers)
