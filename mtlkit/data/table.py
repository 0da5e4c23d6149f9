"""Tables of column tensors, from which batches are taken.

A table is a handful of contiguous tensors on one device. A batch is the same with fewer rows, taken
with one ``index_select`` a tensor, which is about twice as fast as a row-wise data loader. What a
model must not see (the generator's truth, user and time keys) stays in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlkit.data.batch import Batch, Ragged, check_batches, epoch_order, move, take_ragged
from mtlkit.data.checks import check_arguments, check_columns
from mtlkit.data.columns import column_tensors
from mtlkit.schema import Schema, SchemaError, Task


class Table:
    """Column tensors that fit one schema. See ``Batch`` for the shapes of the columns.

    On top of a batch's columns a table keeps ``truth`` {task: float32 (row,) or (row, k)}, the
    generator's own values where they are known, ``keys`` {name: int64 (row,)} for splits and
    per-user metrics, and ``row_id`` int64 (row,), unique: a split that shares rows is found by it.
    ``weight`` float32 (row,), 0 or more and not all 0, says how much each row counts in losses and
    metrics, as if it stood there so many times; None: 1 each. (Losses of pages weigh what a row
    pays and not what it is compared with: see ``mtlkit.models.RankedPages``.) ``group`` int64
    (row,), None unless ``with_group`` sets it, is the page of each row, which batches carry.

    Raises ``SchemaError`` (unless ``check=False``) that names column, row and reason.
    """

    # in __dict__ only where there is one: fingerprints stay
    weight: Tensor | None = None
    group: Tensor | None = None

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
        weight: Tensor | None = None,
        group: Tensor | None = None,
        check: bool = True,
    ) -> None:
        if check:
            check_arguments(schema, locals())
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
        if weight is not None:
            self.weight = weight
        if group is not None:
            self.group = group
        if check:
            check_columns(schema, vars(self))

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
        moved = {name: move(value, device) for name, value in self._columns().items()}
        return Table(self.schema, **moved, check=False)

    def _columns(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "schema"}

    def take(self, index: Tensor | np.ndarray | Sequence[int]) -> Table:
        """Return the rows at ``index`` (int64 (k,)) or where a bool mask (row,) is true."""
        index = row_numbers(index, len(self), self.device)
        columns = vars(self.batch(index))
        columns.pop("table")
        return Table(
            self.schema,
            **columns,
            truth={k: v.index_select(0, index) for k, v in self.truth.items()},
            keys={k: v.index_select(0, index) for k, v in self.keys.items()},
            row_id=self.row_id.index_select(0, index),
            check=False,
        )

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
            weight=None if self.weight is None else self.weight.index_select(0, index),  # (k,)
            group=None if self.group is None else self.group.index_select(0, index),  # (k,)
        )

    def batch_count(self, batch_size: int) -> int:
        """Batches of one epoch, the last one maybe smaller."""
        check_batches(batch_size)
        return -(-len(self) // batch_size)

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
        check_batches(batch_size, start)
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
        return Table(same_tasks(self.schema, tasks), **self._columns())

    def with_group(self, key: str | None) -> Table:
        """Return the table whose rows with one value of ``key`` (a session, say) are one page.

        Batches then carry it as ``group``, for losses of pages; None: no pages. Raises
        ``SchemaError`` for a key that the table has not.
        """
        group = None if key is None else self.keys[require_key(self, key)]
        return Table(self.schema, **self._columns() | {"group": group}, check=False)

    def select_tasks(self, names: str | Sequence[str]) -> Table:
        """Return the table with only these tasks, in this order."""
        schema = self.schema.select(names)
        columns = [self.schema.task_index(name) for name in schema.task_names]
        index = torch.tensor(columns, device=self.device)
        censored = None if self.censored is None else self.censored[:, index]
        changed = self._columns() | {
            "labels": self.labels[:, index],
            "observed": self.observed[:, index],
            "censored": censored,
        }
        return Table(schema, **changed, check=False)

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
        weight: str | None = None,
    ) -> Table:
        """Build a table from a polars DataFrame or a mapping of arrays; see ``data/columns.py``."""
        return cls(
            schema,
            **column_tensors(
                schema,
                columns,
                scenario=scenario,
                observed=observed or {},
                censored=censored or {},
                truth=truth or {},
                keys=keys,
                row_id=row_id,
                weight=weight,
            ),
        )


def require_key(table: Any, name: str) -> str:
    """The name of a key that a table has; others raise ``SchemaError``."""
    if name not in table.keys:
        raise SchemaError(
            f"The table has no key {name!r}; known are {', '.join(table.keys) or 'none'}."
        )
    return name


def weight_of(table: Table) -> Tensor:
    """How much each row of a table counts, float32 (row,): 1 each where it has no weights."""
    if table.weight is None:
        return torch.ones(len(table), device=table.device)
    return table.weight


def same_tasks(schema: Schema, tasks: Iterable[Task]) -> Schema:
    """The schema with changed tasks of the same names; others raise ``SchemaError``."""
    changed = schema.with_tasks(tasks)
    if changed.task_names != schema.task_names:
        raise SchemaError(
            "with_tasks keeps the columns: the task names must stay "
            f"{', '.join(schema.task_names)}."
        )
    return changed


def row_numbers(
    index: Tensor | np.ndarray | Sequence[int], rows: int, device: torch.device | str
) -> Tensor:
    """Row numbers, int64 (k,), of a list of them or of a bool mask (row,).

    Raises ``SchemaError`` for anything else and for numbers outside 0 .. rows - 1.
    """
    try:
        index = torch.as_tensor(index, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SchemaError(f"{WANTED}, not a {type(index).__name__}.") from error
    if index.dtype == torch.bool:
        if index.shape != (rows,):
            raise SchemaError(f"A mask needs one entry a row, ({rows},), not {tuple(index.shape)}.")
        return index.nonzero().squeeze(1)
    if index.dim() == 1 and index.numel() == 0:
        return index.to(torch.int64)
    if index.is_floating_point() or index.is_complex() or index.dim() != 1:
        raise SchemaError(f"{WANTED}, not {index.dtype} of shape {tuple(index.shape)}.")
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= rows:
        raise SchemaError(f"Row {low if low < 0 else high} is not in 0 .. {rows - 1}.")
    return index.to(torch.int64)


WANTED = "An index is a one-dimensional list of whole row numbers or a bool mask"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from _tensors(v)
    elif isinstance(value, tuple):
        for v in value:
            yield from _tensors(v)
