"""Products with ids, numbers, a history, words and a picture, random, for tests of encoders."""

from __future__ import annotations

from dataclasses import replace

from mtlkit.data.table import Table
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Sequence, Task
from tests import tiny


def schema(scenarios: int = 1, **changes) -> Schema:
    whole = Schema(
        (
            Task("category", "multiclass", classes=3),
            Task("style", "multiclass", classes=2),
            Task("cheap"),
        ),
        (Categorical("seller", 5), Categorical("brand", 4)),
        (Dense("log_weight"), Dense("pixel", 784), Dense("size", 2)),
        (Sequence("others", shares="brand"), Sequence("title", size=7)),
        tuple(Scenario(f"place {i}") for i in range(scenarios)) if scenarios > 1 else (),
    )
    return replace(whole, **changes)


def table(schema: Schema, rows: int = 13, seed: int = 0) -> Table:
    """Every fourth product has no picture."""
    made = tiny.table(schema, rows, seed)
    made.dense[::4, schema.dense_slices["pixel"]] = 0.0
    return made


def batch(schema: Schema, rows: int = 13, seed: int = 0, *, double: bool = False):
    whole = tiny.all_rows(table(schema, rows, seed))
    return replace(whole, dense=whole.dense.double()) if double else whole
