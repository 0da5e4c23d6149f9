"""Grids: gate maps, scenario by task tables, walls of small pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.colors import TwoSlopeNorm

from mtlkit.metrics import METRIC_SIGNS, metric_name
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import INK, Picture, canvas, listed, padding, say, sentence, style
from mtlkit.schema import WHOLE

SYMBOLS = {"better": "▲", "worse": "▼", "no difference seen": "≈"}


def _write_cells(axes: Any, values: np.ndarray, texts: Sequence[Sequence[str]], image: Any) -> None:
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            red, green, blue, _ = image.cmap(image.norm(values[row, column]))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
            dark &= bool(np.isfinite(values[row, column]))  # an undefined cell stays white
            axes.text(column, row, text, ha="center", va="center", fontsize=9,
                      color="white" if dark else INK)  # fmt: skip


def _ticks(axes: Any, rows: Sequence[str], columns: Sequence[str]) -> None:
    longest = max(len(line) for name in columns for line in name.split("\n"))
    slanted = longest * len(columns) > 75
    axes.set_xticks(range(len(columns)), columns, rotation=30 if slanted else 0,
                    ha="right" if slanted else "center")  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


@redrawn
def gate_heatmap(
    matrix: Any,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    title: str = "Which expert does each task listen to?",
    row_label: str = "task",
    column_label: str = "expert",
    label: str = "mean gate weight",
) -> Picture:
    """Mean gate weights as a map, matrix (row, column); each row usually sums to 1.

    ``rows`` name tasks (or scenarios), ``columns`` experts (numbered from 1 by default).
    """
    values = np.asarray(matrix, dtype=float)
    columns = columns or [str(i + 1) for i in range(values.shape[-1])]
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"matrix has shape {values.shape}, names say {(len(rows), len(columns))}.")
    figure, ((axes,),) = canvas(title, height=1.5 + 0.42 * len(rows))
    with style():
        image = axes.imshow(values, vmin=0, vmax=max(1e-9, values.max()), aspect="auto")
        _write_cells(axes, values, [[f"{v:.2f}" for v in line] for line in values], image)
        _ticks(axes, rows, columns)
        axes.set(xlabel=column_label, ylabel=row_label)
        figure.colorbar(image, ax=axes, label=label, pad=0.02)
    told = []
    for name, line in zip(rows, values, strict=True):
        best = int(line.argmax())
        told.append(f"{name} weighs {column_label} {columns[best]} most ({say(float(line[best]))})")
    total = values.sum(1, keepdims=True)
    if (values >= 0).all() and (total > 0).all():
        share = values / total
        use = np.exp(-(share * np.log(np.maximum(share, 1e-12))).sum(1))
        told.append(
            f"effective number of {column_label}s used: "
            + listed(f"{name} {say(float(u), 2)}" for name, u in zip(rows, use, strict=True))
            + f" of {len(columns)}"
        )
    return Picture(figure, f"Map of {label}, {row_label} by {column_label}: {'; '.join(told)}.")


@redrawn
def scenario_task_grid(
    values: Any,
    *,
    metric: str | None = None,
    candidate: str | None = None,
    minus: Any = None,
    title: str | None = None,
    label: str | None = None,
    centre: float | None = None,
) -> Picture:
    """One cell a scenario and task.

    ``values`` is one of three:

    - what ``mtlkit.scenario_table`` returns: the cells hold one ``metric``, the AUC by default, of
      the tasks that have it; with ``minus``, another model's table of the same rows, the
      difference, around 0. Blue is better; predicted / observed is coloured around 1.
    - {scenario: {task: number}}, coloured by size
    - a ``Comparison``: the cells hold the paired differences of ``candidate`` to the candidate
      ``minus`` (the reference by default) in ``metric`` (each task's main one by default), with
      a sign for the verdict, coloured by it

    ``label`` names the numbers, ``centre`` is where the colours turn. An undefined number is a
    dash. Raises ``ValueError`` for what is not there, two rows of one cell, and tables of other
    rows.
    """
    if hasattr(values, "runs"):
        return _verdict_grid(values, candidate, minus, metric, title)
    sign, texts = 1, _plain_texts
    if isinstance(values, pl.DataFrame):
        name = metric or "auc"
        sign, texts = METRIC_SIGNS.get(name, 1), _even_texts
        values = _cells(values, name) if minus is None else _gaps(values, minus, name)
        label = label or ("" if minus is None else "difference in ") + metric_name(name)
        if minus is not None:
            centre, texts = 0.0 if centre is None else centre, _signed_texts
        elif name.endswith("pcoc"):
            centre = 1.0 if centre is None else centre
    label = label or "value"
    scenarios = list(values)
    tasks = list(dict.fromkeys(task for line in values.values() for task in line))
    if not tasks:
        raise ValueError("scenario_task_grid needs at least one scenario with one task.")
    grid = np.array([[values[s].get(t, math.nan) for t in tasks] for s in scenarios], dtype=float)
    title = title or f"{label[:1].upper()}{label[1:]} by scenario and task"
    figure, ((axes,),) = canvas(title, height=1.5 + 0.42 * len(scenarios))
    with style():
        known = grid[np.isfinite(grid)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        if centre is None:
            edge = 0.25 * (high - low)  # so that the palest cell is still a colour
            ends = (low - edge, high) if sign >= 0 else (low, high + edge)
            colours = "Blues" if sign >= 0 else "Blues_r"
            image = axes.imshow(grid, vmin=ends[0], vmax=ends[1], cmap=colours, aspect="auto")
        else:
            reach = max(abs(low - centre), abs(high - centre), 1e-12)
            norm = TwoSlopeNorm(centre, centre - reach, centre + reach)
            colours = "RdBu" if sign >= 0 else "RdBu_r"
            image = axes.imshow(grid, norm=norm, cmap=colours, aspect="auto")
        _write_cells(axes, grid, [[texts(v) for v in line] for line in grid], image)
        _ticks(axes, scenarios, tasks)
        if scenarios[0] == WHOLE and len(scenarios) > 1:
            axes.axhline(0.5, color=INK, linewidth=0.8)  # below it the parts of what is above
        axes.set(xlabel="task", ylabel="scenario")
        better = " (lower is better)" if sign < 0 else ""
        figure.colorbar(image, ax=axes, label=label + better, pad=0.02)
    told = [
        f"{s}: " + ", ".join(f"{t} {say(v)}" for t, v in zip(tasks, line, strict=True))
        for s, line in zip(scenarios, grid, strict=True)
    ]
    return Picture(figure, f"{sentence(title)} {'; '.join(told)}.")


def _cells(frame: pl.DataFrame, metric: str) -> dict[str, dict[str, float]]:
    """{scenario: {task: number}} of one metric in a table of scenarios and tasks, without nulls."""
    for column in ("scenario", "task"):
        if column not in frame.columns:
            raise ValueError(f"The table has no column {column!r}: give what scenario_table says.")
    if metric not in frame.columns or frame[metric].is_null().all():
        known = [n for n in frame.columns if n in METRIC_SIGNS and frame[n].is_not_null().any()]
        raise ValueError(f"The table has no {metric!r}: metric must be one of {listed(known)}.")
    if frame.select("scenario", "task").is_duplicated().any():
        raise ValueError("The table has two rows of one scenario and task: give one model's.")
    cells: dict[str, dict[str, float]] = {}
    for scenario, task, value in frame.select("scenario", "task", metric).drop_nulls().iter_rows():
        cells.setdefault(scenario, {})[task] = value
    return cells


def _gaps(frame: pl.DataFrame, minus: Any, metric: str) -> dict[str, dict[str, float]]:
    """{scenario: {task: first minus second}} of two models' tables of the same rows."""
    if not isinstance(minus, pl.DataFrame):
        raise ValueError(f"minus must be another model's table, not a {type(minus).__name__}.")
    own, base = _cells(frame, metric), _cells(minus, metric)
    counts = [name for name in ("rows", "observed", "positives") if name in frame.columns]
    if set(counts) <= set(minus.columns):
        both = frame.join(minus, on=["scenario", "task"], suffix=" of minus")
        for name in counts:
            if not both[name].equals(both[f"{name} of minus"].alias(name)):
                raise ValueError(
                    f"The two tables differ in their numbers of {name}: score both models on the "
                    "same rows."
                )
    return {
        s: {t: value - base.get(s, {}).get(t, math.nan) for t, value in line.items()}
        for s, line in own.items()
    }


def _plain_texts(value: float) -> str:
    return say(value) if math.isfinite(value) else "–"


def _even_texts(value: float) -> str:
    """Three decimals, so that the cells of one metric are read down a column."""
    even = math.isfinite(value) and abs(value) < 10
    return f"{value:.3f}".replace("-", "−") if even else _plain_texts(value)


def _signed_texts(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    return ("+" if value >= 0 else "−") + (f"{size:.4f}" if size < 10 else say(size))


def _verdict_grid(
    comparison: Any, candidate: str | None, minus: Any, metric: str | None, title: str | None
) -> Picture:
    if minus is not None:
        if minus not in comparison.candidates:
            raise ValueError(
                f"minus must be one of {listed(comparison.candidates)}, not {minus!r}."
            )
        comparison = replace(comparison, reference=minus)
    rivals = [name for name in comparison.candidates if name != comparison.reference]
    candidate = rivals[0] if candidate is None and rivals else candidate
    if candidate not in rivals:
        raise ValueError(f"candidate must be one of {listed(rivals)}, not {candidate!r}.")
    table = comparison.table(metric, scenario=None).filter(candidate=candidate)
    rows = table.to_dicts()
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    cells = {(row["scenario"], row["task"]): row for row in rows}
    level = {"better": 1.0, "worse": -1.0}
    grid = np.array([[level.get(cells[s, t]["verdict"], 0.0) if (s, t) in cells else 0.0
                      for t in tasks] for s in scenarios])  # fmt: skip
    title = title or f"{candidate} against {comparison.reference}, by scenario and task"
    figure, ((axes,),) = canvas(title, height=1.5 + 0.5 * len(scenarios))
    colours = matplotlib.colors.LinearSegmentedColormap.from_list(
        "verdict", [(0.96, 0.72, 0.55), (0.93, 0.93, 0.93), (0.60, 0.80, 0.93)]
    )
    with style():
        image = axes.imshow(grid, vmin=-1, vmax=1, cmap=colours, aspect="auto")
        texts = [
            [_verdict_text(cells.get((s, t)), len(tasks) > 4) for t in tasks] for s in scenarios
        ]
        _write_cells(axes, grid, texts, image)
        signs = {row["task"]: (row["metric"], row["sign"]) for row in rows}
        names = []
        for t in tasks:
            metric, sign = signs[t]
            arrow = {1: "↑", -1: "↓"}.get(sign, "")
            names.append(f"{t}\n{metric_name(metric)} {arrow}")
        _ticks(axes, scenarios, names)
        axes.set(xlabel="task and metric (arrow: the better direction)", ylabel="scenario")
        axes.set_xticks(np.arange(len(tasks) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(scenarios) + 1) - 0.5, minor=True)
        axes.grid(visible=True, which="minor", color="white", linewidth=2)
        axes.tick_params(which="minor", length=0)
    count = Counter(row["verdict"] for row in rows)
    told = [f"{number} {word}" for word, number in count.items()]
    detail = [
        f"{row['task']} in {row['scenario']} {row['verdict']} ({say(row['difference'])})"
        for row in rows
    ]
    alt = (
        f"Grid of {candidate} against {comparison.reference} on {comparison.on} rows: "
        f"{listed(told)} of {len(rows)} cells. {'; '.join(detail)}."
    )
    return Picture(figure, alt)


def _verdict_text(row: Mapping[str, Any] | None, narrow: bool) -> str:
    if row is None or not math.isfinite(row["difference"]):
        return "–"
    number = _signed_texts(row["difference"])
    return f"{number}{chr(10) if narrow else ' '}{SYMBOLS.get(row['verdict'], '')}".strip()


@redrawn
def picture_grid(
    images: Any,
    titles: Sequence[str] | None = None,
    *,
    title: str,
    columns: int = 8,
    what: str = "pictures",
) -> Picture:
    """A wall of small grey pictures: images (n, height, width) or (n, 784), values 0 .. 1.

    ``titles`` names each picture, ``what`` says what they are, for the description.
    """
    pictures = np.asarray(images, dtype=float)
    if pictures.ndim == 2 and pictures.shape[1] == 784:
        pictures = pictures.reshape(-1, 28, 28)
    if pictures.ndim != 3 or not len(pictures):
        raise ValueError(f"images must be (n, height, width) or (n, 784), not {pictures.shape}.")
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"{len(titles)} titles for {len(pictures)} images.")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    side = 6.8 / columns - 0.06
    height = 0.5 + rows * (side + (0.22 if titles is not None else 0.03))
    figure, grid = canvas(title, rows, columns, height=height)
    padding(figure, 0.02, 0.04)
    with style():
        for axes in grid.flat:
            axes.set_axis_off()
        for i, (axes, image) in enumerate(zip(grid.flat, pictures, strict=False)):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if titles is not None:
                axes.set_title(titles[i], fontsize=8.5, fontweight="normal", loc="center", pad=2)
    size = f"{pictures.shape[2]} x {pictures.shape[1]} pixels"
    alt = f"{sentence(title)} {len(pictures)} {what} of {size}"
    if titles is not None:
        alt += ": " + listed(
            f"{n} x {name}" if n > 1 else name for name, n in Counter(titles).items()
        )
    return Picture(figure, alt + f". Mean brightness {say(float(pictures.mean()), 2)}.")
