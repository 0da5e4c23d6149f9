"""From a frame of one's own to tables that can be trained on: cut first, then learn encodings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from mtlkit.data.columns import column_names
from mtlkit.data.encode import Encoder
from mtlkit.data.frames import as_frame
from mtlkit.data.splits import Split
from mtlkit.data.table import Table
from mtlkit.own.audited import Audit, audit
from mtlkit.own.checked import Flags, censored_flags, check_rows, require_scales
from mtlkit.own.cut import Cut, find_cut
from mtlkit.own.labels import Unmet, as_tasks, null_unmet
from mtlkit.own.roles import Roles, find_roles, require_columns
from mtlkit.own.summary import html, text
from mtlkit.schema import Schema, SchemaError, Task


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """What ``prepare`` makes of a frame; a notebook shows it as a summary.

    ``split`` holds the three tables; their ``row_id`` is the row's place in the frame. ``encoder``
    was fitted on the training rows. ``frame`` is the frame with labels null below an unmet parent,
    ``unmet`` {task: how many these were}, ``cut`` the part of every row, ``roles`` what each input
    column is read as.
    """

    split: Split
    encoder: Encoder
    frame: pl.DataFrame
    cut: Cut
    unmet: dict[str, Unmet]
    roles: Roles

    @property
    def train(self) -> Table:
        return self.split.train

    @property
    def validation(self) -> Table:
        return self.split.validation

    @property
    def test(self) -> Table:
        return self.split.test

    @property
    def schema(self) -> Schema:
        return self.encoder.schema

    @property
    def weight(self) -> str | None:
        """The column that says how much each row counts, None where all count alike."""
        return self.encoder.weight

    def audit(self, model: Any | None = None) -> Audit:
        """What nobody told of these rows: see ``mtlkit.audit``."""
        return audit(self, model)

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)


def prepare(
    frame: Any,
    tasks: Task | str | Iterable[Task | str],
    *,
    scenario: str | None = None,
    time: str | None = None,
    group: str | None = None,
    keys: str | Sequence[str] = (),
    categorical: str | Sequence[str] = (),
    dense: str | Sequence[str] = (),
    log1p: str | Sequence[str] = (),
    sequences: str | Sequence[str] | Mapping[str, str | None] | None = None,
    drop: str | Sequence[str] = (),
    weight: str | None = None,
    censored: Mapping[str, str] | None = None,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    boundaries: Sequence[Any] | None = None,
    seed: int = 0,
    min_count: int = 1,
    max_length: int = 50,
    beside: Mapping[str, str] | None = None,
) -> Prepared:
    """Cut a frame into training, validation and test rows, and encode it by the training rows.

    Parameters
    ----------
    frame
        Whatever ``as_frame`` reads: polars, pandas, Arrow, a dictionary, a Parquet or CSV path. One
        table that fits in memory: tables that share a key are joined before (polars'
        ``one.join(other, on=key, how="left", validate="m:1")``), and for more rows than that an
        ``Encoder`` is fitted on a LazyFrame and a ``ShardWriter`` writes what it makes of each file
        (the README has the lines).
    tasks
        ``Task``s, or names of binary ones. A label where the task's ``given`` is not 1 becomes
        null, and is counted in ``unmet``.
    scenario
        Column of scenarios, of any type. A value that training lacks is the unknown scenario.
    time, group
        How rows are cut, one of the two: training before validation before test (a column of
        whole numbers, dates or moments), or all rows of one value in one part. Without both, rows
        are drawn at random.
    keys
        Columns kept for groups and checks (``Table.keys``); ``time`` and ``group`` are two more.
        No key is an input, unless it is named as one below.
    categorical, dense, log1p, sequences
        Columns by role, see ``Encoder``; ``log1p`` columns are dense ones. A column that is not
        named has the role of its type: text and truth values are ids, numbers are amounts, lists
        of ids are sequences. **Name ids that are whole numbers**: ``categorical=["user"]``. Where
        lists are read by the ids of a column, ``sequences={"viewed": "item"}``.
    drop
        Columns that are not read: outcomes that are known only after the tasks'.
    weight
        Column that says how much each row counts in losses and metrics, as if it stood there so
        many times (``Encoder``, ``Table.weight``). It is no input, unless it is named as one.
    censored
        {task: column of 0 and 1}, for each ``censored_count`` task: where its label is only a lower
        bound (sold out). No input, unless it is named as one.
    fractions, boundaries, seed
        Shares of rows (of groups) in the three parts; with ``time``, instead of shares, the first
        moment of validation and the first of test; the seed of a random cut.
    min_count, max_length
        Rarer values are unknown; longest sequence (its newest entries stay). See ``Encoder``.
    beside
        {sequence: the one whose events it describes}, as {"gap": "viewed"}: both are equally long
        in every row, and a model reads one sequence of events. See ``Encoder``.

    Nothing is learned from validation and test rows: their unseen values are id 0. Raises
    ``SchemaError`` that names the column for whatever does not fit, ``ValueError`` for arguments
    that contradict each other.
    """
    frame, tasks = as_frame(frame), as_tasks(tasks)
    names, drop = [task.name for task in tasks], column_names(drop, "drop")
    kept = [*column_names(keys, "keys"), *(n for n in (group, time) if n is not None)]
    kept = list(dict.fromkeys(kept))
    places = [] if scenario is None else [scenario]
    counted = [] if weight is None else [weight]
    flagged = list((censored or {}).values())
    aside = [*places, *kept, *counted, *flagged]
    for argument, found in (
        ("tasks", names), ("scenario", places), ("keys, group or time", kept), ("drop", drop),
        ("weight", counted), ("censored", flagged),
    ):  # fmt: skip
        require_columns(frame, found, argument)
    _refuse_both(names, aside, drop)
    roles = find_roles(
        frame, tasks=names, aside=[*aside, *drop], timed=time is not None,
        categorical=column_names(categorical, "categorical"), dense=column_names(dense, "dense"),
        log1p=column_names(log1p, "log1p"), sequences=_sequences(sequences),
    )  # fmt: skip
    _refuse_both([*roles.told], [], drop)
    cut = find_cut(
        frame, time=time, group=group, fractions=fractions, boundaries=boundaries, seed=seed
    )
    frame, unmet = null_unmet(frame, tasks)
    flags = censored_flags(frame, tasks, censored or {})
    check_rows(frame, tasks, roles, keys=kept, weight=weight, flags=flags)
    require_scales(frame, tasks, cut.part == 0)
    encoder = Encoder(
        tasks, categorical=roles.categorical, dense=roles.dense, log1p=roles.log1p,
        sequences=roles.sequences, scenario=scenario, keys=kept, min_count=min_count,
        max_length=max_length, weight=weight, beside=beside or {},
    )  # fmt: skip
    encoder.fit(frame.filter(pl.Series(cut.part == 0)))
    return Prepared(_tables(frame, cut, encoder, flags), encoder, frame, cut, unmet, roles)


def _sequences(named: str | Sequence[str] | Mapping[str, str | None] | None) -> dict:
    if named is None or isinstance(named, Mapping):
        return dict(named or {})
    return dict.fromkeys(column_names(named, "sequences"))


def _tables(frame: pl.DataFrame, cut: Cut, encoder: Encoder, flags: Flags) -> Split:
    tables = []
    for number in range(3):
        rows = np.flatnonzero(cut.part == number)
        censored = {name: flag[rows] for name, flag in flags.items()}
        ids = torch.from_numpy(rows)
        tables.append(encoder.transform(frame[rows], row_id=ids, censored=censored))
    return Split(*tables)


def _refuse_both(names: Sequence[str], aside: Sequence[str], drop: Sequence[str]) -> None:
    for name in (*names, *aside):
        if name in drop:
            raise SchemaError(f"Column {name!r} is dropped, and named elsewhere: do one of both.")
    for name in names:
        if name in aside:
            raise SchemaError(
                f"Column {name!r} is a task, and also scenario, key, group, time, weight or flag: "
                "a model would read the answer. Give the other a column of its own."
            )
