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
TOP, ROW = ' scope="col"', ' scope="row"'
LONG = 48  # letters of a name, beyond which a table cuts it


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
    @property
    def weight(self) -> str | None: ...


def told(number: float) -> str:
    """A rate or a mean: three digits behind the point below 10, whole numbers above 1,000."""
    if number != number:
        return "–"
    return f"{number:.3f}" if abs(number) < 10 else f"{number:,.{0 if abs(number) >= 1e3 else 1}f}"


def rate(table: Table, task: Task, rows: torch.Tensor | None = None) -> float:
    """Mean observed label of a task in a table, or in the rows of a mask (row,); NaN without any.

    For a binary task it is the share of ones, for a multiclass task the share of its most frequent
    class. Where the table has weights, rows count by them.
    """
    seen = table.mask(task.name) if rows is None else table.mask(task.name) & rows
    labels = table.label(task.name)[seen].double()
    weight = torch.ones_like(labels) if table.weight is None else table.weight[seen].double()
    if not bool(weight.any()):
        return float("nan")
    if task.kind == "multiclass":
        return float(torch.bincount(labels.long(), weight).max() / weight.sum())
    return float((labels * weight).sum() / weight.sum())


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
    known, unknown = train.schema.scenario_names, train.schema.unknown_scenario
    shown = dict(enumerate(known[:MOST_SCENARIOS])) | {unknown: train.schema.unknown_scenario_name}
    for number, name in shown.items():
        counts = [int((table.scenario == number).sum()) for table in data.split]
        if number == unknown and len(known) > MOST_SCENARIOS:
            body.append([f"and {len(known) - MOST_SCENARIOS:,} more", *[""] * (len(head) - 1)])
        if number == unknown and not sum(counts):
            continue
        rates = [rate(train, task, train.scenario == number) for task in train.schema.tasks]
        body.append([name, *(f"{count:,}" for count in counts), *map(told, rates)])
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
    if data.weight is not None:
        lines.append(f"Rows count as {data.weight} says, in rates and means, too.")
    keys = tuple(data.split.train.keys)
    if keys:
        lines.append(f"Kept as keys, for groups and checks: {', '.join(keys)}.")
    for name, unmet in data.unmet.items():
        if unmet.rows:
            parent = data.split.train.schema.task(name).given
            lines.append(
                f"{unmet.rows:,} labels of {name} are not read, because {parent} is not 1 there; "
                f"{unmet.contrary:,} of them were not 0."
            )
    return lines


def text(data: Summarised) -> str:
    """The summary as plain text."""
    parts = ["\n".join(_sentences(data)), plain_table(*_tasks(data), texts=2)]
    if data.split.train.schema.num_scenarios > 1:
        parts.append(plain_table(*_scenarios(data)))
    return "\n\n".join(parts)


def html(data: Summarised) -> str:
    """The summary as HTML."""
    parts = [f'<p style="overflow-wrap:anywhere">{escape(line)}</p>' for line in _sentences(data)]
    parts.append(html_table(*_tasks(data), texts=2))
    if data.split.train.schema.num_scenarios > 1:
        parts.append(html_table(*_scenarios(data)))
    return f"<div>{''.join(parts)}</div>"


def plain_table(head: Sequence[str], body: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Columns of equal width, the first ``texts`` to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = []
    for line in (head, *body):
        left = [cell.ljust(width) for cell, width in zip(line[:texts], widths)]
        right = [cell.rjust(width) for cell, width in zip(line[texts:], widths[texts:])]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines)


def html_table(head: Sequence[str], body: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first column names its rows; everything is escaped.

    The first ``texts`` columns are to the left, the others to the right, as ``plain_table`` has
    them. No colour is set, so that it reads on light and dark; one that is wider than its window
    scrolls by itself, and a long name ends in dots and shows whole under the pointer.
    """

    def cell(tag: str, place: int, value: str, more: str = "") -> str:
        side = "left" if place < texts else "right"
        whole = f' title="{escape(value)}"' if len(value) > LONG else ""
        style = f"text-align:{side};padding:0.1em 0.7em;vertical-align:bottom"
        if more != TOP:  # words of a heading go below each other before a table gets too wide
            style += ";white-space:nowrap"
        if whole:
            style += f";max-width:{LONG // 2}em;overflow:hidden;text-overflow:ellipsis"
        return f'<{tag}{more}{whole} style="{style}">{escape(value)}</{tag}>'

    names = "".join(cell("th", place, name, TOP) for place, name in enumerate(head))
    rows = []
    for name, *values in body:
        line = "".join(cell("td", place, value) for place, value in enumerate(values, start=1))
        rows.append("<tr>" + cell("th", 0, name, ROW) + line + "</tr>")
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div style="overflow-x:auto;margin:0.7em 0">{table}</div>'
