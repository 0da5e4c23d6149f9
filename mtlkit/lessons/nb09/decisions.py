"""Predictions become decisions: a banner, the order of categories, a coupon, a page of results."""

from collections.abc import Mapping

import numpy as np

from mtlkit.shop.session_decisions import SessionDecisions

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
    gives = worth.coupon_score(intent, predictions["purchase"], following).argmax(axis=1)
    pages = worth.best_pages(worth.search_score(intent))
    return {
        "banner": worth.banner_value()[rows, order[:, 0]],
        "lead": worth.lead_value(order),
        "coupon": worth.coupon_value()[rows, gives],
        "search": worth.search_value(pages),
    }


def earned(predictions: Predictions, worth: SessionDecisions) -> dict[str, dict[str, float]]:
    """{decision: {"euro": a session, "regret": to the best policy}}, means over the rows."""
    return {
        name: {"euro": float(euro.mean()), "regret": float((worth.best(name) - euro).mean())}
        for name, euro in decide(predictions, worth).items()
    }
