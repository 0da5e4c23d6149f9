"""A prepared frame in words: rows, tasks, rates, scenarios, the cut; as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Protocol

import torch

from mtlkit.data.splits import PARTS, Split
from mtlkit.data.table import Table
from mtlkit.own.cut import Cut
from mtlkit.own.labels import Unmet
from mtlkit.own.roles import Roles
from mtlkit.schema import Task

Rows = list[list[str]]
MOST_SCENARIOS = 12  # rows of the table; the rest is counted
MOST_NAMES = 12


class Summarised(Protocol):
    """What the words need to know of a ``Prepared``."""

    @property
    def split(self) -> Split: ...
    @property
    def cut(self) -> Cut: ...
    @property
    def unmet(self) -> dict[str, Unmet]: ...
    @property
    def roles(self) -> Roles: ...


def told(number: float) -> str:
    """A rate or a mean: three digits behind the point below 10, whole numbers above 1,000."""
    if number != number:
        return "–"
    return f"{number:.3f}" if abs(number) < 10 else f"{number:,.{0 if abs(number) >= 1e3 else 1}f}"


def rate(table: Table, task: Task, rows: torch.Tensor | None = None) -> float:
    """Mean observed label of a task in a table, or in the rows of a mask (row,); NaN without any.

    For a binary task it is the share of ones, for a multiclass task the share of its most frequent
    class.
    """
    seen = table.mask(task.name) if rows is None else table.mask(task.name) & rows
    labels = table.label(task.name)[seen].double()
    if not len(labels):
        return float("nan")
    if task.kind == "multiclass":
        return float(torch.bincount(labels.long()).max()) / len(labels)
    return float(labels.mean())


def _about(task: Task) -> str:
    given = f", given {task.given}" if task.given else ""
    unit = f" ({task.unit})" if task.unit else ""
    return f"{task.kind.replace('_', ' ')}{unit}{given}"


def _tasks(data: Summarised) -> tuple[list[str], Rows]:
    head = ["task", "kind", *(f"{what}, {p}" for p in PARTS for what in ("labels", "rate or mean"))]
    body = []
    for task in data.split.train.schema.tasks:
        line = [task.name, _about(task)]
        for table in data.split:
            line += [f"{int(table.mask(task.name).sum()):,}", told(rate(table, task))]
        body.append(line)
    return head, body


def _scenarios(data: Summarised) -> tuple[list[str], Rows]:
    train = data.split.train
    head = ["scenario", *(f"rows, {part}" for part in PARTS), *train.schema.task_names]
    body = []
    names = (*train.schema.scenario_names, train.schema.unknown_scenario_name)
    for number, name in enumerate(names):
        counts = [int((table.scenario == number).sum()) for table in data.split]
        if number == train.schema.unknown_scenario and not sum(counts):
            continue
        rates = [rate(train, task, train.scenario == number) for task in train.schema.tasks]
        body.append([name, *(f"{count:,}" for count in counts), *map(told, rates)])
    if len(body) > MOST_SCENARIOS:
        more = len(body) - MOST_SCENARIOS
        body = [*body[:MOST_SCENARIOS], [f"and {more:,} more", *[""] * (len(head) - 1)]]
    return head, body


def _sentences(data: Summarised) -> list[str]:
    counts = ", ".join(f"{len(t):,} {part}" for t, part in zip(data.split, PARTS, strict=True))
    lines = [f"{sum(map(len, data.split)):,} rows ({counts}), {data.cut.told}."]
    for what, names in (
        ("ids", data.roles.categorical), ("amounts", data.roles.dense),
        ("sequences", tuple(data.roles.sequences)),
    ):  # fmt: skip
        if names:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            lines.append(f"Read as {what}: {', '.join(names[:MOST_NAMES])}{more}.")
    for name, unmet in data.unmet.items():
        if unmet.rows:
            lines.append(
                f"{unmet.rows:,} labels of {name} stood below an unmet parent and are not read; "
                f"{unmet.contrary:,} of them were not 0."
            )
    return lines


def text(data: Summarised) -> str:
    """The summary as plain text."""
    tables = [_tasks(data)]
    if data.split.train.schema.num_scenarios > 1:
        tables.append(_scenarios(data))
    parts = ["\n".join(_sentences(data)), *(plain_table(*table) for table in tables)]
    return "\n\n".join(parts)


def html(data: Summarised) -> str:
    """The summary as HTML."""
    parts = [f"<p>{escape(line)}</p>" for line in _sentences(data)]
    parts.append(html_table(*_tasks(data)))
    if data.split.train.schema.num_scenarios > 1:
        parts.append(html_table(*_scenarios(data)))
    return f"<div>{''.join(parts)}</div>"


def plain_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in (head, *body)
    )


def html_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table whose first column names its rows; everything is escaped."""
    first = "".join(f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in head)
    rows = []
    for name, *cells in body:
        line = "".join(f'<td style="text-align:right">{escape(cell)}</td>' for cell in cells)
        rows.append(f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>{line}</tr>')
    return f"<table><thead><tr>{first}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
