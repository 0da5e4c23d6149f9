"""What a contest and a study have in common: names they rest on, their key, tables one can store.

What stands in such a file is described for authors in `notebooks/README.md`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from mtlkit.course.learner.stored_tables import plain_types, rounded, short_hash
from mtlkit.course.runner import keys
from mtlkit.course.runner.execute import CHECKOUT

NAME = r"[a-z][a-z0-9_]*"  # of a table and of a study: both become files


class MakerError(ValueError):
    """A contest.py or a study breaks a rule; the message names the file and what to do."""


def uses_of(module: ModuleType, where: str) -> tuple[str, ...]:
    """USES of a file; raises ``MakerError`` for none, or for what is no tuple of names."""
    uses = getattr(module, "USES", None)
    if not isinstance(uses, tuple) or not uses or not all(isinstance(n, str) for n in uses):
        raise MakerError(
            f"{where}: USES must be a tuple of the names in tests/golden/values.json that its "
            f'numbers rest on, such as ("small", "SharedBottom"); found {uses!r}.'
        )
    return uses


def key(
    code: Mapping[str, str], sizes: Mapping[str, str], uses: Iterable[str], where: str
) -> dict[str, Any]:
    """What stored numbers rest on now: code, full sizes, torch, frozen numbers by USES."""
    try:
        golden = keys.golden_of(uses, keys.golden(), f"{where}, USES")
    except ValueError as error:
        raise MakerError(str(error)) from error
    return {
        "code": dict(sorted(code.items())),
        "sizes": dict(sizes),
        "torch": keys.torch_release(),
        "golden": golden,
    }


def moved(now: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """What differs between the key of stored tables and the key of now, in words."""
    return keys.moved(old, {**now, "golden": keys.golden()})


def runs_folder(key: Mapping[str, Any], store: Path | None, *parts: str) -> Path:
    """Where finished runs are kept: in `store`, or else in the checkout under these parts.

    A run's own key holds no frozen number: where one moved, older runs must not be read.
    """
    frozen = short_hash(json.dumps(key["golden"], sort_keys=True))
    usual = CHECKOUT.joinpath(".mtlkit", "evidence", *parts)
    return (store or usual) / f"frozen-{frozen}"


def show(tables: Mapping[str, pl.DataFrame]) -> None:
    """Print the tables of a run with small sizes."""
    with pl.Config(tbl_rows=40, tbl_cols=20, fmt_str_lengths=40):
        for name, table in tables.items():
            print(f"{name}\n{table}")
    print("Smoke sizes: nothing is stored.")


def plain_tables(tables: Mapping[str, Any], where: str) -> dict[str, pl.DataFrame]:
    """The tables with the types that are stored. Raises ``MakerError`` for what is no table."""
    found = {}
    for name, frame in tables.items():
        if not re.fullmatch(NAME, str(name)):
            raise MakerError(
                f"{where}: table {name!r} becomes a file; name it in small letters, figures and "
                "underscores."
            )
        if not isinstance(frame, pl.DataFrame):
            raise MakerError(
                f"{where}: table {name!r} must be a polars DataFrame, not a {type(frame).__name__}."
            )
        try:
            found[name] = plain_types(frame, name)
        except ValueError as error:
            raise MakerError(f"{where}: {error}") from error
    return found


def rounded_floats(frame: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """The table with the floats of these columns rounded as they are stored."""
    floats = [name for name in columns if frame[name].dtype == pl.Float64]
    return frame.with_columns(rounded(frame[name]) for name in floats)
