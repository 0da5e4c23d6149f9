"""Who weighs which expert: what ``models.gate_map`` found, one panel a level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.patches import Rectangle

from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import INK, Picture, canvas, listed, padding, say, sentence, style

COLUMNS = ("level", "reader", "expert", "owner", "weight")
COLUMNS_A_LINE = 18  # experts that stand side by side with their weights legible
LETTER = 0.085  # inches
UNREAD = "#f1f1f1"
BOXED = "boxed: the reader's own"


@redrawn
def gate_map(
    frame: pl.DataFrame, *, title: str = "Who listens to which expert, and how much?"
) -> Picture:
    """Mean gate weights as a heat map: readers down, experts across, one panel a level.

    ``frame`` is what ``mtlkit.models.gate_map`` returns; with ``by="scenario"`` each reader has a
    row a scenario. Below each expert stands its number, below the numbers their owner; a reader's
    own experts are boxed, and an expert that it cannot read is left grey. The description names
    each reader's heaviest expert on each level, and the sum over its own.

    Raises ``ValueError`` for a frame without rows, without one of the columns, with two further
    ones, or with two rows for one cell.
    """
    rows, levels = _cells(frame)
    weights = frame["weight"].to_numpy()
    norm: Normalize = Normalize(0, max(0.5, weights.max()))
    if weights.min() < 0:
        reach = float(np.abs(weights).max())
        norm = TwoSlopeNorm(0, -reach, reach)
    most = max(len(owners) for owners, _ in levels.values())
    across = min(len(levels), max(1, COLUMNS_A_LINE // most))
    down = math.ceil(len(levels) / across)
    names = [" in ".join(row) for row in rows]
    cell = (6.8 - LETTER * max(map(len, names))) / (across * most)  # inches
    upright = any(_too_wide(owners, cell) for owners, _ in levels.values())
    longest = max(len(owner) for owners, _ in levels.values() for owner in owners)
    below = 0.5 + (LETTER * longest if upright else 0.15)
    height = 0.65 + down * (0.3 + 0.27 * len(rows) + below)
    figure, grid = canvas(title, down, across, height=height, sharey=True)
    padding(figure, 0.04, 0.04)
    with style():
        for panel, (level, (owners, values)) in zip(grid.flat, levels.items(), strict=False):
            _panel(panel, values, owners, [row[0] for row in rows], norm)
            _owners(panel, owners, upright)
            if len(levels) > 1:
                panel.set_title(f"level {level}", pad=4)
            panel.set_xlabel("expert, and its owner")
        for axes in list(grid.flat)[len(levels) :]:
            axes.set_visible(False)
        for line in grid:
            line[0].set_yticks(range(len(rows)), names)
            line[0].set_ylabel("reader")
        if any(reader in owners for owners, _ in levels.values() for reader, *_ in rows):
            figure.supxlabel(BOXED, x=0.99, ha="right", fontsize=8.5)
    alt = f"{sentence(title)} Mean gate weight, reader by expert. {' '.join(_told(rows, levels))}"
    return Picture(figure, alt)


Rows = list[tuple[str, ...]]  # (reader,) or (reader, scenario)
Levels = dict[int, tuple[list[str], np.ndarray]]  # {level: (owners, weights (row, expert))}


def _cells(frame: pl.DataFrame) -> tuple[Rows, Levels]:
    """The rows of the map and each level's owners and weights, NaN where nobody reads."""
    for column in COLUMNS:
        if column not in frame.columns:
            raise ValueError(f"The frame has no column {column!r}: give what gate_map returns.")
    groups = [name for name in frame.columns if name not in COLUMNS]
    if len(groups) > 1:
        raise ValueError(f"At most one column may group the readers, not {listed(groups)}.")
    if not frame.height:
        raise ValueError("The frame has no rows to draw.")
    keys = ["level", "reader", *groups, "expert"]
    if frame.select(keys).is_duplicated().any():
        raise ValueError(f"The frame has two rows of the same {listed(keys)}.")
    rows = frame.select("reader", *groups).unique(maintain_order=True).rows()
    levels = {}
    for (level,), part in frame.sort("level", maintain_order=True).group_by(
        "level", maintain_order=True
    ):
        owner = dict(part.select("expert", "owner").iter_rows())
        values = np.full((len(rows), len(owner)), math.nan)
        place = {expert: i for i, expert in enumerate(sorted(owner))}
        for *row, expert, weight in part.select("reader", *groups, "expert", "weight").iter_rows():
            values[rows.index(tuple(row)), place[expert]] = weight
        levels[level] = [owner[expert] for expert in sorted(owner)], values
    return rows, levels


def _panel(
    axes: Any, values: np.ndarray, owners: list[str], readers: list[str], norm: Normalize
) -> None:
    shown = np.ma.masked_invalid(values)
    colours = "RdBu" if isinstance(norm, TwoSlopeNorm) else "Blues"
    image = axes.imshow(shown, norm=norm, cmap=colours, aspect="auto")
    axes.set_facecolor(UNREAD)
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        red, green, blue, _ = image.cmap(image.norm(values[row, column]))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
        colour = "white" if dark else INK
        axes.text(column, row, f"{values[row, column]:.2f}".replace("-", "−"), ha="center",
                  va="center", fontsize=8.5, color=colour)  # fmt: skip
        if readers[row] == owners[column]:
            axes.add_patch(Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False,
                                     edgecolor=colour, linewidth=1.4))  # fmt: skip
    axes.set_xticks(range(len(owners)), [str(n) for n in range(len(owners))])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row in range(1, len(readers)):
        if readers[row] != readers[row - 1] and len(set(readers)) < len(readers):
            axes.axhline(row - 0.5, color=INK, linewidth=0.8)  # between readers with scenarios


def _runs(owners: list[str]) -> list[tuple[str, int, int]]:
    """Neighbours of one owner: (owner, first, last)."""
    runs: list[tuple[str, int, int]] = []
    for n, owner in enumerate(owners):
        if runs and runs[-1][0] == owner:
            runs[-1] = owner, runs[-1][1], n
        else:
            runs.append((owner, n, n))
    return runs


def _too_wide(owners: list[str], cell: float) -> bool:
    return any(
        LETTER * len(owner) > cell * (last - first + 1) for owner, first, last in _runs(owners)
    )


def _owners(axes: Any, owners: list[str], upright: bool) -> None:
    """Write each owner once below the numbers of its experts, as a second line of ticks."""
    runs = _runs(owners)
    middles = [(first + last) / 2 for _, first, last in runs]
    axes.xaxis.remove_overlapping_locs = False
    axes.set_xticks(middles, [owner for owner, _, _ in runs], minor=True)
    axes.tick_params(axis="x", which="minor", length=0, pad=17, labelrotation=90 * upright,
                     labelsize=axes.xaxis.get_ticklabels()[0].get_fontsize())  # fmt: skip


def _told(rows: Rows, levels: Levels) -> list[str]:
    told = []
    for level, (owners, values) in levels.items():
        parts = []
        for row, line in zip(rows, values, strict=True):
            known = np.flatnonzero(np.isfinite(line))
            if not len(known):
                continue
            best = int(known[line[known].argmax()])
            own = [n for n in known if owners[n] == row[0]]
            text = f"{' in '.join(row)} weighs expert {best} ({owners[best]}) most"
            text += f", {say(float(line[best]))}"
            if own and best not in own:
                text += f", and its own {say(float(line[own].sum()))}"
            parts.append(text)
        told.append(f"Level {level}: {'; '.join(parts)}.")
    return told
