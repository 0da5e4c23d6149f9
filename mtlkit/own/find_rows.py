"""Findings about rows and columns: what both sides of the cut share, and what later rows lack."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import torch

from mtlkit.data.vocabulary import TEXT
from mtlkit.own.finding import Facts, Finding, Found, percent

MANY_UNKNOWN = 0.05  # share of test rows, which are ...
FEWEST = 5  # ... so many or more
NEARLY_ALL = 0.9
BY_NATURE = 3.0  # times as many equal rows as independent columns would have
ENDS = "id|ids|uid|code|sku|zip|key|nr|no"  # of a name
WHOLE = (  # names; in the plural they are counts
    "user|customer|visitor|client|item|product|article|brand|category|seller|merchant|supplier|"
    "shop|store|session|order|campaign|country|region|city|warehouse|device|browser"
)
LOOKS_LIKE_ID = re.compile(rf"(?i:(^|[_\s.-])({ENDS})$|^({WHOLE})$)|[a-z](Id|ID)$")


def duplicates(facts: Facts) -> Found:
    """Test rows that equal a training row in every input and every label."""
    schema = facts.encoder.schema
    names = [*facts.roles.names, *schema.task_names]
    if facts.encoder.scenario is not None:
        names.append(facts.encoder.scenario)
    columns = [_hashable(facts.frame[name]) for name in dict.fromkeys(names)]
    hashes = pl.DataFrame(columns).hash_rows(seed=0).to_numpy()
    train, test = (hashes[facts.cut.part == part] for part in (0, 2))
    twins = int(np.isin(test, train).sum())
    chance = float(np.prod([_collisions(column) for column in columns]))
    if twins > BY_NATURE * chance * len(train) * len(test):
        share = twins / len(test)
        yield Finding(
            "duplicates across the cut", "fault" if share >= 0.01 else "look", None, None, share,
            f"{twins:,} test rows ({percent(share)}) equal a training row in every input and "
            "label: scores on them measure memory. Drop copies, or number equal rows and keep "
            "them together: group=...",
        )  # fmt: skip


def _hashable(series: pl.Series) -> pl.Series:
    if isinstance(series.dtype, (pl.List, pl.Array)):
        texts = series.cast(pl.List(pl.String))
        return texts.list.join("\x1f", ignore_nulls=False)
    return series


def _collisions(series: pl.Series) -> float:
    """The chance that two rows drawn at random have the same value."""
    if series.null_count() == len(series):
        return 1.0
    counts = series.value_counts()[:, -1].cast(pl.Float64)
    return float(((counts / len(series)) ** 2).sum())


def groups(facts: Facts) -> Found:
    """Values of keys on both sides of the cut."""
    train, _, test = facts.split
    for name in train.keys:
        if name == facts.cut.key:
            continue
        share = float(torch.isin(test.keys[name], train.keys[name]).double().mean())
        if not share:
            continue
        by_time = facts.cut.by == "time"
        advice = (
            "After a cut by time visitors come back so; orders and sessions should not."
            if by_time
            else f'Rows of one {name} are alike: keep them together, group="{name}".'
        )
        yield Finding(
            "groups across the cut", "note" if by_time else "fault", name, None, share,
            f"{percent(share)} of the test rows have a {name} that training rows have, too. "
            f"{advice}",
        )  # fmt: skip


def unknown_ids(facts: Facts) -> Found:
    """Columns of ids whose values in test rows training did not know."""
    train, _, test = facts.split
    shares = {}
    for place, field in enumerate(train.schema.categorical):
        given = [facts.frame[field.name].is_not_null().to_numpy()[t.row_id] for t in (train, test)]
        zero = [(t.categorical[:, place] == 0).numpy() for t in (train, test)]
        shares[field.name] = float((zero[1] & given[1]).mean() - (zero[0] & given[0]).mean())
    for name, (values, _) in test.sequences.items():
        if len(values):
            before = train.sequences[name][0]
            rare = float((before == 0).double().mean()) if len(before) else 0.0
            shares[name] = float((values == 0).double().mean()) - rare
    for name, share in shares.items():
        if share >= MANY_UNKNOWN and share * len(test) >= FEWEST:
            whole = share >= NEARLY_ALL
            yield Finding(
                "unknown ids", "fault" if whole else "look", name, None, share,
                f"{percent(share)} of the test rows' values of {name!r} never occur in training"
                + (f': it tells nothing about new rows, drop=["{name}"].' if whole else
                   ": they all have id 0. Report scores with and without these rows."),
            )  # fmt: skip
    scenario = facts.encoder.scenario
    if scenario is None:
        return
    new = (test.scenario == test.schema.unknown_scenario).numpy()
    new &= _given(facts.frame[scenario])[test.row_id.numpy()]  # gaps are no new scenario
    if new.mean() > 0.001:
        yield Finding(
            "unknown ids", "look", scenario, None, float(new.mean()),
            f"{percent(new.mean())} of the test rows have a value of {scenario!r} that no training "
            "row has: their scenario is unknown, and they meet shared weights only.",
        )  # fmt: skip


def _given(series: pl.Series) -> np.ndarray:
    """Where a column of scenarios has a value, bool (row,): not null, NaN or blank."""
    given = series.is_not_null()
    if series.dtype.is_float():
        given &= series.is_not_nan().fill_null(False)
    elif series.dtype in TEXT:
        given &= (series.cast(pl.String).str.strip_chars() != "").fill_null(False)
    return given.to_numpy()


def constants(facts: Facts) -> Found:
    """Input columns with one value in all training rows."""
    rows = facts.frame.filter(pl.Series(facts.cut.part == 0))
    for name in facts.roles.names:
        if _hashable(rows[name]).n_unique() == 1:
            value = rows[name].head(1).to_list()[0]
            yield Finding(
                "constant column", "look", name, None, 1.0,
                f"Column {name!r} is {value!r} in every training row: no model learns "
                f'from it. drop=["{name}"], or look where its values went.',
            )  # fmt: skip


def ids_as_amounts(facts: Facts) -> Found:
    """Whole numbers that are called like ids and were read as amounts, since nobody said so."""
    for name in facts.roles.dense:
        series = facts.frame[name]
        if name in facts.roles.told or not series.dtype.is_integer():
            continue
        if LOOKS_LIKE_ID.search(name):
            yield Finding(
                "ids read as amounts", "look", name, None, series.n_unique(),
                f"Column {name!r} holds whole numbers, {series.n_unique():,} different ones, and "
                f'is read as an amount. If they are ids: categorical=["{name}"]; if they are '
                f'amounts: dense=["{name}"].',
            )  # fmt: skip
