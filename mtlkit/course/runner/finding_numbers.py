"""The numbers of a finding: of stored contests, of stored studies, or recorded values."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlkit.course.learner import lesson
from mtlkit.course.learner.evidence import evidence
from mtlkit.course.learner.study import study

ONE_SHOP = "seen on one shop"
OF_A_STUDY = "from a stored study"
SAYS = ("better", "worse", "no difference seen", "not better")


@dataclass(frozen=True)
class Number:
    """One value, or several of the same kind (`least`, `most`, `count`), as a sentence has them.

    `holds` says on how many shops.
    """

    values: tuple[float, ...]
    holds: str

    def __format__(self, form: str) -> str:
        if len(self.values) != 1:
            raise ValueError("it has several values: write .least and .most behind its name")
        text = format(self.values[0], form or ".3g")
        plain = text.lstrip("+-")
        return plain if not plain.strip("0.") else text.replace("-", "−")

    @property
    def least(self) -> Number:
        """The lowest of its values."""
        return Number((min(self.values),), self.holds)

    @property
    def most(self) -> Number:
        """The highest of its values."""
        return Number((max(self.values),), self.holds)

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)


def number_of(notebook: str, fields: Mapping[str, Any]) -> Number:
    """The number that these fields name; see `notebooks/README.md`.

    Raises ValueError (with what to do) for unknown fields and for what is not stored.
    """
    if not isinstance(fields, Mapping):
        raise ValueError("it must have fields, such as {record: ..., value: ...}")
    named = dict(fields)
    times = named.pop("times", 1)
    if "record" in named:
        return Number((times * _recorded(notebook, **named),), ONE_SHOP)
    if "study" in named:
        return Number((times * _of_study(notebook, named.pop("study"), **named),), OF_A_STUDY)
    says, reference = named.pop("says", None), named.pop("reference", None)
    apart = named.pop("spread", False)
    lists = [value if isinstance(value, list) else [value] for value in named.values()]
    rows = [dict(zip(named, row, strict=True)) for row in itertools.product(*lists)]
    stored = evidence(notebook)
    if reference is None:
        shops = f"mean of {len(stored.shops)} shops"
        of = stored.spread if apart else stored.mean
        return Number(tuple(times * of(row.pop("candidate"), **row) for row in rows), shops)
    if apart:
        raise ValueError("a spread is one candidate's own: leave out 'reference'")
    if says not in SAYS:
        raise ValueError(f"says must be one of {', '.join(SAYS)}; found {says!r}")
    gaps = [stored.difference(row.pop("candidate"), reference, **row) for row in rows]
    for gap, row in zip(gaps, rows, strict=True):
        if not (gap.verdict != "better" if says == "not better" else gap.verdict == says):
            raise ValueError(f"it says {says!r}, the stored tables say {gap.verdict!r} ({row})")
    return Number(tuple(times * gap.headline.mean for gap in gaps), _on_shops(gaps, says))


def _on_shops(gaps: list[Any], says: str) -> str:
    """ "better on 3 to 4 of 5 shops"."""
    word = "better" if says == "not better" else says
    counts = [sum(told == word for told in gap.verdicts.values()) for gap in gaps]
    low, high = min(counts), max(counts)
    if says == "not better":
        told = f"at most {high}" if high else "none"
    else:
        told = f"{low}" if low == high else f"{low} to {high}"
    return f"{word} on {told} of {len(gaps[0].shops)} shops"


def _recorded(
    notebook: str, record: str, value: str, where: Mapping[str, Any] | None = None
) -> float:
    """One recorded value of the notebook's last full run: `value` is a key, or a table's column."""
    path = lesson.path(notebook, "records.json")
    entries = json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []
    found = [entry for entry in entries if entry["name"] == record]
    if len(found) != 1:
        known = ", ".join(entry["name"] for entry in entries) or "none"
        raise ValueError(f"{len(found)} records are named {record!r}; there are: {known}")
    entry = found[0]
    if entry["kind"] == "table":
        rows = [dict(zip(entry["columns"], row, strict=True)) for row in entry["rows"]]
    else:
        rows = [entry["value"] if isinstance(entry["value"], dict) else {value: entry["value"]}]
    return _the_one(rows, value, where, f"record {record!r}")


def _of_study(
    notebook: str, name: str, table: str, value: str, where: Mapping[str, Any] | None = None
) -> float:
    """One value of a stored study: `value` is a column of the table, `where` picks its row."""
    rows = study(notebook, name).table(table).to_dicts()
    return _the_one(rows, value, where, f"table {table!r} of study {name!r}")


def _the_one(
    rows: list[dict[str, Any]], value: str, where: Mapping[str, Any] | None, what: str
) -> float:
    """The value of the one row that fits."""
    fit = [row for row in rows if all(row.get(k) == v for k, v in (where or {}).items())]
    if len(fit) != 1 or value not in fit[0]:
        raise ValueError(f"{len(fit)} rows of {what} have {where}, with {value!r}")
    if not isinstance(fit[0][value], int | float) or not math.isfinite(fit[0][value]):
        raise ValueError(f"{value!r} of {what} is no number: {fit[0][value]!r}")
    return float(fit[0][value])
