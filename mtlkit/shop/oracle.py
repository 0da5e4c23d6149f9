"""The oracle: how well the truth itself predicts the labels of a table.

Two oracles answer two questions. The one that knows *everything* uses the true value of each row,
with the row's private luck (the dials noise and selection_bias) that no feature reveals: nothing
can beat it. The one that knows the *features* uses the expectation of that value over the luck,
given visitor, product, place and moment: the best that a model with unlimited data could reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtlkit.metrics import task_metrics
from mtlkit.shop.impressions import sigmoid

if TYPE_CHECKING:
    from mtlkit.data.table import Table
    from mtlkit.shop.market import Market

KNOWS = ("everything", "features")


def best_predictions(
    market: Market, table: Table, knows: str = "features", selected: bool = True
) -> dict[str, np.ndarray]:
    """The oracle's prediction of each task for every row, in natural units.

    selected: with knows="features", purchase is that of rows that were clicked (where the hidden
    appeal is higher), as a log shows it; False gives the counterfactual, as if every row had been
    clicked, which is what `truth` averages to. Only impressions tell the two apart.
    """
    if knows not in KNOWS:
        raise ValueError(f"knows: {knows!r} is not one of {KNOWS}")
    for name in table.schema.task_names:
        if name not in table.truth:
            raise ValueError(
                f"the table has no truth for task {name!r}; the oracle needs a table made by the "
                "market, and truth kept on the way"
            )
    found = {name: table.truth[name].cpu().numpy() for name in table.schema.task_names}
    if knows == "features" and "score_click" in table.truth:
        scores = {
            name: table.truth[f"score_{name}"].cpu().numpy()
            for name in ("click", "cart", "checkout", "return", "wish")
            if f"score_{name}" in table.truth
        }
        means = _without_luck(market, scores, selected)
        found |= {name: value for name, value in means.items() if name in found}
    return found


def _without_luck(
    market: Market, scores: dict[str, np.ndarray], selected: bool, piece: int = 50_000
) -> dict[str, np.ndarray]:
    """Means over the luck, by Gauss-Hermite quadrature: hidden appeal outside, own luck inside.

    purchase on clicked rows = sum_a w_a click(a) buy(a) / sum_a w_a click(a), a: hidden appeal.
    """
    dials = market.dials
    appeal, share = _nodes(dials.selection_bias)
    parts: dict[str, list[np.ndarray]] = {n: [] for n in ("click", "cart", "purchase", "return")}
    if "wish" in scores:
        parts["wish"] = []
    for start in range(0, len(scores["click"]), piece):
        row = {name: value[start : start + piece] for name, value in scores.items()}
        clicks = _mean_sigmoid(row["click"][:, None] + appeal, dials.noise)  # (row, appeal)
        buys = _mean_sigmoid(row["checkout"][:, None] + appeal, dials.noise)
        cart = _mean_sigmoid(row["cart"], dials.noise)
        weight = clicks * share if selected else np.broadcast_to(share, clicks.shape)
        checkout = (weight * buys).sum(axis=1) / weight.sum(axis=1)
        parts["click"].append(clicks @ share)
        parts["cart"].append(cart)
        wish = None
        if "wish" in row:
            wish = _mean_sigmoid(row["wish"], dials.noise)
            parts["wish"].append(wish)
        parts["purchase"].append(checkout * market.log.to_till(cart, wish))
        parts["return"].append(_mean_sigmoid(row["return"], dials.noise))
    return {name: np.concatenate(part).astype(np.float32) for name, part in parts.items()}


def _nodes(deviation: float, count: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights with sum(weights * f(points)) = E f(x), x ~ N(0, deviation^2)."""
    if deviation == 0:
        return np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    return (deviation * points).astype(np.float32), (weights / weights.sum()).astype(np.float32)


def _mean_sigmoid(logits: np.ndarray, deviation: float) -> np.ndarray:
    """E sigmoid(logit + x), x ~ N(0, deviation^2), for each logit."""
    points, weights = _nodes(deviation, count=7)
    total = np.zeros_like(logits)
    for point, weight in zip(points, weights):
        total += weight * sigmoid(logits + point)
    return total


def oracle_metrics(
    market: Market, table: Table, knows: str = "everything"
) -> dict[str, dict[str, float]]:
    """Metrics of the oracle's predictions against the observed labels of these very rows."""
    found = best_predictions(market, table, knows)
    result = {}
    for task in table.schema.tasks:
        mask = table.mask(task.name).cpu().numpy()
        label = table.label(task.name).cpu().numpy()[mask]
        censored = None
        if task.kind == "censored_count" and table.censored is not None:
            place = table.schema.task_index(task.name)
            censored = table.censored[:, place].cpu().numpy()[mask]
        result[task.name] = task_metrics(task, label, found[task.name][mask], censored)
        on_log_scale = table.truth.get(f"{task.name}_log1p")  # the best there, not log(1 + mean)
        if task.log1p and on_log_scale is not None:
            best = np.expm1(on_log_scale.cpu().numpy()[mask])
            result[task.name]["r2_log"] = task_metrics(task, label, best)["r2_log"]
    return result
