"""Scenario by task as one table: what a model is worth in each place, and over all of them."""

from __future__ import annotations

import numpy as np
import polars as pl

from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import WHOLE
from mtlkit.train.evaluation import score


def scenario_table(
    model: MultiTaskModel,
    table: Table,
    group: str | None = None,
    *,
    joint: bool = False,
    batch_size: int = 8192,
) -> pl.DataFrame:
    """All metrics of every task, one row for each scenario and task, the table scored once.

    The first rows, one a task, have the scenario "all": all rows together. Then come the scenarios
    in the schema's order, and "unknown" where rows have no known one. Columns: scenario; task;
    rows; observed, how many of them have the label; positives, how many are 1 (binary tasks); then
    the metrics of ``evaluate`` under their names ("auc", "normalized_entropy", "pcoc", "r2", ...),
    with "gauc" and "gauc_skipped" where ``group`` is given. Numbers of rows are not weighted.

    With several scenarios the rows of "all" also have the pooled AUC's parts, "auc_within",
    "auc_between" and "pairs_within" (``mtlkit.metrics.auc_parts``): a pooled AUC well above the one
    within tells scenarios apart, not rows. A metric that a row does not have (the R2 of a click, a
    scenario's own parts) is null; an undefined one, such as the AUC of one class, is NaN.

    ``group``, ``joint``, ``batch_size`` and what is raised: see ``evaluate``. Raises ``ValueError``
    for a scenario that is called "all".
    """
    scored = score(model, table, group, joint=joint, batch_size=batch_size)
    places: dict[str, int | None] = {WHOLE: None}
    several = scored.scenarios()
    if len(several) > 1:
        if WHOLE in several:
            raise ValueError(f"A scenario must not be called {WHOLE!r}: rename it.")
        places |= several
    lines = []
    for place, number in places.items():
        rows = scored.rows(number)
        metrics = scored.metrics(number, auc_parts=number is None and len(several) > 1)
        for i, task in enumerate(scored.schema.tasks):
            known = rows & scored.columns["observed"][:, i]
            labels = scored.columns["labels"][known, i]
            line = {"scenario": place, "task": task.name, "rows": np.count_nonzero(rows)}
            line |= {"observed": len(labels)}
            line |= {"positives": np.count_nonzero(labels) if task.is_binary else None}
            lines.append(line | metrics[task.name])
    counts = {"rows": pl.Int64, "observed": pl.Int64, "positives": pl.Int64}
    return pl.DataFrame(lines, schema_overrides=counts, infer_schema_length=None)
