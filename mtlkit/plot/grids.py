"""Grids: gate maps, scenario by task tables, walls of small pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import TwoSlopeNorm

from mtlkit.metrics import metric_name
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import INK, Picture, canvas, listed, padding, say, sentence, style

SYMBOLS = {"better": "▲", "worse": "▼", "no difference seen": "≈"}


def _write_cells(axes: Any, values: np.ndarray, texts: Sequence[Sequence[str]], image: Any) -> None:
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            red, green, blue, _ = image.cmap(image.norm(values[row, column]))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
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
    candidate: str | None = None,
    title: str | None = None,
    label: str = "value",
    centre: float | None = None,
) -> Picture:
    """One cell a scenario and task.

    ``values`` is {scenario: {task: number}}, coloured by size (around ``centre`` if given), or a
    ``Comparison``: then the cells hold the differences of ``candidate`` to the reference, coloured
    by verdict.
    """
    if hasattr(values, "table"):
        return _verdict_grid(values, candidate, title)
    scenarios = list(values)
    tasks = list(dict.fromkeys(task for line in values.values() for task in line))
    if not tasks:
        raise ValueError("scenario_task_grid needs at least one scenario with one task.")
    grid = np.array([[values[s].get(t, math.nan) for t in tasks] for s in scenarios], dtype=float)
    title = title or f"{label[:1].upper()}{label[1:]} by scenario and task"
    figure, ((axes,),) = canvas(title, height=1.5 + 0.42 * len(scenarios))
    with style():
        low, high = np.nanmin(grid), np.nanmax(grid)
        if centre is None:
            image = axes.imshow(grid, vmin=low - 0.25 * (high - low), vmax=high, aspect="auto")
        else:
            reach = max(abs(low - centre), abs(high - centre), 1e-12)
            norm = TwoSlopeNorm(centre, centre - reach, centre + reach)
            image = axes.imshow(grid, norm=norm, cmap="RdBu", aspect="auto")
        _write_cells(axes, grid, [[say(v) if math.isfinite(v) else "–" for v in line]
                                  for line in grid], image)  # fmt: skip
        _ticks(axes, scenarios, tasks)
        axes.set(xlabel="task", ylabel="scenario")
        figure.colorbar(image, ax=axes, label=label, pad=0.02)
    told = [
        f"{s}: " + ", ".join(f"{t} {say(v)}" for t, v in zip(tasks, line, strict=True))
        for s, line in zip(scenarios, grid, strict=True)
    ]
    return Picture(figure, f"{sentence(title)} {'; '.join(told)}.")


def _verdict_grid(comparison: Any, candidate: str | None, title: str | None) -> Picture:
    rivals = [name for name in comparison.candidates if name != comparison.reference]
    candidate = rivals[0] if candidate is None and rivals else candidate
    if candidate not in rivals:
        raise ValueError(f"candidate must be one of {listed(rivals)}, not {candidate!r}.")
    rows = [r for r in comparison.table(scenario=None).to_dicts() if r["candidate"] == candidate]
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
    sign = "+" if row["difference"] >= 0 else "−"
    size = abs(row["difference"])
    number = f"{size:.4f}" if size < 10 else say(size)
    return f"{sign}{number}{chr(10) if narrow else ' '}{SYMBOLS.get(row['verdict'], '')}".strip()


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
