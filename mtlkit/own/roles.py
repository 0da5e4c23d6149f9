"""What each column is read as: told by the caller, else by its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mtlkit.data.vocabulary import family
from mtlkit.schema import SchemaError

IDS = ("text", "truth values")
AMOUNTS = ("whole numbers", "floats", "decimals")


@dataclass(frozen=True)
class Roles:
    """Names of the input columns by what a model reads of them, in the frame's order.

    ``sequences`` {column: the categorical column whose ids it shares, or None}. ``told`` holds the
    names that the caller gave a role; the others have the one of their type.
    """

    categorical: tuple[str, ...]
    dense: tuple[str, ...]
    log1p: tuple[str, ...]
    sequences: dict[str, str | None]
    told: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """All input columns."""
        return (*self.categorical, *self.dense, *self.sequences)


def find_roles(
    frame: pl.DataFrame,
    *,
    tasks: Sequence[str],
    aside: Sequence[str],
    categorical: Sequence[str],
    dense: Sequence[str],
    log1p: Sequence[str],
    sequences: Mapping[str, str | None],
    timed: bool = True,
) -> Roles:
    """The role of every column but ``tasks`` and those ``aside`` that no other argument names.

    Only types are looked at, never values: text and truth values are ids, numbers are amounts,
    lists of ids are sequences with ids of their own. Raises ``SchemaError`` for a name that is no
    column, a column with two roles, and all columns of a type that says nothing (dates, records).
    ``timed`` says that rows are cut by time already, so that no date is proposed for it.
    """
    given = {"categorical": categorical, "dense": dense, "log1p": log1p, "sequences": sequences}
    for argument, names in given.items():
        require_columns(frame, names, argument)
    dense = [*dense, *(name for name in log1p if name not in dense)]
    told: dict[str, str] = {}
    for role, names in (("categorical", categorical), ("dense", dense), ("sequences", sequences)):
        for name in names:
            if name in tasks:
                raise SchemaError(
                    f"{role} names {name!r}, which is a task: a label among the inputs leaks the "
                    "answer. Leave it out of one of the two."
                )
            if name in told:
                raise SchemaError(f"Column {name!r} is named twice: {told[name]} and {role}.")
            told[name] = role
    kinds: dict[str, list[str]] = {"categorical": [], "dense": [], "sequences": [], "none": []}
    for name in frame.columns:
        if name in told:
            kinds[told[name]].append(name)
        elif name not in tasks and name not in aside:
            kinds[_by_type(frame.schema[name])].append(name)
    if kinds["none"]:
        _refuse_roleless(frame, kinds["none"], timed)
    if not any(kinds.values()):
        raise SchemaError("No column is left to read: every one is a task, a key or dropped.")
    shared = {name: sequences.get(name) for name in kinds["sequences"]}
    return Roles(
        tuple(kinds["categorical"]), tuple(kinds["dense"]), tuple(log1p), shared, frozenset(told)
    )


def require_columns(frame: pl.DataFrame, names: Iterable[Any], argument: str) -> None:
    """Raise ``SchemaError`` for the first name that is no column of the frame."""
    for name in names:
        if name not in frame.columns:
            raise SchemaError(
                f"{argument} names {name!r}, which is no column; the frame has "
                f"{', '.join(frame.columns)}."
            )


def _by_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, (pl.List, pl.Array)):
        inside = pl.Series(dtype=dtype.inner).dtype
        if family(inside) in (*IDS, "whole numbers"):
            return "sequences"
    kind = family(dtype)
    if kind in IDS or kind == "nothing":
        return "categorical"
    return "dense" if kind in AMOUNTS else "none"


def _refuse_roleless(frame: pl.DataFrame, names: Sequence[str], timed: bool) -> None:
    """Raise ``SchemaError`` that names all columns whose type says nothing, and the ways out."""
    kinds = {name: family(frame.schema[name]) for name in names}
    holds = ", ".join(f"column {name!r} holds {kind}" for name, kind in kinds.items())
    first = names[0]
    ways = ["make what a model can read of it (a weekday, an age in days)"]
    times = [name for name, kind in kinds.items() if kind.startswith(("dates", "moments"))]
    if times and not timed:
        ways.append(f'cut the rows by it (time="{times[0]}")')
    if frame.schema[first] == pl.Object:  # values of several types, which no role reads
        ways[0] = f'make text of it ("{first}": [str(value) for value in column])'
    else:
        ways.append(f'name its role (categorical=["{first}"])')
    listed = ", ".join(f'"{name}"' for name in names)
    raise SchemaError(
        f"{holds[0].upper()}{holds[1:]}, which are neither ids nor amounts: {', '.join(ways)}, or "
        f"leave it out: drop=[{listed}]."
    )
