"""Labels below an unmet parent: a purchase where there was no click is no label of purchase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from mtlkit.data.columns import label_numbers
from mtlkit.losses.chain import parents_first
from mtlkit.schema import Schema, SchemaError, Task


class Unmet(NamedTuple):
    """Labels of one task that stood where its parent's label is not 1, and were made null.

    ``rows`` of them in all; ``contrary`` of them were not 0: a purchase without a click.
    """

    rows: int
    contrary: int


def as_tasks(tasks: Task | str | Iterable[Task | str]) -> tuple[Task, ...]:
    """Tasks from tasks and names; a name is a binary task.

    Raises ``SchemaError`` for anything else, for no task, for a name that stands twice and for a
    ``given`` that is none of them.
    """
    if isinstance(tasks, Mapping) or not isinstance(tasks, Task | str | Iterable):
        raise SchemaError(
            f"tasks are a list of tasks and names of binary ones, not a {type(tasks).__name__}: "
            '[Task("seconds", "regression"), "click"].'
        )
    listed: Sequence[Task | str] = [tasks] if isinstance(tasks, Task | str) else list(tasks)
    made = tuple(Task(task) if isinstance(task, str) else task for task in listed)
    return Schema(made).tasks


def null_unmet(frame: pl.DataFrame, tasks: Sequence[Task]) -> tuple[pl.DataFrame, dict[str, Unmet]]:
    """The frame with labels null below an unmet parent, and how many they were, by task.

    A parent is met where its own label is 1 after its own parents are; a missing one is not met.
    """
    schema = Schema(tuple(tasks))
    found: dict[str, Unmet] = {}
    for name in parents_first(schema):
        task = schema.task(name)
        if task.given is None:
            continue
        parent = label_numbers(frame[task.given], schema.task(task.given))
        label = label_numbers(frame[name], task)
        unmet = ~(parent == 1).fill_null(False) & label.is_not_null()
        contrary = unmet & (label != 0).fill_null(False)
        found[name] = Unmet(int(unmet.sum()), int(contrary.sum()))
        kept = pl.when(~unmet).then(pl.col(name)).otherwise(None).alias(name)
        frame = frame.with_columns(kept)
    return frame, found
