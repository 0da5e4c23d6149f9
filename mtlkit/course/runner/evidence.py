"""The command `mtlkit evidence`: a lesson's contest or study, its tables stored with it."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mtlkit.course.learner import lesson
from mtlkit.course.learner.evidence import RUNS, SEED, numbers
from mtlkit.course.learner.stored_tables import read_key, read_tables, write_tables
from mtlkit.course.runner import contests, keys, studies, table_makers
from mtlkit.course.runner.table_makers import MakerError


def parser() -> argparse.ArgumentParser:
    """The arguments of ``mtlkit evidence``."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit evidence",
        description="Run a lesson's contest (mtlkit/lessons/nbNN/contest.py) on several shops, or "
        "one of its studies (mtlkit/lessons/nbNN/studies/NAME.py), and store its tables beside it. "
        "An interrupted run goes on where it was.",
    )
    arguments.add_argument("number", nargs="?", metavar="NN", help="the notebook, such as 05")
    arguments.add_argument(
        "--shops", type=int, nargs="+", metavar="SEED",
        help="the shops' seeds (default: 0 1 2 3 4); shops stored before stay if all is as it was",
    )  # fmt: skip
    arguments.add_argument(
        "--study", metavar="NAME", help="this study of the lesson instead of its contest"
    )
    arguments.add_argument(
        "--smoke", action="store_true", help="small sizes; print the tables and store none"
    )
    arguments.add_argument(
        "--store", type=Path, metavar="FOLDER",
        help="folder that keeps every run (default: below .mtlkit/evidence of the checkout)",
    )  # fmt: skip
    arguments.add_argument(
        "--check", action="store_true", help="run nothing; say which stored tables are stale"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mtlkit evidence``; exit code 0, or 1 for what is stale or broken."""
    arguments = parser()
    options = arguments.parse_args(argv)
    of_study = options.study is not None
    if options.number is None and (of_study or not options.check):
        arguments.error("which notebook? for example: mtlkit evidence 05")
    if of_study and options.shops:
        arguments.error("a study has no shops: leave out --shops or --study")
    shops = options.shops or list(range(5))
    if len(set(shops)) < len(shops) or min(shops) < 0:
        arguments.error("--shops must be different whole numbers from 0")
    number = options.number.zfill(2) if options.number else None
    try:
        if options.check:
            trouble = stale(number, options.study)
            print("\n".join(trouble) or "All stored evidence is up to date.")
            return 1 if trouble else 0
        if of_study:
            studies.make(str(number), options.study, smoke=options.smoke, store=options.store)
        else:
            make(str(number), shops, smoke=options.smoke, store=options.store)
    except (MakerError, keys.NoCheckout) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where it was.", file=sys.stderr)
        return 130
    return 0


def make(
    number: str, shops: Sequence[int], *, smoke: bool = False, store: Path | None = None
) -> dict[str, pl.DataFrame]:
    """Run a contest on each shop; store its tables (full sizes) or print them (smoke).

    Returns the tables, stored shops of the same key included. Files are written once, at the end.
    """
    contest = contests.load(number)
    key = contests.key_of(contest)
    size = contests.size_of(contest, "smoke" if smoke else "full")
    folder = table_makers.runs_folder(key, store, f"nb{number}")
    tables: dict[str, pl.DataFrame] = {}
    for place, shop in enumerate(shops, start=1):
        began = time.monotonic()
        tables = contests.join(
            tables, contests.run_shop(contest, shop, size, folder), contest.where
        )
        seconds = time.monotonic() - began
        told = f"Notebook {number}, shop {shop}: {seconds:.0f} s ({place} of {len(shops)})"
        print(told, flush=True)
    if smoke:
        table_makers.show(tables)
        return tables
    target = lesson.path(number, "evidence")
    tables = contests.join(_stored(contest, target), tables, contest.where)
    runs = tables[RUNS]
    key["shops"] = runs["shop"].unique(maintain_order=True).to_list()
    key["seeds"] = sum(name.startswith(SEED) for name in runs.columns)
    write_tables(target, tables, key)
    print(f"Stored {', '.join(tables)} of {len(key['shops'])} shops in {_shown(number)}.")
    return tables


def _shown(number: str) -> str:
    return f"mtlkit/lessons/nb{number}/evidence"


def _stored(contest: contests.Contest, target: Path) -> dict[str, pl.DataFrame]:
    """The tables stored before if they rest on the same; otherwise none, and why in a sentence."""
    if contest.number not in numbers():
        return {}
    try:
        moved = contests.moved(contest, read_key(target))
        if not moved:
            return read_tables(target)
        reason = f"{', '.join(moved)} moved."
    except ValueError as problem:
        reason = str(problem)
    print(f"The shops stored before are dropped: {reason}")
    return {}


def stale(number: str | None = None, study: str | None = None) -> list[str]:
    """One sentence for each contest or study whose stored tables are not what it would give now.

    Of one notebook alone with `number`, of one study with `study`. Raises ``NoCheckout`` where the
    frozen numbers are not at hand.
    """
    keys.golden()
    of_studies = studies.stale(number, study)
    if study is not None:
        return of_studies
    every = sorted({*lesson.numbers("contest.py"), *numbers()})
    if number is not None:
        has_studies = number in studies.numbers()
        every = [number] if number in every or not has_studies else []
    return [*filter(None, map(_stale, every)), *of_studies]


def _stale(number: str) -> str:
    remedy = f"run `python -m mtlkit evidence {number}`"
    target = lesson.path(number, "evidence")
    if number in numbers() and number not in lesson.numbers("contest.py"):
        return f"Notebook {number} has evidence and no contest: delete {_shown(number)}."
    try:
        contest = contests.load(number)
        if number not in numbers():
            return f"Notebook {number} has a contest and no evidence: {remedy}."
        moved = contests.moved(contest, read_key(target))
        if not moved:
            read_tables(target)
    except MakerError as problem:
        return str(problem)
    except ValueError as problem:
        return f"The evidence of notebook {number} cannot be read: {problem}"
    if moved:
        return f"The evidence of notebook {number} is stale: {', '.join(moved)} moved; {remedy}."
    return ""
