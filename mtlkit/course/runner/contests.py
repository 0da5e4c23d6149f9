"""A lesson's contest: loading it, running it for one shop, putting shops together, its key.

What a `contest.py` must hold is described for authors in `notebooks/README.md`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from mtlkit.course.learner import lesson
from mtlkit.course.learner.evidence import NAMED, RUNS, SEED
from mtlkit.course.learner.modes import sizes
from mtlkit.course.runner import keys, table_makers
from mtlkit.course.runner.table_makers import MakerError, rounded_floats

LONG = ("candidate", "task", "metric", "seed", "value")
NOT_ITS_CODE = ("checks.py", "sizes.py")  # sizes count by their values


@dataclass(frozen=True)
class Contest:
    """A lesson's contest: what it rests on by name, and the function that runs it for one shop."""

    number: str
    uses: tuple[str, ...]
    run: Callable[[int, SimpleNamespace, Path | None], Mapping[str, pl.DataFrame]]

    @property
    def where(self) -> str:
        """Its file as messages name it."""
        return f"mtlkit/lessons/nb{self.number}/contest.py"


def load(number: str) -> Contest:
    """The contest of a lesson. Raises ``MakerError`` for none, or one that lacks a part."""
    where = f"mtlkit/lessons/nb{number}/contest.py"
    known = lesson.numbers("contest.py")
    module = lesson.module(number, "contest") if number in known else None
    if module is None:
        raise MakerError(
            f"notebook {number!r} has no contest: write {where} "
            f"(there are contests of: {', '.join(known) or 'no notebook'})."
        )
    uses, run = table_makers.uses_of(module, where), getattr(module, "contest", None)
    if not callable(run):
        raise MakerError(f"{where}: define contest(shop, size, store).")
    return Contest(number, uses, run)


def key_of(contest: Contest) -> dict[str, Any]:
    """What the contest's numbers rest on now: code, full sizes, torch, frozen numbers by USES."""
    folder = lesson.path(contest.number, "contest.py").parent
    code = {p.name: keys.file_hash(p) for p in folder.glob("*.py") if p.name not in NOT_ITS_CODE}
    full = keys.full_sizes(contest.number, of_contest=True)
    return table_makers.key(code, full, contest.uses, contest.where)


def moved(contest: Contest, old: Mapping[str, Any]) -> list[str]:
    """What differs between the key of stored tables and the key of now, in words."""
    return table_makers.moved(key_of(contest), old)


def size_of(contest: Contest, mode: str) -> SimpleNamespace:
    """The contest's sizes, or else the lesson's. Raises ``MakerError`` where there are none."""
    try:
        return sizes(contest.number, mode, of_contest=True)
    except KeyError as error:
        raise MakerError(f"{contest.where}: {error.args[0]}") from error


def run_shop(
    contest: Contest, shop: int, size: SimpleNamespace, store: Path | None
) -> dict[str, pl.DataFrame]:
    """The contest's tables for one shop, checked, the column "shop" first, "runs" made wide."""
    tables = contest.run(shop, size, store)
    if not isinstance(tables, Mapping) or RUNS not in tables:
        raise MakerError(f'{contest.where}: contest must return a dictionary with "runs".')
    found = {}
    for name, frame in table_makers.plain_tables(tables, contest.where).items():
        if "shop" in frame.columns:
            raise MakerError(f"{contest.where}: table {name!r}: leave out the column shop.")
        plain = (
            _wide(frame, contest.where) if name == RUNS else rounded_floats(frame, frame.columns)
        )
        found[name] = plain.select(pl.lit(shop, dtype=pl.Int64).alias("shop"), pl.all())
    return found


def _wide(runs: pl.DataFrame, where: str) -> pl.DataFrame:
    """One row a group, candidate, task and metric; one column a seed, rounded to five digits."""
    missing = [name for name in LONG if name not in runs.columns]
    if missing or runs.is_empty():
        what = f"lacks the column {', '.join(missing)}" if missing else "has no rows"
        raise MakerError(f'{where}: "runs" {what}; its columns are {", ".join(LONG)}.')
    if runs["seed"].dtype != pl.Int64 or not runs["value"].dtype.is_numeric():
        raise MakerError(f'{where}: in "runs", seed must be whole numbers and value numbers.')
    groups = [name for name in runs.columns if name not in LONG]
    index = [*groups, *LONG[:3]]
    for name in index:
        if name.startswith(SEED) or runs[name].null_count():
            raise MakerError(f'{where}: "runs": the column {name!r} has a gap or a seed\'s name.')
    twice = runs.filter(runs.select(*index, "seed").is_duplicated())
    if not twice.is_empty():
        row = twice.select(*index, "seed").row(0, named=True)
        raise MakerError(f'{where}: "runs" has {twice.height} rows of the same run, first {row}.')
    named = runs.with_columns(pl.format(SEED + "{}", "seed"), pl.col("value").cast(pl.Float64))
    wide = named.pivot(on="seed", index=index, values="value", maintain_order=True)
    seeds = _in_order(wide.columns)
    return rounded_floats(wide.select(*index, *seeds), seeds)


def _in_order(columns: list[str]) -> list[str]:
    return sorted((c for c in columns if c.startswith(SEED)), key=lambda c: int(c[len(SEED) :]))


def join(
    old: Mapping[str, pl.DataFrame], new: Mapping[str, pl.DataFrame], where: str
) -> dict[str, pl.DataFrame]:
    """Tables of some shops with those of others; a shop in both is the new one.

    Raises ``MakerError`` where "runs" has a row for one shop that another lacks.
    """
    replaced = new[RUNS]["shop"].unique().to_list()
    joined = {}
    for name in {**new, **old}:
        parts = [old[name].filter(~pl.col("shop").is_in(replaced))] if name in old else []
        parts += [new[name]] if name in new else []
        whole = pl.concat(parts, how="diagonal_relaxed").sort("shop", maintain_order=True)
        if name == RUNS:
            others = [c for c in whole.columns if not c.startswith(SEED)]
            whole = whole.select(*others, *_in_order(whole.columns))
            _refuse_gaps(whole, where)
        joined[name] = whole
    return joined


def _refuse_gaps(runs: pl.DataFrame, where: str) -> None:
    """Every shop must have the same rows, or "on 5 of 5 shops" would be said of fewer."""
    groups = [c for c in runs.columns if c not in NAMED and not c.startswith(SEED)]
    rows: dict[int, set[tuple]] = {}
    for shop, *row in runs.select("shop", *groups, *LONG[:3]).iter_rows():
        rows.setdefault(shop, set()).add(tuple(row))
    for shop, mine in rows.items():
        for other, theirs in rows.items():
            if theirs - mine:
                first = ", ".join(map(str, sorted(theirs - mine, key=str)[0]))
                raise MakerError(
                    f'{where}: "runs" has the row {first} for shop {other}, not for shop {shop}. '
                    "Name candidates alike on every shop, and put what was chosen for one into a "
                    "table of its own."
                )
