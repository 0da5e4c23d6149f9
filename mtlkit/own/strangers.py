"""New rows whose ids training never saw: a column that is written otherwise than it was."""

from __future__ import annotations

import warnings

import polars as pl

from mtlkit.data.encode import Encoder
from mtlkit.data.table import Table

FEWEST = 20  # values of a column, below which all may be new by chance


def warn_of_strangers(table: Table, frame: pl.DataFrame, encoder: Encoder) -> None:
    """Warn of each column of ids, and of scenarios, in which no value of ``table`` is known.

    Such rows are scored as unknown without an error, as a few of them should be; all of them are
    more often an "A12" that was "a-12" in training.
    """
    known = {name: encoder.values(name) for name in encoder.categorical}
    unknown = {
        field.name: (table.categorical[:, place] == 0).numpy()
        for place, field in enumerate(table.schema.categorical)
    }
    if encoder.scenario is not None:
        name = encoder.scenario
        known[name] = [*table.schema.scenario_names]
        unknown[name] = (table.scenario == table.schema.unknown_scenario).numpy()
    for name, values in known.items():
        given = frame[name].drop_nulls()
        if len(given) >= FEWEST and values and unknown[name].all():
            warnings.warn(
                f"None of the {len(given):,} values of column {name!r} was in training: here "
                f"{given[0]!r}, there {values[0]!r}. They are scored as unknown; if they are only "
                "written otherwise, write them as in training.",
                stacklevel=4,
            )
