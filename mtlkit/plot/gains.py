"""Gains over a dial, with intervals: one panel a measure, one line a setting of another dial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from mtlkit.comparison.interval import Interval
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, INK, MARKERS, Picture, canvas, sentence, style


@redrawn
def gains(
    panels: Mapping[str, Mapping[str, Sequence[Interval]]],
    places: Sequence[str],
    *,
    title: str,
    xlabel: str,
    label: str,
    reference: str,
    digits: int = 3,
) -> Picture:
    """Differences to a reference with their intervals, side by side: panels, lines, places on x.

    ``panels`` {panel: {line: one interval a place}}; all panels have the same lines. ``places``
    names the x positions, which stand at equal distances. A mark is filled where its interval
    leaves out 0. The dotted line is the reference; ``label`` names the score; numbers in the
    description have ``digits`` decimals. Panels have the same scale.

    Raises ``ValueError`` where a line has not one interval a place, or panels differ in lines.
    """
    if not panels or not places:
        raise ValueError("gains needs at least one panel and one place.")
    names = list(next(iter(panels.values())))
    for panel, found in panels.items():
        if list(found) != names:
            raise ValueError(f"Panel {panel!r} has the lines {list(found)}, the first {names}.")
        for name, values in found.items():
            if len(values) != len(places):
                raise ValueError(
                    f"{name!r} in panel {panel!r} has {len(values)} intervals for {len(places)} "
                    "places."
                )
    figure, (row,) = canvas(title, columns=len(panels), height=3.6, sharey=True)
    told = []
    with style():
        for axes, (panel, found) in zip(row, panels.items(), strict=True):
            axes.axhline(0, color=INK, linestyle=":", linewidth=1.4)
            for i, (name, values) in enumerate(found.items()):
                colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
                at = np.arange(len(places)) + 0.14 * (i - (len(found) - 1) / 2)
                means = [value.mean for value in values]
                axes.plot(at, means, color=colour, linewidth=1, alpha=0.6)
                for x, (mean, low, high) in zip(at, values, strict=True):
                    if math.isfinite(low):
                        axes.plot([x, x], [low, high], color=colour, marker="_", markersize=6)
                    clear = low > 0 or high < 0
                    axes.plot(x, mean, color=colour, marker=marker, markersize=6.5, linestyle="",
                              markerfacecolor=colour if clear else "white",
                              markeredgewidth=1.4)  # fmt: skip
                if axes is row[0]:
                    axes.plot([], [], color=colour, marker=marker, label=name)
                numbers = ", ".join(
                    f"{place} {value:+.{digits}f}".replace("-", "−")
                    for place, value in zip(places, values, strict=True)
                )
                told.append(f"{panel}, {name}: {numbers}")
            axes.set_title(panel, loc="left", fontsize=10.5)
            axes.set_xticks(range(len(places)), places)
            axes.set_xlim(-0.5, len(places) - 0.5)
            axes.set_xlabel(xlabel)
            axes.yaxis.set_major_locator(MaxNLocator(7))
            axes.grid(axis="x", visible=False)
        row[0].set_ylabel(label)
        figure.legend(
            *row[0].get_legend_handles_labels(), loc="outside lower left",
            ncols=_legend_columns(names), frameon=False, fontsize=9,
        )  # fmt: skip
        figure.supxlabel(
            f"dotted: {reference}\nfilled: 95 % interval clear of 0", x=0.99, y=0.01,
            ha="right", multialignment="left", fontsize=8.5,
        )  # fmt: skip
    alt = (
        f"{sentence(title)} {label} (0: as good as {reference}), by {xlabel}, with 95 % "
        f"intervals: {'; '.join(told)}."
    )
    return Picture(figure, alt)


def _legend_columns(names: Sequence[str]) -> int:
    """As many as leave room for the note to the right of the legend, in letters and marks."""
    room = 58
    for lines in range(1, len(names) + 1):
        columns = -(-len(names) // lines)
        widest = [max(map(len, names[i::columns])) + 6 for i in range(columns)]
        if sum(widest) <= room:
            return columns
    return 1
