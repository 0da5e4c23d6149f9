"""The oracle: how well the truth itself predicts the labels of a table.

Two oracles answer two questions. The one that knows *everything* uses the true value of each row,
with the row's private luck (the dials noise and selection_bias) that no feature reveals: nothing
can beat it. The one that knows the *features* uses the expectation of that value over the luck,
given visitor, product, place and moment: the best that a model with unlimited data could reach.
"""

from __future__ import annotations

import numpy as np

from mtlkit.data.table import Table
from mtlkit.metrics import task_metrics
from mtlkit.shop.content_outcomes import LUCKY, open_and_visit
from mtlkit.shop.mean_over_luck import mean_over_luck
from mtlkit.shop.outcomes import Outcomes
from mtlkit.shop.world import World

KNOWS = ("everything", "features")


def best_predictions(
    world: World, table: Table, knows: str = "features", selected: bool = True
) -> dict[str, np.ndarray]:
    """The oracle's prediction of each task for every row, in natural units.

    selected: with knows="features", purchase is that of rows that were clicked (where the hidden
    appeal is higher), as a log shows it; False gives the counterfactual, as if every row had been
    clicked, which is what `truth` averages to. Only impressions tell the two apart. Raises
    ValueError for an unknown `knows` and for a table without truth.
    """
    if knows not in KNOWS:
        raise ValueError(f"knows: {knows!r} is not one of {KNOWS}")
    for name in table.schema.task_names:
        if name not in table.truth:
            raise ValueError(
                f"the table has no truth for task {name!r}; the oracle needs a table made by the "
                "shop, and truth kept on the way"
            )
    found = {name: table.truth[name].cpu().numpy() for name in table.schema.task_names}
    if knows == "features" and "score_click" in table.truth:
        outcomes = Outcomes(world)
        scores = {e.name: table.truth[f"score_{e.name}"].cpu().numpy() for e in outcomes.events}
        means = mean_over_luck(outcomes, scores, selected)
        found |= {name: value for name, value in means.items() if name in found}
        if "in_stock" in table.truth:  # what is sold out is bought by nobody, whatever the luck
            found["purchase"] = found["purchase"] * table.truth["in_stock"].cpu().numpy()
    if knows == "features" and "score_open" in table.truth:
        scores = {name: table.truth[f"score_{name}"].cpu().numpy() for name in LUCKY}
        found |= open_and_visit(world, scores)
    return found


def oracle_metrics(
    world: World, table: Table, knows: str = "everything"
) -> dict[str, dict[str, float]]:
    """Metrics of the oracle's predictions against the observed labels of these very rows."""
    found = best_predictions(world, table, knows)
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
