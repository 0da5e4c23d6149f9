"""Users who are not there yet: a share of them comes for the first time in the later half."""

from __future__ import annotations

import numpy as np

from mtlkit.shop.visits import Visits
from mtlkit.shop.world import World


class Newcomers:
    """The day from which each user of a shop's sessions can come (dial `new_users`).

    `first_day` (user,) is 0 for those known before and a day of the later half for newcomers. Draws
    are of streams of their own: a visit that a newcomer makes too early is made by somebody known,
    and every other visit is that of the shop without newcomers.
    """

    def __init__(self, world: World) -> None:
        self.world, users = world, world.dials.users
        u = world.rng("new users").random((2, users))
        held = np.argsort(u[0], kind="stable")[: round(world.dials.new_users * users)]
        half = world.dials.days // 2
        self.first_day = np.zeros(users, dtype=np.int64)
        self.first_day[held] = half + (u[1][held] * (world.dials.days - half)).astype(np.int64)
        self.is_new = self.first_day > 0
        self._known = Visits(world, np.where(self.is_new, 0.0, world.users["activity"]))

    def settle(self, visit: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        """The visits of block `number`, those made too early given to users known before."""
        early = visit["day"] < self.first_day[visit["user"]]
        other = self._known.draw(self.world.rng("sessions of the known", number), len(early))
        return visit | {
            name: np.where(early, other[name], visit[name]) for name in ("user", "region", "device")
        }
