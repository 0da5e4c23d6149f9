"""What moves an outcome: the components of a visit, and each task's weights on them.

A row has components c (row, component), each with mean 0 and variance 1 and uncorrelated with the
others when pages are random. Task t has in scenario s the utility

    utility_t = c . w_st,    |w_st| = 1

so utilities have variance 1 and the cosine of two weight vectors is the correlation of the two
utilities. With orthonormal vectors o_0 (click) and o_t (t's own), and rho = task_correlation,

    w_click = o_0        w_t = rho o_0 + sqrt(1 - rho^2) o_t

(the construction of Ma et al., KDD 2018, section 3.2; returns use -rho: what pleases is kept).
Every scenario bends the common vectors towards directions of its own:
o_s = sqrt(1 - shift) o + sqrt(shift) d_s, and drift turns them over the days towards a third set.
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.draws import whitened
from mtlkit.shop.entities import AGE_BANDS, CATEGORIES, DEVICES, HOUR_TRAFFIC, REGIONS, STYLES
from mtlkit.shop.world import World

UTILITIES = ("click", "cart", "checkout", "dwell", "return", "rating")
# component groups: name, dimensions (None: the dial `factors`), share of a utility's variance
GROUPS = (
    ("personal", None, 0.12),  # taste of this user times look of this item
    ("age and category", 6, 0.26),
    ("region and style", 3, 0.12),
    ("item", 3, 0.22),
    ("user", 2, 0.12),
    ("price fit", 1, 0.08),
    ("hour and device", 3, 0.08),
)


def with_click(name: str, rho: float) -> float:
    """Correlation of one utility with that of the click; rho is the dial task_correlation."""
    return {"click": 1.0, "return": -rho}.get(name, rho)


def correlation(first: str, second: str, rho: float) -> float:
    """Correlation of two utilities: what they share is their part of the click's."""
    return 1.0 if first == second else with_click(first, rho) * with_click(second, rho)


class Taste:
    """Components of rows and the weights of every utility in every scenario."""

    def __init__(self, world: World) -> None:
        self.world = world
        dials, users = world.dials, world.users
        rng = world.rng("taste tables")
        ages = np.bincount(users["age_band"], users["activity"], len(AGE_BANDS)) + 1e-3
        homes = np.bincount(users["home_region"], users["activity"], len(REGIONS)) + 1e-3
        categories = np.bincount(world.items["category"], minlength=len(CATEGORIES)) + 1e-3
        styles = np.bincount(world.items["style"], minlength=len(STYLES)) + 1e-3
        self.age_category = pair_values(rng, np.outer(ages, categories), 6)
        self.region_style = pair_values(rng, np.outer(homes, styles), 3)
        self.hour_device = pair_values(rng, np.outer(HOUR_TRAFFIC, [0.6, 0.15, 0.25]), 3)
        self.sizes = [dials.factors if size is None else size for _, size, _ in GROUPS]
        self.weights, self.late_weights = self._draw_weights()  # (scenario, component, utility)

    def _draw_weights(self) -> tuple[np.ndarray, np.ndarray]:
        world, dials = self.world, self.world.dials
        spread = np.concatenate(
            [np.full(n, np.sqrt(share / n)) for n, (_, _, share) in zip(self.sizes, GROUPS)]
        )
        common = orthonormal(world.rng("common weights"), spread)  # (component, utility)
        rho = np.array([with_click(name, dials.task_correlation) for name in UTILITIES])
        own = np.sqrt(1 - rho**2)
        weights, late = [], []
        for scenario in range(dials.scenarios):
            rng = world.rng("scenario weights", scenario)
            special = orthonormal(rng, spread, against=common)
            bent = (
                np.sqrt(1 - dials.scenario_shift) * common + np.sqrt(dials.scenario_shift) * special
            )
            other = orthonormal(rng, spread, against=bent)
            weights.append(bent[:, :1] * rho + bent * own)
            late.append(other[:, :1] * rho + other * own)
        return np.stack(weights).astype(np.float32), np.stack(late).astype(np.float32)

    def components(
        self,
        user: np.ndarray,
        item: np.ndarray,
        region: np.ndarray,
        hour: np.ndarray,
        device: np.ndarray,
    ) -> np.ndarray:
        """Components float32 (page, slot, component); item is (page, slot), the rest (page,)."""
        users, items = self.world.users, self.world.items
        age, category = users["age_band"][user][:, None], items["category"][item]
        wants_cheap = -users["price_sensitivity"][user][:, None] * items["price_z"][item]
        slots = item.shape[1]
        level = np.broadcast_to(users["level"][user][:, None], (*item.shape, 2))
        moment = self.hour_device[hour * len(DEVICES) + device][:, None]
        return np.concatenate(
            [
                users["factors"][user][:, None] * items["factors"][item],
                self.age_category[age * len(CATEGORIES) + category],
                self.region_style[region[:, None] * len(STYLES) + items["style"][item]],
                items["appeal"][item],
                level,
                wants_cheap[..., None],
                np.broadcast_to(moment, (len(user), slots, 3)),
            ],
            axis=2,
        )

    def weights_of(self, scenario: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Weights of each page, float32 (page, component, utility)."""
        dials = self.world.dials
        if dials.drift == 0:
            return self.weights[scenario]
        angle = dials.drift * np.pi / 2 * day / max(1, dials.days - 1)
        cosine, sine = (f(angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        return cosine * self.weights[scenario] + sine * self.late_weights[scenario]

    def utilities(self, visit: dict[str, np.ndarray], item: np.ndarray) -> dict[str, np.ndarray]:
        """Utilities {name: float32 (page, slot)}, each with variance about 1.

        visit {name: (page,)}; item (page, slot). They are whole multiples of 2**-14, so that the
        order in which a platform adds up a matrix product does not show.
        """
        part = self.components(visit["user"], item, visit["region"], visit["hour"], visit["device"])
        found = np.matmul(part, self.weights_of(visit["scenario"], visit["day"]))
        found = np.round(found * np.float32(2**14)) * np.float32(2.0**-14)
        return {name: found[..., place] for place, name in enumerate(UTILITIES)}


def pair_values(rng: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    """Values of each pair, (pair, size): a part of either side and one of both; whitened."""
    rows, columns = weights.shape
    values = rng.standard_normal((rows, columns, size))  # what only the pair has
    values += rng.standard_normal((rows, 1, size)) + rng.standard_normal((1, columns, size))
    return whitened(values.reshape(rows * columns, size), weights.ravel()).astype(np.float32)


def orthonormal(
    rng: np.random.Generator,
    spread: np.ndarray,
    count: int = len(UTILITIES),
    against: np.ndarray | None = None,
) -> np.ndarray:
    """`count` unit vectors, (component, count), orthogonal to each other and to `against`."""
    found = [] if against is None else list(np.linalg.qr(against)[0].T)
    first = len(found)
    for _ in range(count):
        vector = spread * rng.standard_normal(len(spread))
        for _ in range(2):  # twice is enough against rounding (Gram-Schmidt)
            for other in found:
                vector = vector - (vector @ other) * other
        found.append(vector / np.linalg.norm(vector))
    return np.stack(found[first:], axis=1)
