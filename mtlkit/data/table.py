"""Tables of column tensors, and the batches that a model reads.

A table is a handful of contiguous tensors on one device. A batch is the same with fewer rows, taken
with one ``index_select`` a tensor, which is about twice as fast as a row-wise data loader. What a
model must not see (the generator's truth, user and time keys) stays in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlkit.data.checks import check_table
from mtlkit.schema import Schema, SchemaError, Task

Ragged = tuple[Tensor, Tensor]  # values (n,), offsets (row + 1,)


def take_ragged(values: Tensor, offsets: Tensor, index: Tensor) -> Ragged:
    """Select rows of a ragged column: values (n,), offsets (row + 1,), index (k,)."""
    starts = offsets[index]  # (k,)
    lengths = offsets[index + 1] - starts  # (k,)
    new_offsets = torch.zeros(len(index) + 1, dtype=torch.int64, device=offsets.device)
    torch.cumsum(lengths, 0, out=new_offsets[1:])
    shift = torch.repeat_interleave(starts - new_offsets[:-1], lengths)  # (n',)
    positions = shift + torch.arange(len(shift), device=offsets.device)
    return values[positions], new_offsets


@dataclass
class Batch:
    """What a model and its losses read: inputs, labels and which labels are observed.

    categorical int64 (batch, field); dense float32 (batch, width); sequences
    {name: (values int64 (n,), offsets int64 (batch + 1,))}; labels float32 (batch, task), 0 where
    not observed; observed bool (batch, task); scenario int64 (batch,); censored bool (batch, task)
    or None.
    """

    categorical: Tensor
    dense: Tensor
    sequences: dict[str, Ragged]
    labels: Tensor
    observed: Tensor
    scenario: Tensor
    censored: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scenario)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``; copies from pinned memory do not block."""
        return Batch(**{f.name: _move(getattr(self, f.name), device) for f in fields(self)})


def _move(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: _move(v, device) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_move(v, device) for v in value)
    return value


def epoch_order(rows: int, *, shuffle: bool, seed: int, epoch: int) -> Tensor:
    """Return the order of rows in one epoch, int64 (row,); it depends on (seed, epoch) alone."""
    if not shuffle:
        return torch.arange(rows)
    state = int(np.random.SeedSequence([abs(int(seed)), int(epoch)]).generate_state(1)[0])
    return torch.randperm(rows, generator=torch.Generator().manual_seed(state))


class Table:
    """Column tensors that fit one schema. See ``Batch`` for the shapes of the columns.

    On top of a batch's columns a table keeps ``truth`` {task: float32 (row,) or (row, k)}, the
    generator's own values where they are known, ``keys`` {name: int64 (row,)} for splits and
    per-user metrics, and ``row_id`` int64 (row,), unique: a split that shares rows is found by it.

    Raises ``SchemaError`` (unless ``check=False``) that names column, row and reason.
    """

    def __init__(
        self,
        schema: Schema,
        categorical: Tensor,
        dense: Tensor,
        sequences: Mapping[str, Ragged],
        labels: Tensor,
        observed: Tensor,
        scenario: Tensor,
        *,
        censored: Tensor | None = None,
        truth: Mapping[str, Tensor] | None = None,
        keys: Mapping[str, Tensor] | None = None,
        row_id: Tensor | None = None,
        check: bool = True,
    ) -> None:
        self.schema = schema
        self.categorical = categorical
        self.dense = dense
        self.sequences = dict(sequences)
        self.labels = labels
        self.observed = observed
        self.scenario = scenario
        self.censored = censored
        self.truth = dict(truth or {})
        self.keys = dict(keys or {})
        if row_id is None:
            row_id = torch.arange(len(scenario), device=scenario.device)
        self.row_id = row_id
        if check:
            check_table(self)

    def __len__(self) -> int:
        return len(self.scenario)

    def __repr__(self) -> str:
        return (
            f"Table({len(self):,} rows, {len(self.schema.categorical)} categorical, "
            f"{self.schema.dense_width} dense, {len(self.sequences)} sequence fields, "
            f"{self.schema.num_scenarios} scenario(s), tasks: {', '.join(self.schema.task_names)})"
        )

    @property
    def device(self) -> torch.device:
        return self.scenario.device

    @property
    def nbytes(self) -> int:
        """Memory of all columns in bytes."""
        return sum(t.numel() * t.element_size() for t in _tensors(self.__dict__))

    def to(self, device: torch.device | str) -> Table:
        """Return the table with every column on ``device``."""
        moved = {name: _move(value, device) for name, value in self._columns().items()}
        return Table(self.schema, **moved, check=False)

    def _columns(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "schema"}

    def take(self, index: Tensor | np.ndarray | Sequence[int]) -> Table:
        """Return the rows at ``index`` (int64 (k,)) or where a bool mask (row,) is true."""
        index = self._index(index)
        return Table(
            self.schema,
            **vars(self.batch(index)),
            truth={k: v.index_select(0, index) for k, v in self.truth.items()},
            keys={k: v.index_select(0, index) for k, v in self.keys.items()},
            row_id=self.row_id.index_select(0, index),
            check=False,
        )

    def _index(self, index: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        index = torch.as_tensor(index, device=self.device)
        if index.dtype == torch.bool:
            if index.shape != (len(self),):
                raise SchemaError(
                    f"A mask needs one entry a row, ({len(self)},), not {tuple(index.shape)}."
                )
            return index.nonzero().squeeze(1)
        if index.numel() == 0:
            return index.to(torch.int64)
        if index.is_floating_point() or index.dim() != 1:
            raise SchemaError(
                "An index is a one-dimensional list of whole row numbers or a bool mask."
            )
        return index.to(torch.int64)

    def batch(self, index: Tensor) -> Batch:
        """Return the rows at ``index``, int64 (k,) on the table's device, as a batch."""
        return Batch(
            categorical=self.categorical.index_select(0, index),  # (k, field)
            dense=self.dense.index_select(0, index),  # (k, width)
            sequences={n: take_ragged(v, o, index) for n, (v, o) in self.sequences.items()},
            labels=self.labels.index_select(0, index),  # (k, task)
            observed=self.observed.index_select(0, index),  # (k, task)
            scenario=self.scenario.index_select(0, index),  # (k,)
            censored=None if self.censored is None else self.censored.index_select(0, index),
        )

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch, from batch number ``start`` on.

        The order depends on (seed, epoch) alone, so (epoch, start) is the whole state of the
        sampler: a run resumed from it sees the very batches it would have seen.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}.")
        order = epoch_order(len(self), shuffle=shuffle, seed=seed, epoch=epoch).to(self.device)
        for begin in range(start * batch_size, len(self), batch_size):
            index = order[begin : begin + batch_size]
            if drop_last and len(index) < batch_size:
                return
            yield self.batch(index)

    def label(self, name: str) -> Tensor:
        """Labels of one task, float32 (row,); 0 where ``mask(name)`` is false."""
        return self.labels[:, self.schema.task_index(name)]

    def mask(self, name: str) -> Tensor:
        """Where one task's label is observed, bool (row,)."""
        return self.observed[:, self.schema.task_index(name)]

    def with_tasks(self, tasks: Iterable[Task]) -> Table:
        """Return the same columns under changed tasks of the same names, such as fitted ones."""
        tasks = tuple(tasks)
        if tuple(t.name for t in tasks) != self.schema.task_names:
            raise SchemaError(
                "with_tasks keeps the columns: the task names must stay "
                f"{', '.join(self.schema.task_names)}."
            )
        return Table(self.schema.with_tasks(tasks), **self._columns())

    def select_tasks(self, names: str | Sequence[str]) -> Table:
        """Return the table with only these tasks, in this order."""
        names = [names] if isinstance(names, str) else list(names)
        columns = [self.schema.task_index(name) for name in names]
        index = torch.tensor(columns, device=self.device)
        censored = None if self.censored is None else self.censored[:, index]
        changed = self._columns() | {
            "labels": self.labels[:, index],
            "observed": self.observed[:, index],
            "censored": censored,
        }
        return Table(self.schema.select(names), **changed, check=False)

    @classmethod
    def from_columns(
        cls,
        schema: Schema,
        columns: Any,
        *,
        scenario: str | None = None,
        observed: Mapping[str, Any] | None = None,
        censored: Mapping[str, Any] | None = None,
        truth: Mapping[str, Any] | None = None,
        keys: Sequence[str] = (),
        row_id: Any | None = None,
    ) -> Table:
        """Build a table from a polars DataFrame or a mapping of arrays; see ``data/columns.py``."""
        from mtlkit.data.columns import table_from_columns

        return table_from_columns(
            schema,
            columns,
            scenario=scenario,
            observed=observed or {},
            censored=censored or {},
            truth=truth or {},
            keys=keys,
            row_id=row_id,
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from _tensors(v)
    elif isinstance(value, tuple):
        for v in value:
            yield from _tensors(v)


def concatenate(*tables: Table) -> Table:
    """Stack tables with the same inputs and scenarios; their tasks may differ.

    A task that one table lacks is not observed on that table's rows: this is how two data sets,
    each with labels of its own, train one model. Row ids are numbered anew. Truth and keys survive
    where every table has them.
    """
    if not tables:
        raise SchemaError("concatenate needs at least one table.")
    first = tables[0].schema
    tasks: dict[str, Task] = {}
    for number, table in enumerate(tables):
        schema = table.schema
        for part in ("categorical", "dense", "sequences", "scenarios"):
            if getattr(schema, part) != getattr(first, part):
                raise SchemaError(
                    f"Table {number} has other {part} fields than table 0; tables are stacked only "
                    "when their inputs agree."
                )
        for task in schema.tasks:
            if tasks.setdefault(task.name, task) != task:
                raise SchemaError(f"Task {task.name!r} is declared differently in table {number}.")
    schema = Schema(
        tuple(t if t.given in tasks else replace(t, given=None) for t in tasks.values()),
        first.categorical,
        first.dense,
        first.sequences,
        first.scenarios,
    )

    def widen(table: Table, column: Tensor | None, dtype: torch.dtype) -> Tensor:
        out = torch.zeros(len(table), schema.num_tasks, dtype=dtype, device=table.device)
        if column is not None:
            index = [schema.task_index(name) for name in table.schema.task_names]
            out[:, index] = column
        return out

    def stack_ragged(name: str) -> Ragged:
        parts = [t.sequences[name] for t in tables]
        lengths = torch.cat([o.diff() for _, o in parts])
        zero = torch.zeros(1, dtype=torch.int64, device=lengths.device)
        return torch.cat([v for v, _ in parts]), torch.cat([zero, lengths.cumsum(0)])

    any_censored = any(t.censored is not None for t in tables)
    shared_truth = set.intersection(*(set(t.truth) for t in tables))
    shared_keys = set.intersection(*(set(t.keys) for t in tables))
    return Table(
        schema,
        torch.cat([t.categorical for t in tables]),
        torch.cat([t.dense for t in tables]),
        {s.name: stack_ragged(s.name) for s in schema.sequences},
        torch.cat([widen(t, t.labels, torch.float32) for t in tables]),
        torch.cat([widen(t, t.observed, torch.bool) for t in tables]),
        torch.cat([t.scenario for t in tables]),
        censored=torch.cat([widen(t, t.censored, torch.bool) for t in tables])
        if any_censored
        else None,
        truth={k: torch.cat([t.truth[k] for t in tables]) for k in sorted(shared_truth)},
        keys={k: torch.cat([t.keys[k] for t in tables]) for k in sorted(shared_keys)},
    )
