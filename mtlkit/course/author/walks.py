"""Timed walks through notebooks, and the pace that fits them.

A walk is stored with the counts of the text that was walked, since the text of today is another.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mtlkit.course.author.counts import Counts, count
from mtlkit.course.author.folders import HERE, source_paths
from mtlkit.course.author.parse import parse
from mtlkit.course.author.plan import Pace
from mtlkit.course.author.source import Source, kept

FILE = Path(__file__).with_name("walks.yaml")
START = Pace(words=1 / 200, code=1 / 10, shown=0.75, guesses=1.0, questions=0.5)
PULL = 2.0  # minutes: a pace twice that of START weighs as much as a walk missed by these
NEAR = 0.2  # share of a walk's minutes that a plan may miss it by


@dataclass(frozen=True)
class Walk:
    """A timed walk: minutes, the commit of the text, who walked, what stood in that text."""

    notebook: str
    minutes: float
    commit: str
    walk: str
    counts: Counts
    run: int
    exercises: int

    def planned(self, pace: Pace) -> float:
        """Minutes that the plan gives the text that was walked."""
        return pace.minutes(self.counts) + self.run + self.exercises


def read_walks(path: Path = FILE) -> list[Walk]:
    """The stored walks; raises ValueError naming a row that lacks a field or has a strange one."""
    import yaml

    walks = []
    for number, row in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")) or (), start=1):
        try:
            walks.append(Walk(**{**row, "counts": Counts(**row["counts"])}))
        except (KeyError, TypeError) as error:
            names = ", ".join(f.name for f in fields(Walk))
            raise ValueError(
                f"{path.name}: row {number} is no walk ({error}); write {names}"
            ) from None
    return walks


def fitted(walks: Sequence[Walk], start: Pace = START, pull: float = PULL) -> Pace:
    """The pace of least squares over the walks, pulled towards `start`.

    A few totals of notebooks that are alike cannot tell five paces apart: without the pull some
    come out below 0.
    """
    names = [f.name for f in fields(Pace)]
    base = np.array([getattr(start, name) for name in names])
    counted = np.array([[getattr(walk.counts, name) for name in names] for walk in walks], float)
    wanted = np.array([walk.minutes - walk.run - walk.exercises for walk in walks], float)
    rows = np.vstack([counted.reshape(-1, len(names)) * base, pull * np.eye(len(names))])
    scale, *_ = np.linalg.lstsq(rows, np.append(wanted, pull * np.ones(len(names))), rcond=None)
    return Pace(*(base * scale).tolist())


def walk_of(source: Source, minutes: float, walk: str, commit: str) -> Walk:
    """The row of a walk through a source as it is."""
    return Walk(
        source.number,
        minutes,
        commit,
        walk,
        count(kept(source, "learner"), source.number),
        source.title.run,
        sum(exercise.minutes for exercise in source.exercises.values()),
    )


def main(argv: Sequence[str]) -> int:
    """Print the row of a walk: notebook, minutes, who walked."""
    if len(argv) != 3 or not argv[1].replace(".", "", 1).isdigit():
        print(
            'usage: python -m mtlkit.course.author.walks NN MINUTES "Walk of ..."', file=sys.stderr
        )
        return 2
    (path,) = source_paths(HERE, [argv[0]])
    done = subprocess.run(
        ["git", "log", "-1", "--format=%h"], cwd=path.parent, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    walk = walk_of(parse(path), float(argv[1]), argv[2], done.stdout.strip() or "not committed")
    counts = ", ".join(f"{f.name}: {getattr(walk.counts, f.name)}" for f in fields(Counts))
    print(
        f'- {{notebook: "{walk.notebook}", minutes: {walk.minutes:g}, commit: {walk.commit}, '
        f"walk: {walk.walk},\n   counts: {{{counts}}}, run: {walk.run}, "
        f"exercises: {walk.exercises}}}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
