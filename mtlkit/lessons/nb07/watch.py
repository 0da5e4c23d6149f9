"""What experts and gates do on measured rows, as metrics of a run: they are stored with it.

``watched`` stands in for ``evaluate`` in ``compare``; ``experts`` and ``gates`` read back what it
wrote under the names of tasks that no model has.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch

from mtlkit import MMoE, evaluate
from mtlkit.data.table import Table
from mtlkit.models import CGC, PLE, STEM, AdaTT, OMoE, expert_activity, gate_map

WITH_EXPERTS = (OMoE, MMoE, CGC, PLE, AdaTT, STEM)
ACTIVITY = ("zeros", "dead", "load", "most", "similarity")
PLACE, GATE = ("level", "expert", "owner"), ("level", "reader", "scenario", "expert", "owner")


def some(table: Table, rows: int) -> Table:
    """About so many rows, spread evenly over the table."""
    return table.take(torch.arange(0, len(table), max(1, len(table) // rows)))


def activity(model: Any, table: Table) -> dict[str, float]:
    """{"level,expert,owner,measure": value} of ``expert_activity``."""
    return {
        ",".join(str(row[part]) for part in PLACE) + f",{what}": row[what]
        for row in expert_activity(model, table).iter_rows(named=True) for what in ACTIVITY
    }  # fmt: skip


def watched(
    model: Any, table: Table, group: str | None = None, *, rows: int
) -> dict[str, dict[str, float]]:
    """``evaluate``, and of a network of experts what about so many rows tell of them."""
    found = evaluate(model, table, group=group)
    if isinstance(model, WITH_EXPERTS):
        seen = some(table, rows)
        mean = gate_map(model, seen)["weight"]
        weights = gate_map(model, seen, by="scenario").iter_rows(named=True)
        found["experts"] = activity(model, seen)
        found["gates"] = {",".join(str(g[part]) for part in GATE): g["weight"] for g in weights}
        found["load"] = {"largest": mean.max(), "smallest": mean.min()}
    return found


def unpacked(found: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """A table with the metric's name cut into columns."""
    cut = pl.col("metric").str.split_exact(",", len(names) - 1).struct.rename_fields(list(names))
    return found.with_columns(cut.alias("parts")).unnest("parts").with_columns(
        pl.col("level", "expert").cast(pl.Int64)
    )  # fmt: skip


def experts(found: pl.DataFrame) -> pl.DataFrame:
    """One row a candidate, seed and expert, one column a measure."""
    rows = unpacked(found, [*PLACE, "what"])
    index = ["candidate", "seed", *PLACE]
    return rows.pivot("what", index=index, values="value", maintain_order=True)


def gates(found: pl.DataFrame) -> pl.DataFrame:
    """One row a candidate, gate, scenario and expert."""
    return unpacked(found, GATE).select("candidate", *GATE, weight="value")
