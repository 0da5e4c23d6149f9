"""What a model is worth in every scenario and over all of them, as metrics of a run."""

from typing import Any

from mtlkit import scenario_table
from mtlkit.data.table import Table

KEPT = ("auc", "auc_within", "auc_between", "pairs_within", "pcoc", "normalized_entropy")


def by_place(
    model: Any, table: Table, group: str | None = None, **options: Any
) -> dict[str, dict[str, float]]:
    """``scenario_table`` in the form of ``evaluate``: {"click": ..., "click in search": ...}.

    Over all rows a task has its own name, with the parts of its pooled AUC.
    """
    found = {}
    for row in scenario_table(model, table, group).iter_rows(named=True):
        place = row["task"] if row["scenario"] == "all" else f"{row['task']} in {row['scenario']}"
        found[place] = {name: row[name] for name in KEPT if row.get(name) is not None}
    return found
