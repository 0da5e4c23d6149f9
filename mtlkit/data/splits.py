"""Splits into training, validation and test rows, and the proof that they share none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtlkit.data.keys import moment
from mtlkit.data.table import Table, require_key
from mtlkit.schema import SchemaError

PARTS = ("training", "validation", "test")


class Split(NamedTuple):
    """Three tables over one schema: choose on validation, read test once, at the end."""

    train: Table
    validation: Table
    test: Table

    def select_tasks(self, names: str | Sequence[str]) -> Split:
        """Return the split with only these tasks."""
        return Split(*(table.select_tasks(names) for table in self))

    def with_group(self, key: str | None) -> Split:
        """Return the split whose rows with one value of ``key`` are one page."""
        return Split(*(table.with_group(key) for table in self))

    def one_task(self, name: str) -> Split:
        """Return the split with one task alone, and only the rows where its label is observed."""
        return Split(*(table.take(table.mask(name)) for table in self.select_tasks([name])))

    def to(self, device: torch.device | str) -> Split:
        """Return the split with all three tables on ``device``."""
        return Split(*(table.to(device) for table in self))


def require_split(value: Any) -> None:
    """Raise ``SchemaError`` for what has no three tables to iterate over, with where they are."""
    if all(hasattr(value, name) for name in ("train", "validation", "test", "__iter__")):
        return
    found = getattr(value, "split", None)
    way = "Give its split: .split." if isinstance(found, tuple) else (
        "Split(train, validation, test) makes one of three tables."
    )  # fmt: skip
    raise SchemaError(f"A comparison reads a Split, not a {type(value).__name__}. {way}")


def _key(table: Table, name: str) -> Tensor:
    return table.keys[require_key(table, name)]


def check_disjoint(*tables: Table, key: str | None = None) -> None:
    """Raise ``SchemaError`` if two tables share a row id, or a value of ``key`` (say, a user)."""
    columns = [t.row_id if key is None else _key(t, key) for t in tables]
    for i, first in enumerate(columns):
        for j in range(i + 1, len(columns)):
            if _meet(first, columns[j]):
                shared = torch.isin(columns[j], first)
                row = int(shared.nonzero()[0, 0])
                what = "row_id" if key is None else f"key {key!r}"
                raise SchemaError(
                    f"Tables {i} and {j} share {int(shared.sum()):,} row(s) by {what}: the first "
                    f"is row {row} of table {j}, value {int(columns[j][row])}. A score on shared "
                    "rows measures memory, not learning."
                )


def _meet(first: Tensor, second: Tensor) -> bool:
    """Whether a value stands in both; millions of rows are searched in pieces, to save memory."""
    few, many = sorted((first, second), key=len)
    known = few.sort().values
    for piece in many.split(2**18) if len(few) else ():
        place = torch.searchsorted(known, piece).clamp_(max=len(known) - 1)
        if bool((known[place] == piece).any()):
            return True
    return False


def split_random(
    table: Table,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    group: str | None = None,
) -> Split:
    """Split at random; with ``group`` (a key), all rows of one group stay on one side.

    Regression tasks are fitted (location and scale) on the training part.
    """
    groups = None if group is None else _key(table, group).cpu().numpy()
    part = torch.from_numpy(random_parts(len(table), fractions, seed, groups))
    return _finish(table, part.to(table.device), key=group)


def random_parts(
    rows: int, fractions: Sequence[float], seed: int = 0, groups: np.ndarray | None = None
) -> np.ndarray:
    """The part of every row drawn at random, int64 (row,): 0 training, 1 validation, 2 test.

    Rows with equal ``groups`` (row,) are in one part; the fractions are then those of the groups.
    Raises ``ValueError`` for fractions that are not three numbers with the sum 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three numbers >= 0 that sum to 1, not {fractions}.")
    generator = np.random.default_rng(seed)
    if groups is None:
        position = generator.permutation(rows)
        total = rows
    else:
        _, inverse = np.unique(groups, return_inverse=True)
        total = int(inverse.max()) + 1 if len(inverse) else 0
        position = generator.permutation(total)[inverse.reshape(-1)]
    cuts = np.rint(np.cumsum(fractions) * total)
    return np.digitize(position, cuts[:2])


def split_time(
    table: Table, key: str, boundaries: tuple[int, int] | tuple[date, date] | tuple[str, str]
) -> Split:
    """Split by a time key: training before ``boundaries[0]``, test from ``boundaries[1]`` on.

    Boundaries are numbers where the key holds numbers (days, weeks), dates, moments or ISO texts
    ("2026-11-29") where it was a column of dates or moments.
    Regression tasks are fitted (location and scale) on the training part.
    """
    part = time_parts(_key(table, key).cpu().numpy(), boundaries)
    return _finish(table, torch.from_numpy(part).to(table.device))


def time_parts(time: np.ndarray, boundaries: Sequence[Any]) -> np.ndarray:
    """The part of every row by its time, int64 (row,): 0 before the first boundary, 2 from the
    second on. Raises ``ValueError`` for boundaries that do not grow."""
    first, second = map(moment, boundaries)
    if not first < second:
        raise ValueError(f"boundaries must grow: {boundaries[0]} is not before {boundaries[1]}.")
    return (time >= first).astype(np.int64) + (time >= second)


def require_rows(part: Any) -> None:
    """Raise ``SchemaError`` where training, validation or test has no row."""
    for number, name in enumerate(PARTS):
        if not bool((part == number).any()):
            raise SchemaError(f"The {name} part of the split has no rows.")


def _finish(table: Table, part: Tensor, key: str | None = None) -> Split:
    require_rows(part)
    tables = [table.take(part == number) for number in range(3)]
    check_disjoint(*tables, key=key)
    return fit_units(Split(*tables))


def fit_units(split: Split) -> Split:
    """Return the split with each regression task's location and scale fitted on training rows."""
    train = split.train
    tasks = []
    for task in train.schema.tasks:
        if task.kind == "regression":
            seen = train.mask(task.name)
            labels = train.label(task.name)[seen].cpu().numpy()
            weight = None if train.weight is None else train.weight[seen].cpu().numpy()
            task = task.fitted(labels, weight) if len(labels) >= 2 else task
        tasks.append(task)
    return Split(*(table.with_tasks(tasks) for table in split))
