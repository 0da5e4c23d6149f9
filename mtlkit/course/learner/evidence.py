"""What a lesson's contest found on several shops, read from the tables stored with the lesson."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mtlkit.course.learner import lesson
from mtlkit.course.learner.stored_tables import KEY, read_tables

if TYPE_CHECKING:
    from mtlkit.comparison.interval import Interval
    from mtlkit.comparison.shops import AcrossShops

RUNS, SEED = "runs", "seed "
NAMED = ("shop", "candidate", "task", "metric")  # columns of "runs"; others are groups or seeds


def evidence(notebook: str) -> "Evidence":
    """The stored tables of one notebook's contest: `evidence("05")`.

    `mtlkit evidence 05` made them and stored them in `mtlkit/lessons/nb05/evidence/`. Nothing is
    trained here. Raises ValueError for a notebook without stored tables, or with damaged ones.
    """
    known = numbers()
    if notebook not in known:
        raise ValueError(
            f"no evidence for notebook {notebook!r}: `python -m mtlkit evidence {notebook}` makes "
            f"it where the lesson has a contest (there is some for: {', '.join(known) or 'none'})."
        )
    return Evidence(notebook, read_tables(lesson.path(notebook, "evidence")))


def numbers() -> list[str]:
    """The numbers of all notebooks with stored evidence, in order."""
    return sorted(path.parents[1].name[2:] for path in lesson.FOLDER.glob(f"nb*/evidence/{KEY}"))


@dataclass(frozen=True, repr=False)
class Evidence:
    """A contest on several shops. `runs` is its main table, `tables` holds all by name.

    `runs` has one row a shop, candidate, task and metric (and group, where the contest has groups)
    and one column a seed, "seed 0", "seed 1", ...
    """

    notebook: str
    tables: Mapping[str, pl.DataFrame]

    @property
    def runs(self) -> pl.DataFrame:
        """One row a shop, group, candidate, task and metric; one column a seed."""
        return self.tables[RUNS]

    @property
    def shops(self) -> tuple[int, ...]:
        """The shops' seeds."""
        return tuple(self.runs["shop"].unique(maintain_order=True))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(int(name.removeprefix(SEED)) for name in self._seed_columns)

    @property
    def candidates(self) -> tuple[str, ...]:
        """All candidates, in the contest's order."""
        return tuple(self.runs["candidate"].unique(maintain_order=True))

    @property
    def groups(self) -> tuple[str, ...]:
        """Further columns of `runs` that tell its rows apart, such as "correlation"."""
        seeds = self._seed_columns
        return tuple(c for c in self.runs.columns if c not in NAMED and c not in seeds)

    @property
    def _seed_columns(self) -> list[str]:
        return [name for name in self.runs.columns if name.startswith(SEED)]

    def table(self, name: str) -> pl.DataFrame:
        """One stored table; the first column is the shop. Raises ValueError for another name."""
        if name not in self.tables:
            raise ValueError(self._unknown(name, "table", self.tables))
        return self.tables[name]

    def chosen(self, candidate: str, *, shop: int, **where: Any) -> dict[str, float]:
        """What the search chose: "rate 0.1, 5 leaves" is {"rate": 0.1, "leaves": 5}.

        A shop that the contest has not gets the choice of the first one. `where` picks a row by
        other columns of the table "chosen". Raises ValueError where not exactly one row fits.
        """
        here = shop if shop in self.shops else self.shops[0]
        wanted = {"shop": here, "candidate": candidate, **where}
        rows = self.table("chosen").filter(**wanted)
        if len(rows) != 1:
            raise ValueError(
                f"evidence of notebook {self.notebook}: {len(rows)} rows of the table 'chosen' "
                f"have {wanted}; one is needed."
            )
        return dict(_number_and_name(part) for part in rows["chosen"].item().split(", "))

    def mean(self, candidate: str, *, task: str, metric: str = "auc", **where: Any) -> float:
        """A candidate's mean over shops of its mean over seeds. Raises as `difference` does."""
        by_shop = self._by_shop(self._rows(task, metric, where), candidate)
        return float(np.mean([np.mean(values) for values in by_shop.values()]))

    def spread(self, candidate: str, *, task: str, metric: str = "auc", **where: Any) -> float:
        """How far a candidate's seeds lie apart: the standard deviation, its mean over shops.

        Raises as `difference` does.
        """
        by_shop = self._by_shop(self._rows(task, metric, where), candidate)
        return float(np.mean([np.std(values, ddof=1) for values in by_shop.values()]))

    def interval(
        self, candidate: str, *, task: str, metric: str = "auc", **where: Any
    ) -> "Interval":
        """A candidate's mean over shops with its 95 % interval: a shop is its mean over seeds.

        One shop has no interval (its ends are NaN). Raises as `difference` does.
        """
        from mtlkit.comparison.interval import Interval, paired_interval  # slow: when needed

        by_shop = self._by_shop(self._rows(task, metric, where), candidate)
        means = [float(np.mean(values)) for values in by_shop.values()]
        known = bool(np.isfinite(means).all())
        return paired_interval(means) if known else Interval(np.nan, np.nan, np.nan)

    def difference(
        self,
        candidate: str,
        reference: str,
        *,
        task: str,
        metric: str = "auc",
        sign: int | None = None,
        **where: Any,
    ) -> "AcrossShops":
        """Candidate minus reference, paired by seed, on each shop and over all shops.

        The unit is the metric's own; whether lower is better follows from its name, or from `sign`
        (+1, -1, 0) for a metric that `mtlkit.metrics` does not know. `where` picks a group, for
        example `correlation=0.5`. Raises ValueError for a name or group that is not there, and
        where several rows a shop fit.
        """
        from mtlkit.comparison.shops import across_shops  # slow to load: when it is first needed
        from mtlkit.metrics import METRIC_SIGNS

        rows = self._rows(task, metric, where)
        own, base = self._by_shop(rows, candidate), self._by_shop(rows, reference)
        if list(own) != list(base):
            raise ValueError(
                f"{candidate!r} has rows for shops {list(own)}, {reference!r} for {list(base)}."
            )
        gaps = {shop: own[shop] - base[shop] for shop in own}
        return across_shops(gaps, sign=METRIC_SIGNS.get(metric, 0) if sign is None else sign)

    def against(
        self,
        reference: str,
        *,
        task: str,
        metric: str = "auc",
        sign: int | None = None,
        **where: Any,
    ) -> "dict[str, AcrossShops]":
        """{candidate: `difference`} of all others that have this number; for `plot.shops`."""
        present = set(self._rows(task, metric, where)["candidate"])
        return {
            name: self.difference(name, reference, task=task, metric=metric, sign=sign, **where)
            for name in self.candidates
            if name != reference and name in present
        }

    def differences(
        self,
        reference: str,
        *,
        task: str,
        metric: str = "auc",
        sign: int | None = None,
        **where: Any,
    ) -> pl.DataFrame:
        """One row a candidate: mean over shops of its difference, interval, shops that agree.

        Columns: candidate, mean, low, high, better on, worse on, of shops. See `difference`.
        """
        found = self.against(reference, task=task, metric=metric, sign=sign, **where)
        rows = [
            (name, *gap.headline, gap.better_on, gap.worse_on, len(gap.shops))
            for name, gap in found.items()
        ]
        columns = {"candidate": pl.Utf8, "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64}
        columns |= {"better on": pl.Int64, "worse on": pl.Int64, "of shops": pl.Int64}
        return pl.DataFrame(rows, schema=columns, orient="row")

    def _rows(self, task: str, metric: str, where: Mapping[str, Any]) -> pl.DataFrame:
        """The rows of one task, metric and group."""
        rows = self.runs
        for column, value in {**where, "task": task, "metric": metric}.items():
            if column not in ("task", "metric", *self.groups):
                raise ValueError(self._unknown(column, "group", self.groups))
            known = self.runs[column].unique(maintain_order=True).to_list()
            if value not in known:
                raise ValueError(self._unknown(value, column, known))
            rows = rows.filter(pl.col(column) == value)
        if rows.is_empty():
            wanted = {**where, "task": task, "metric": metric}
            raise ValueError(f"evidence of notebook {self.notebook}: no row has all of {wanted}.")
        for column in self.groups:
            left = rows[column].unique(maintain_order=True).to_list()
            if len(left) > 1:
                raise ValueError(
                    f"several rows a shop: also say {column}= one of {', '.join(map(str, left))}."
                )
        return rows

    def _by_shop(self, rows: pl.DataFrame, candidate: str) -> dict[int, np.ndarray]:
        """{shop: one value a seed, NaN where there is none}."""
        mine = rows.filter(pl.col("candidate") == candidate)
        if mine.is_empty():
            known = rows["candidate"].unique(maintain_order=True).to_list()
            raise ValueError(self._unknown(candidate, "candidate", known))
        values = mine.select(self._seed_columns).cast(pl.Float64).fill_null(np.nan).to_numpy()
        return dict(zip(mine["shop"].to_list(), values, strict=True))

    def _unknown(self, value: object, what: str, known: Any) -> str:
        there = ", ".join(map(str, known)) or "none"
        return f"evidence of notebook {self.notebook}: no {what} {value!r}; there are: {there}."

    def __repr__(self) -> str:
        tasks = ", ".join(self.runs["task"].unique(maintain_order=True))
        return (
            f"Evidence of notebook {self.notebook}: {len(self.shops)} shops, {len(self.seeds)} "
            f"seeds; candidates: {', '.join(self.candidates)}; tasks: {tasks}; tables: "
            f"{', '.join(self.tables)}"
        )


def _number_and_name(part: str) -> tuple[str, float]:
    """("leaves", 5.0) of "5 leaves"; ("rate", 0.02) of "rate 0.02"."""
    words = part.split()
    at = next(i for i, word in enumerate(words) if word[0].isdigit())
    return " ".join(words[:at] + words[at + 1 :]), float(words[at])
