"""Predictions become decisions: a banner, the order of categories, a coupon, a page of results."""

from collections.abc import Mapping

import numpy as np

from mtlkit.shop.session_decisions import COUPON_FACE, COUPON_PUSH, SessionDecisions

Predictions = Mapping[str, np.ndarray]
DECISIONS = ("banner", "lead", "coupon", "search")


def decide(predictions: Predictions, worth: SessionDecisions) -> dict[str, np.ndarray]:
    """{decision: euro (row,)} that the policy of these predictions earns, by the truth.

    predictions {task: probabilities}: next_category (row, 10), intent (row, 5), purchase (row,);
    worth: ``SessionDecisions`` of the same rows. Of the shop's truth a policy reads its margins,
    what a coupon does for each intent, and the chance that an item is bought by each intent.
    """
    following, intent = predictions["next_category"], predictions["intent"]
    rows = np.arange(len(following))
    order = np.argsort(-following * worth.margin, axis=1, kind="stable")
    gives = coupon_pays(following, intent, predictions["purchase"], worth.margin)
    pages = worth.best_pages(worth.search_score(intent))
    return {
        "banner": worth.banner_value()[rows, order[:, 0]],
        "lead": worth.lead_value(order),
        "coupon": worth.coupon_value()[rows, gives.astype(int)],
        "search": worth.search_value(pages),
    }


def coupon_pays(
    following: np.ndarray, intent: np.ndarray, purchase: np.ndarray, margin: np.ndarray
) -> np.ndarray:
    """Whether a coupon is expected to pay, bool (row,).

    P(purchase) without it is predicted; with it, its logit moves as the intent says.
    """
    chance = np.clip(purchase, 1e-6, 1 - 1e-6)
    logit = np.log(chance / (1 - chance))
    moved = 1 / (1 + np.exp(-(logit[:, None] + COUPON_PUSH)))  # (row, intent)
    expected = following @ margin
    return (intent * moved).sum(1) * (expected - COUPON_FACE) > chance * expected


def earned(predictions: Predictions, worth: SessionDecisions) -> dict[str, dict[str, float]]:
    """{decision: {"euro": a session, "regret": to the best policy}}, means over the rows."""
    return {
        name: {"euro": float(euro.mean()), "regret": float((worth.best(name) - euro).mean())}
        for name, euro in decide(predictions, worth).items()
    }
