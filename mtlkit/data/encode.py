"""Encoders: from raw columns (text, gaps, long tails) to ids and standardised numbers.

Everything an encoder knows it learned from training rows. A value it has not seen becomes id 0.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import polars as pl

from mtlkit.data.amounts import amounts
from mtlkit.data.columns import column_names, label_numbers, weights
from mtlkit.data.frames import as_frame, collected, lazy_columns
from mtlkit.data.packed import pack, unpack
from mtlkit.data.scenarios import read_as, scenario_names, scenario_numbers
from mtlkit.data.table import Table
from mtlkit.data.vocabulary import TEXT, fingerprint, ids, learn, learn_lazily
from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError, Task
from mtlkit.schema import Sequence as SequenceField


@dataclass
class Encoder:
    """Fit ids and scales on training rows, then turn any frame of the same columns into a table.

    categorical: columns whose values become ids 1, 2, ... in sorted order (0: unseen or missing).
    dense: numeric columns, standardised to mean 0 and deviation 1; those also named in ``log1p``
    are taken as log(1 + x) first; gaps become the training median, and a column with gaps in
    training gains a second one, ``<name>_missing``.
    sequences: list columns, {name: categorical column whose ids it shares, or None for own ids}.
    beside: {sequence: the one whose events it describes}, both of ``sequences`` and equally long in
    every row; a missing entry of either is id 0 there, and left out of any other sequence.
    scenario: the column of scenarios, of any type: each value of training is one, named
    ``str(value)``; an unseen or missing one is unknown (``Schema.unknown_scenario``).
    tasks: the labels; regression tasks learn their location and scale here. keys: columns kept for
    splits and groups (whole numbers, text, dates, moments). min_count: rarer values become id 0.
    weight: the column that says how much each row counts in losses, metrics and the units of
    labels; ids and scales of inputs are learned from rows as they are.
    The schema carries a fingerprint of all that was learned (``Schema.encoding``): a table of
    another encoder is refused by a model.
    """

    tasks: Sequence[Task]
    categorical: Sequence[str] = ()
    dense: Sequence[str] = ()
    log1p: Sequence[str] = ()
    sequences: Mapping[str, str | None] = field(default_factory=dict)
    scenario: str | None = None
    keys: Sequence[str] = ()
    min_count: int = 1
    max_length: int = 50
    weight: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    _vocabulary: dict[str, pl.Series] = field(default_factory=dict, init=False, repr=False)
    _scale: dict[str, tuple[float, float, float, bool]] = field(
        default_factory=dict, init=False, repr=False
    )
    _schema: Schema | None = field(default=None, init=False, repr=False)
    _scenario_type: pl.DataType | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for role in ("categorical", "dense", "log1p", "keys"):
            setattr(self, role, column_names(getattr(self, role), role))
        unknown = [name for name in self.log1p if name not in self.dense]
        if unknown:
            raise SchemaError(f"log1p names {unknown[0]!r}, which is not among the dense columns.")
        if not isinstance(self.beside, Mapping):
            raise SchemaError(
                f"beside is {{sequence: the one that it stands beside}}, not {self.beside!r}."
            )
        for name in (*self.beside, *self.beside.values()):
            if name not in self.sequences:
                raise SchemaError(
                    f"beside names {name!r}, which is not among the sequences: "
                    f"{', '.join(map(str, self.sequences)) or 'none'}."
                )

    @property
    def schema(self) -> Schema:
        """The schema of every table this encoder makes; fit first."""
        if self._schema is None:
            raise SchemaError("This encoder has not been fitted: call fit(training_frame) first.")
        return self._schema

    def fit(self, frame: Any) -> Encoder:
        """Learn ids, medians, means and deviations from training rows; returns the encoder.

        ``frame`` is a polars frame or whatever ``as_frame`` reads: pandas, Arrow, a dictionary, a
        path. A LazyFrame (``pl.scan_parquet``) may be larger than memory: ids are counted as a
        stream, and numbers are read one column at a time. What is learned is the same.
        """
        frame = frame if isinstance(frame, pl.LazyFrame) else as_frame(frame)
        self._vocabulary, self._scale = {}, {}
        for name in self.categorical:
            self._vocabulary[name] = self._learned(frame, name)
        for name, shares in self.sequences.items():
            if shares is None:
                self._vocabulary[name] = self._learned(frame, name, lists=True)
        dense: list[Dense] = []
        for name in self.dense:
            series, gaps = self._numbers(frame, name)
            if series.len() == gaps.sum():
                raise SchemaError(
                    f"Column {name!r} is empty in the training rows: no row of them has a value. "
                    f'Leave it out; prepare does by drop=["{name}"].'
                )
            median = float(series.median())  # type: ignore[arg-type]
            filled = series.fill_null(median)
            deviation = float(filled.std(ddof=0) or 0.0)  # type: ignore[arg-type]
            self._scale[name] = (
                median,
                float(filled.mean()),  # type: ignore[arg-type]
                deviation if deviation > 0 else 1.0,
                bool(gaps.any()),
            )
            dense.append(Dense(name))
            if self._scale[name][3]:
                dense.append(Dense(f"{name}_missing"))
        counted = None if self.weight is None else self._weights(frame, self.weight)
        tasks = [_fitted(t, frame, counted) for t in self.tasks]
        scenarios: Iterable[str] = ()
        if self.scenario is not None:
            column = _column(frame, self.scenario)
            scenarios, self._scenario_type = scenario_names(column), column.dtype
            if not scenarios:
                raise SchemaError(
                    f"Column {self.scenario!r} holds no scenario: all {len(column):,} training "
                    "rows are missing. Drop it, or fill it."
                )
        self._schema = Schema(
            tuple(tasks),
            tuple(Categorical(n, len(self._vocabulary[n]) + 1) for n in self.categorical),
            tuple(dense),
            tuple(self._sequence_field(n, s) for n, s in self.sequences.items()),
            tuple(Scenario(name) for name in scenarios),
            self._fingerprint(scenarios),
        )
        return self

    def _learned(
        self, frame: pl.DataFrame | pl.LazyFrame, name: str, *, lists: bool = False
    ) -> pl.Series:
        """The values of a column, or of its lists, that get ids."""
        if isinstance(frame, pl.DataFrame):
            series = _column(frame, name)
            return learn(_elements(series) if lists else series, self.min_count)
        dtype = _type(frame, name)
        if lists:
            _refuse_no_lists(name, dtype)
        flat = pl.col(name).explode() if lists and dtype != pl.Null else pl.col(name)
        return learn_lazily(frame.select(flat), self.min_count)

    def _fingerprint(self, scenarios: Iterable[str]) -> str:
        learned: dict[str, Any] = {f"ids of {n}": v for n, v in self._vocabulary.items()}
        learned |= {f"ids of {n} are those of": [s] for n, s in self.sequences.items() if s}
        learned |= {f"scale of {n}": list(map(float, v)) for n, v in self._scale.items()}
        learned |= {f"{n} stands beside": [other] for n, other in self.beside.items()}
        return fingerprint(learned | {"log1p": sorted(self.log1p), "scenarios": list(scenarios)})

    def extend(self, *, scenario: str) -> Encoder:
        """Return an encoder that knows one scenario more; this one stays as it is.

        All else means what it did, the fingerprint too: tables of the new encoder fit a model after
        ``model.extend(scenario=...)``, which knows the scenario by the same number. Raises
        ``SchemaError`` for a scenario that is known, and where no scenario column was learned.
        """
        grown = copy.copy(self)
        grown._schema = self.schema.extend(scenario=scenario)
        return grown

    def transform(
        self,
        frame: Any,
        *,
        truth: Mapping[str, Any] | None = None,
        censored: Mapping[str, Any] | None = None,
        row_id: Any | None = None,
    ) -> Table:
        """Return the frame's rows as a table; null labels are not observed.

        A frame without any of the label columns is one to score: no label of it is observed, and
        weights are not read.
        ``row_id`` int64 (row,) names the rows. Without it they are numbered from a hash of what the
        table holds: tables of different rows have different ids, so that training, validation and
        test rows may be transformed one by one, and the same rows transformed twice have the same.
        """
        schema, frame = self.schema, as_frame(frame)
        columns: dict[str, Any] = {}
        for name in self.categorical:
            columns[name] = ids(_column(frame, name), self._vocabulary[name])
        for name, shares in self.sequences.items():
            vocabulary = self._vocabulary[name if shares is None else shares]
            whole = name in self.beside or name in self.beside.values()
            columns[name] = self._list_ids(_column(frame, name), vocabulary, whole)
        for name in self.dense:
            series, gaps = self._numbers(frame, name)
            median, mean, deviation, marked = self._scale[name]
            columns[name] = (series.fill_null(median) - mean) / deviation
            if marked:
                columns[f"{name}_missing"] = gaps.cast(pl.Float64)
        labelled = any(task.name in frame.columns for task in schema.tasks)
        if labelled:
            columns |= {task.name: _column(frame, task.name) for task in schema.tasks}
        extra = {f"key:{name}": _column(frame, name) for name in self.keys}
        weight: str | None = None
        if self.weight is not None and labelled:
            weight = f"weight:{self.weight}"  # it may be a feature as well
            columns[weight] = self._weights(frame, self.weight)
        place: str | None = None
        if self.scenario is not None:  # under a name of its own: it may be a feature as well
            place = f"scenario:{self.scenario}"
            columns[place] = self._scenarios(_column(frame, self.scenario))
        table = Table.from_columns(
            schema,
            columns | extra,
            scenario=place,
            truth=truth,
            censored=censored,
            keys=tuple(extra),
            row_id=row_id,
            weight=weight,
        )
        table.keys = {name.removeprefix("key:"): value for name, value in table.keys.items()}
        if row_id is None:
            table.row_id = table.row_id + _first_row(table)
        return table

    def state_dict(self) -> dict[str, Any]:
        """All that was told and learned, as tensors and plain values; fit first."""
        kind = pl.Series([], dtype=self._scenario_type if self._scenario_type else pl.Null)
        if kind.dtype in TEXT:  # the values of categories are of no account
            kind = kind.cast(pl.String)
        return {
            "told": {
                f.name: _plain(getattr(self, f.name))
                for f in fields(self)
                if f.init and f.name != "tasks"
            },
            "schema": self.schema.to_dict(),
            "tasks": [asdict(task) for task in self.tasks],
            "vocabulary": pack(self._vocabulary),
            "scale": {name: [float(v) for v in values] for name, values in self._scale.items()},
            "scenario type": pack({"type": kind}),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Encoder:
        """The fitted encoder that ``state_dict`` describes.

        Raises ``KeyError`` for a missing entry and ``SchemaError`` for one that does not fit.
        """
        encoder = cls([Task(**task) for task in state["tasks"]], **state["told"])
        encoder._schema = Schema.from_dict(state["schema"])
        encoder._vocabulary = unpack(state["vocabulary"])
        encoder._scale = {
            name: (median, mean, deviation, bool(marked))
            for name, (median, mean, deviation, marked) in state["scale"].items()
        }
        kind = unpack(state["scenario type"])["type"].dtype
        encoder._scenario_type = None if encoder.scenario is None else kind
        return encoder

    def values(self, name: str) -> list[Any]:
        """The values behind ids 1, 2, ... of a categorical or sequence column, in id order."""
        if name not in self._vocabulary:
            raise SchemaError(f"No ids were learned for column {name!r}.")
        return self._vocabulary[name].to_list()

    def _weights(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """The column of weights, once it is known that every row of it is one."""
        return pl.Series(name, weights(_column(frame, name)).numpy())

    def _scenarios(self, series: pl.Series) -> pl.Series:
        """The names of scenarios, null where unknown."""
        assert self._scenario_type is not None
        numbers = scenario_numbers(read_as(series, self._scenario_type), self.schema)
        known = dict(enumerate(self.schema.scenario_names))
        return pl.Series(numbers.numpy()).replace_strict(
            known, default=None, return_dtype=pl.String
        )

    def _numbers(
        self, frame: pl.DataFrame | pl.LazyFrame, name: str
    ) -> tuple[pl.Series, pl.Series]:
        return amounts(_column(frame, name), log1p=name in self.log1p)

    def _list_ids(self, series: pl.Series, vocabulary: pl.Series, whole: bool) -> pl.Series:
        """Lists of values as lists of ids; with ``whole`` a missing entry is 0, not left out."""
        elements = _elements(series).dtype
        series = series.cast(pl.List(pl.Int64 if elements == pl.Null else elements))
        rows = pl.DataFrame({"row": range(len(series)), "value": series})
        if whole:
            rows = rows.filter(pl.col("value").list.len() > 0)
        rows = rows.explode("value")
        rows = rows.with_columns(ids(rows["value"], vocabulary), series_gap=rows["value"].is_null())
        lists = (
            rows.filter(~pl.col("series_gap") | whole)
            .group_by("row", maintain_order=True)
            .agg(pl.col("value"))
        )
        joined = pl.DataFrame({"row": range(len(series))}).join(lists, on="row", how="left")
        return joined["value"].fill_null([]).alias(series.name)

    def _sequence_field(self, name: str, shares: str | None) -> SequenceField:
        return SequenceField(
            name,
            size=None if shares is not None else len(self._vocabulary[name]) + 1,
            shares=shares,
            max_length=self.max_length,
            beside=self.beside.get(name),
        )


def _fitted(task: Task, frame: pl.DataFrame | pl.LazyFrame, counted: pl.Series | None) -> Task:
    """A regression task with its location and scale; another one as it is."""
    if task.kind != "regression":
        return task
    labels = label_numbers(_column(frame, task.name), task)
    if counted is None:
        return task.fitted(labels.drop_nulls())
    seen = labels.is_not_null()
    return task.fitted(labels.filter(seen), counted.filter(seen))


def _type(frame: pl.DataFrame | pl.LazyFrame, name: str) -> pl.DataType:
    columns = frame.schema if isinstance(frame, pl.DataFrame) else lazy_columns(frame)
    if name not in columns:
        raise SchemaError(f"Column {name!r} is missing; the frame has {', '.join(columns)}.")
    return columns[name]


def _column(frame: pl.DataFrame | pl.LazyFrame, name: str) -> pl.Series:
    """One column in one piece, so that its mean is the same however its rows came."""
    _type(frame, name)
    if isinstance(frame, pl.LazyFrame):
        frame = collected(frame.select(name))
    return frame[name].rechunk()


def _plain(value: Any) -> Any:
    """What an encoder was told, in lists and dictionaries of its own."""
    if isinstance(value, Mapping):
        return dict(value)
    return value if value is None or isinstance(value, str | int) else list(value)


def _first_row(table: Table) -> int:
    """A row id from 24 bits of a hash of the table's columns: 2**32 rows fit before the next."""
    digest = hashlib.blake2b(digest_size=3)
    keys = [table.keys[name] for name in sorted(table.keys)]
    ragged = [part for name in sorted(table.sequences) for part in table.sequences[name]]
    for part in (table.categorical, table.dense, *ragged, table.labels, table.observed,
                 table.scenario, *keys):  # fmt: skip
        digest.update(part.contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest(), "big") << 32


def _elements(series: pl.Series) -> pl.Series:
    """The entries of a column of lists, one after the other."""
    _refuse_no_lists(series.name, series.dtype)
    if series.dtype == pl.Null:
        return series
    if isinstance(series.dtype, pl.Array):
        series = series.cast(pl.List(series.dtype.inner))
    return series.explode().alias(series.name)


def _refuse_no_lists(name: str, dtype: pl.DataType) -> None:
    if not isinstance(dtype, (pl.List, pl.Array, pl.Null)):
        raise SchemaError(
            f"Column {name!r} has type {dtype}; a sequence is a list of values a row."
        )
