"""What moves an outcome of a content: the products it is about, and what is its own.

    utility_t = r * product_t + sqrt(1 - r^2) * own_t,      r = dial content_correlation

product_t is the visitor's utility (see `taste.py`) of the products that the content is about,
averaged over them and brought to variance 1: of the click for ``open``, of the dwell for
``finish``, of the cart for ``visit``. own_t has variance 1 and nothing to do with products. So r
is the correlation of a content's utility with that of its products, when pages are random; and as
the own parts are correlated as the products' are, so are any two tasks (dial task_correlation).
"""

from __future__ import annotations

import numpy as np

from mtlkit.shop.behaviour import Behaviour
from mtlkit.shop.contents import KINDS, MOST, SUBJECTS, make_readers
from mtlkit.shop.entities import AGE_BANDS, DEVICES, HOUR_TRAFFIC
from mtlkit.shop.outcomes import Named
from mtlkit.shop.taste import orthonormal, pair_values, with_click

PRODUCT = {"open": "click", "finish": "dwell", "visit": "cart"}  # the utility each one takes
# components of the own part: name, dimensions (None: the dial `factors`), share of the variance
OWN = (
    ("personal", None, 0.30),  # taste of this user times look of this content
    ("age and kind", 3, 0.20),
    ("content", 2, 0.20),
    ("fresh", 1, 0.06),
    ("reader", 1, 0.08),
    ("length fit", 1, 0.08),
    ("hour and kind", 2, 0.08),
)
SAMPLE = 4096  # pages that means and deviations are taken from


class ContentTaste:
    """Utilities of contents for the visitors of one world."""

    def __init__(self, behaviour: Behaviour) -> None:
        world = self.world = behaviour.world
        self.behaviour = behaviour
        dials, contents = world.dials, world.contents
        self.readers = make_readers(world.seed, world.users)
        self.count = (contents["about"] >= 0).sum(axis=1)
        rng = world.rng("content taste tables")
        ages = np.bincount(world.users["age_band"], world.users["activity"], len(AGE_BANDS))
        self._sort = contents["kind"] * len(SUBJECTS) + contents["subject"]
        sorts = np.bincount(self._sort, minlength=len(KINDS) * len(SUBJECTS)) + 1e-3
        kinds = np.bincount(contents["kind"], minlength=len(KINDS)) + 1e-3
        moments = np.outer(HOUR_TRAFFIC, [0.6, 0.15, 0.25]).ravel()
        self._age_sort = pair_values(rng, np.outer(ages + 1e-3, sorts), 3)
        self._moment_kind = pair_values(rng, np.outer(moments, kinds), 2)
        ages_seen = np.log1p(contents["age_days"][:, None] + np.arange(dials.days))
        self._fresh = float(ages_seen.mean().round(4)), float(ages_seen.std().round(4))
        sizes = [dials.factors if size is None else size for _, size, _ in OWN]
        spread = np.concatenate(
            [np.full(n, np.sqrt(share / n)) for n, (_, _, share) in zip(sizes, OWN)]
        )
        self._weights = self._draw_weights(spread)  # (scenario, component, task)
        self._scale = self._standardise()

    def _draw_weights(self, spread: np.ndarray) -> np.ndarray:
        world, dials = self.world, self.world.dials
        common = orthonormal(world.rng("content weights"), spread, len(PRODUCT))
        rho = np.array([with_click(name, dials.task_correlation) for name in PRODUCT.values()])
        weights = []
        for scenario in range(dials.scenarios):
            rng = world.rng("content scenario weights", scenario)
            special = orthonormal(rng, spread, len(PRODUCT), against=common)
            bent = (
                np.sqrt(1 - dials.scenario_shift) * common + np.sqrt(dials.scenario_shift) * special
            )
            weights.append(bent[:, :1] * rho + bent * np.sqrt(1 - rho**2))
        return np.stack(weights).astype(np.float32)

    def _standardise(self) -> dict[str, np.ndarray]:
        """Mean and deviation of the product part, {task: (number of products, 2)}."""
        world, slots = self.world, self.world.dials.page_size
        rng = world.rng("content taste sample")
        visit = self.behaviour.visits.draw(rng, SAMPLE)
        content = rng.integers(0, world.dials.contents, (SAMPLE, slots))
        utility = self.behaviour.taste.utilities(visit, self.products(content))
        count = self.count[content]
        scale = {}
        for task, name in PRODUCT.items():
            value = self.mean_over_products(utility[name], content)
            table = np.tile(np.array([0.0, 1.0], dtype=np.float32), (MOST + 1, 1))
            for number in np.unique(count):
                part = value[count == number].astype(np.float64)
                table[number] = part.mean().round(3), part.std().round(3)
            scale[task] = table
        return scale

    def products(self, content: np.ndarray) -> np.ndarray:
        """Items (page, slot * 3) that contents (page, slot) are about, the first one for none."""
        about = self.world.contents["about"][content]  # (page, slot, 3)
        filled = np.where(about >= 0, about, about[..., :1])
        return filled.reshape(len(content), -1)

    def mean_over_products(self, value: np.ndarray, content: np.ndarray) -> np.ndarray:
        """Mean of (page, slot * 3) over the products of each content (page, slot)."""
        real = self.world.contents["about"][content] >= 0
        total = np.where(real, value.reshape(real.shape), 0).sum(axis=2)
        return total / self.count[content]

    def utilities(
        self, visit: dict[str, np.ndarray], content: np.ndarray, product: Named
    ) -> dict[str, np.ndarray]:
        """Utilities {task: float32 (page, slot)}, each with variance about 1.

        visit {name: (page,)}, content (page, slot); product: what `Taste.utilities` gives for
        `products(content)`. Whole multiples of 2**-14, as the products' are.
        """
        r = self.world.dials.content_correlation
        count = self.count[content]
        own = np.matmul(self._components(visit, content), self._weights[visit["scenario"]])
        found = {}
        for place, task in enumerate(PRODUCT):
            mean, deviation = self._scale[task][count].transpose(2, 0, 1)
            value = self.mean_over_products(product[PRODUCT[task]], content)
            both = r * (value - mean) / deviation + np.sqrt(1 - r**2) * own[..., place]
            found[task] = (np.round(both * 2**14) * 2.0**-14).astype(np.float32)
        return found

    def _components(self, visit: dict[str, np.ndarray], content: np.ndarray) -> np.ndarray:
        """Components of the own part, float32 (page, slot, component)."""
        users, contents = self.world.users, self.world.contents
        user = visit["user"]
        age = users["age_band"][user][:, None]
        moment = (visit["hour"] * len(DEVICES) + visit["device"])[:, None]
        days = contents["age_days"][content] + visit["day"][:, None]
        fresh = -(np.log1p(days) - self._fresh[0]) / self._fresh[1]
        level = np.broadcast_to(self.readers["level"][user][:, None], content.shape)
        fit = self.readers["patience"][user][:, None] * contents["seconds_z"][content]
        return np.concatenate(
            [
                users["factors"][user][:, None] * contents["factors"][content],
                self._age_sort[age * len(KINDS) * len(SUBJECTS) + self._sort[content]],
                contents["appeal"][content],
                fresh[..., None].astype(np.float32),
                level[..., None],
                fit[..., None],
                self._moment_kind[moment * len(KINDS) + contents["kind"][content]],
            ],
            axis=2,
        )
