"""Visits: who comes, when, where from, and to which place in the shop."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.entities import DEVICES, HOUR_TRAFFIC, REGIONS
from mtlkit.shop.world import World

BLOCK_PAGES = 1024  # visits drawn from one generator


class Visits:
    """Draws visits to one world; users come as often as `activity`, by default their own."""

    def __init__(self, world: World, activity: np.ndarray | None = None) -> None:
        self.world = world
        activity = world.users["activity"] if activity is None else activity
        self._activity = np.cumsum(activity.astype(np.float64))
        self._traffic = np.cumsum(world.traffic)
        self._hours = np.cumsum(HOUR_TRAFFIC / HOUR_TRAFFIC.sum())

    def draw(self, rng: np.random.Generator, pages: int) -> dict[str, np.ndarray]:
        """Arrays (page,): user, scenario, hour, day, region, device."""
        users, dials = self.world.users, self.world.dials
        u = rng.random((7, pages))
        user = np.searchsorted(self._activity, u[0] * self._activity[-1], side="right")
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
