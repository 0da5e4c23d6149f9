"""Lines in several panels side by side, which have the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from mtlkit.plot.charts import plain_ticks, told_line
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, MARKERS, Picture, canvas, sentence, style


@redrawn
def panels(
    x: Sequence[float],
    series: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log_y: bool = False,
    height: float = 3.3,
) -> Picture:
    """Lines over a common x, one panel a setting: ``series`` {panel: {name: y values}}.

    All panels have the same names, in one order, and the same scale. Raises ``ValueError`` for no
    panel, panels that differ in their names, at most 7 of which can be told apart, and a line that
    has not one value for each x.
    """
    at = np.asarray(x, dtype=float)
    if not series or not len(at):
        raise ValueError("panels needs at least one panel and one x value.")
    names = list(next(iter(series.values())))
    if not 1 <= len(names) <= len(COLOURS):
        raise ValueError(f"A panel shows 1 to {len(COLOURS)} lines, not {len(names)}.")
    figure, (row,) = canvas(title, columns=len(series), height=height, sharey=True)
    told = []
    with style():
        for axes, (panel, found) in zip(row, series.items(), strict=True):
            if list(found) != names:
                raise ValueError(f"Panel {panel!r} has the lines {list(found)}, the first {names}.")
            for i, (name, values) in enumerate(found.items()):
                y = np.asarray(values, dtype=float)
                if y.shape != at.shape:
                    raise ValueError(
                        f"{name!r} in panel {panel!r} has {y.size} values and x has {at.size}."
                    )
                axes.plot(at, y, color=COLOURS[i], marker=MARKERS[i], label=name,
                          markevery=max(1, len(at) // 6))  # fmt: skip
                told.append(f"{panel}, {told_line(name, at, y)}")
            axes.set_title(panel, loc="left", fontsize=10.5)
            axes.set_xlabel(xlabel)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if log_y:
                axes.set_yscale("log")
                plain_ticks(axes.yaxis)
        row[0].set_ylabel(ylabel)
        figure.legend(
            *row[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(names),
            frameon=False, fontsize=9,
        )  # fmt: skip
    return Picture(figure, f"{sentence(title)} {ylabel} against {xlabel}. {'; '.join(told)}.")
