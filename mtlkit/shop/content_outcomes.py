"""What a visitor does with a content: from utilities to outcomes.

    score_open  = signal * utility_open + intercept + scenario rate + season - position
    score_visit = signal * utility_visit + intercept
    p           = sigmoid(score + noise * z)                  of open, and of visit given open
    share       = FINISH_MEAN + FINISH_SLOPE * utility_finish - FINISH_LONG * length
    log(1 + seconds) = log(1 + seconds of the content) + share + FINISH_SD * z
    finish      = share + FINISH_SD * z >= 0,   P(finish | open) = Phi(share / FINISH_SD)

so who stays at least as long as the content lasts has finished it, and long contents are finished
less often although people stay longer. A visitor who goes on visits each of the content's products
with the same chance. No hidden appeal moves these outcomes: what is opened tells nothing of the
visit that a model could not read.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from mtlkit.shop.mean_over_luck import mean_sigmoid
from mtlkit.shop.outcomes import Named
from mtlkit.shop.probability import rounded, shift_to_rate, sigmoid
from mtlkit.shop.world import World

LUCKY = ("open", "visit")  # outcomes with luck of their own (dial noise)
RATES = {"open": 0.12, "visit": 0.2}  # opens a content shown, visits an open
FINISH_MEAN, FINISH_SLOPE, FINISH_LONG, FINISH_SD = -0.15, 0.45, 0.15, 0.6


class ContentOutcomes:
    """The equations of one world's contents; ``intercept`` is set by `calibrate`."""

    def __init__(self, world: World) -> None:
        self.world = world
        rates = world.rng("content scenario rates").standard_normal(100)
        rates = world.dials.scenario_rates * rates[: world.dials.scenarios]
        self.scenario_rate = rates.astype(np.float32)
        self.intercept = {name: np.float32(0) for name in LUCKY}

    def scores(
        self, utility: Named, scenario: np.ndarray, season: np.ndarray, position: np.ndarray
    ) -> Named:
        """Logits of open and visit before luck, float32 (page, slot)."""
        dials = self.world.dials
        drop = dials.position_bias * np.log1p(position)
        opens = dials.signal * utility["open"] + self.intercept["open"] + season - drop
        visits = dials.signal * utility["visit"] + self.intercept["visit"]
        opens = opens + self.scenario_rate[scenario][:, None]
        return {"open": opens.astype(np.float32), "visit": visits.astype(np.float32)}

    def calibrate(self, scores: Named, rng: np.random.Generator) -> None:
        """Set the intercepts that give the rates on these rows."""
        reached = np.ones(scores["open"].shape)
        for name in LUCKY:
            luck = rng.standard_normal(scores[name].shape)
            logit = scores[name].astype(np.float64) + self.world.dials.noise * luck
            shift = round(shift_to_rate(logit, reached, RATES[name]), 3)
            self.intercept[name] = self.intercept[name] + np.float32(shift)
            reached = sigmoid(logit + shift)

    def chances(self, scores: Named, luck: Named, share: np.ndarray) -> Named:
        """P(open), P(visit | open), P(finish | open), as the log keeps them."""
        noise = np.float32(self.world.dials.noise)
        found = {name: rounded(sigmoid(scores[name] + noise * luck[name])) for name in LUCKY}
        return found | {"finish": rounded(ndtr(share / FINISH_SD))}


def share_seen(utility: np.ndarray, seconds_z: np.ndarray) -> np.ndarray:
    """Mean of log(1 + seconds) less that of a content seen to its end, float64."""
    return FINISH_MEAN + FINISH_SLOPE * utility.astype(np.float64) - FINISH_LONG * seconds_z


def open_and_visit(world: World, scores: Named) -> Named:
    """Means of open and visit over the luck, float32 (row,), from logits before it."""
    noise = world.dials.noise
    if noise == 0:
        return {name: rounded(sigmoid(scores[name])) for name in LUCKY}
    return {name: mean_sigmoid(noise)(scores[name]).astype(np.float32) for name in LUCKY}
