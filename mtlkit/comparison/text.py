"""A comparison in words: Markdown, HTML for notebooks, plain text."""

from __future__ import annotations

import html as escape
import math
from typing import Any, Protocol

import polars as pl

from mtlkit.metrics import metric_name
from mtlkit.schema import WHOLE

SYMBOLS = {"better": "▲", "worse": "▼", "no difference seen": "≈"}
# Blue and vermilion of the Okabe-Ito palette: readable on light and on dark pages.
COLOURS = {"better": "#2f8fd0", "worse": "#d55e00"}


class Compared(Protocol):
    """What the words need to know of a ``Comparison``."""

    @property
    def candidates(self) -> tuple[str, ...]: ...
    @property
    def reference(self) -> str: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def tasks(self) -> dict[str, tuple[str, int]]: ...
    @property
    def on(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def oracle(self) -> dict[str, dict[str, float]]: ...
    def table(self, metric: str | None = None, scenario: str | None = WHOLE) -> pl.DataFrame: ...
    def cost(self) -> pl.DataFrame: ...


def number(value: float | None) -> str:
    """Four decimals below 10, four digits above; a dash for no value."""
    if value is None or not math.isfinite(value):
        return "–"
    return (
        f"{value:.4f}"
        if abs(value) < 10
        else f"{value:,.4g}"
        if abs(value) < 1e4
        else f"{value:,.0f}"
    )


def difference(row: dict[str, Any]) -> str:
    """ "+0.0021 [+0.0004, +0.0038]", or an empty string for the reference."""
    if row["difference"] is None:
        return ""
    mean, low, high = (_signed(row[key]) for key in ("difference", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return ("+" if value >= 0 else "−") + number(abs(value))


def note(comparison: Compared, rows: list[dict[str, Any]]) -> str:
    """What the verdict means, and how many of them luck alone would give."""
    judged = [row for row in rows if row["verdict"] in (*SYMBOLS, "no interval")]
    percent = f"{100 * comparison.confidence:g} %"
    by_luck = (1 - comparison.confidence) * len(judged)
    return (
        f"Measured on {comparison.on} rows, {_seeds(comparison)}. In brackets: {percent} interval "
        f"of the difference to {comparison.reference}. Better or worse: the interval leaves out 0. "
        f"Of {len(judged)} such comparisons about {by_luck:.1f} would do so by luck alone."
    )


def _seeds(comparison: Compared) -> str:
    number = len(comparison.seeds)
    return "1 paired seed" if number == 1 else f"{number} paired seeds"


def _direction(sign: int) -> str:
    return {1: "higher is better", -1: "lower is better"}.get(sign, "")


def _rows(comparison: Compared, metric: str | None, scenario: str | None) -> list[dict[str, Any]]:
    return comparison.table(metric, scenario).to_dicts()


def markdown(comparison: Compared, metric: str | None = None, scenario: str | None = WHOLE) -> str:
    """Results, costs and the note as Markdown tables."""
    rows = _rows(comparison, metric, scenario)
    head = ["task", *(["scenario"] if scenario is None else []), "candidate", "metric", "mean"]
    head += [f"difference to {comparison.reference}", "verdict"]
    if comparison.oracle:
        head.append("to oracle")
    body = []
    for row in rows:
        cells = [row["task"], *([row["scenario"]] if scenario is None else []), row["candidate"]]
        cells += [metric_name(row["metric"]), number(row["mean"]), difference(row)]
        cells.append(f"{SYMBOLS.get(row['verdict'], '')} {row['verdict']}".strip())
        if comparison.oracle:
            cells.append(number(row["to_oracle"]))
        body.append(cells)
    cost_head = ["candidate", "parameters", "seconds", "steps", "backward passes"]
    cost_body = [
        [c["candidate"], f"{c['parameters']:,}", f"{c['seconds']:.2f}", f"{c['steps']:,.0f}"]
        + [f"{c['backward_passes']:,.0f}"]
        for c in comparison.cost().to_dicts()
    ]
    parts = [_table(head, body), note(comparison, rows), _table(cost_head, cost_body)]
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def html(comparison: Compared) -> str:
    """One row a candidate: each task's mean, difference and verdict, then the costs."""
    rows = _rows(comparison, None, WHOLE)
    cell = {(row["candidate"], row["task"]): row for row in rows}
    cost = {row["candidate"]: row for row in comparison.cost().to_dicts()}
    head = ['<th scope="col" style="text-align:left">candidate</th>']
    for task, (metric, sign) in comparison.tasks.items():
        label = f"{escape.escape(task)}<br><small>{metric_name(metric)}, {_direction(sign)}</small>"
        head.append(f'<th scope="col" style="text-align:left">{label}</th>')
    for label in ("parameters", "seconds", "steps", "backward passes"):
        head.append(f'<th scope="col" style="text-align:right">{label}</th>')
    body = []
    for name in comparison.candidates:
        cells = [f'<th scope="row" style="text-align:left">{escape.escape(name)}</th>']
        for task in comparison.tasks:
            cells.append(_html_cell(cell.get((name, task))))
        c = cost[name]
        for text in (
            f"{c['parameters']:,}",
            f"{c['seconds']:.2f}",
            f"{c['steps']:,.0f}",
            f"{c['backward_passes']:,.0f}",
        ):
            cells.append(f'<td style="text-align:right">{text}</td>')
        body.append("<tr>" + "".join(cells) + "</tr>")
    if comparison.oracle:
        cells = ['<th scope="row" style="text-align:left"><i>oracle</i></th>']
        for task, (metric, _) in comparison.tasks.items():
            best = comparison.oracle.get(task, {}).get(metric, math.nan)
            cells.append(f'<td style="text-align:left"><i>{number(best)}</i></td>')
        body.append("<tr>" + "".join(cells) + '<td colspan="4"></td></tr>')
    return (
        f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p><small>{escape.escape(note(comparison, rows))}</small></p>"
    )


def _html_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "<td></td>"
    text = f"<b>{number(row['mean'])}</b>"
    word = row["verdict"]
    if row["difference"] is not None:
        style = f' style="color:{COLOURS[word]}"' if word in COLOURS else ""
        text += f'<br><small style="white-space:nowrap">{difference(row)}</small>'
        text += f"<br><small{style}>{SYMBOLS.get(word, '')} {word}</small>"
    else:
        text += "<br><small>reference</small>"
    return f'<td style="text-align:left">{text}</td>'


def plain(comparison: Compared) -> str:
    """One line a candidate and task."""
    return "\n".join(
        f"{row['task']:<12} {row['candidate']:<20} {metric_name(row['metric'])} "
        f"{number(row['mean'])} {difference(row)} {row['verdict']}"
        for row in _rows(comparison, None, WHOLE)
    )
