"""Paths over a landscape in the plane, one small panel a walker."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, GREY, INK, MARKERS, Picture, canvas, say, sentence, style

Landscape = Callable[[Any], Any]
SHADES = 12
CONTOUR = {"colors": "0.6", "linewidths": 0.4, "linestyles": "solid", "zorder": 0.5}
CONTOUR |= {"antialiased": False}  # halves the size of the picture


@redrawn
def paths(
    routes: Mapping[str, Any],
    landscape: Landscape | Mapping[str, Landscape],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    goal: Sequence[Sequence[float]] | None = None,
    goal_label: str = "goal",
    limits: tuple[float, float] = (-11.0, 11.0),
    columns: int = 5,
) -> Picture:
    """Routes {name: (walk, step, 2)} over the contours of ``landscape``, one panel a name.

    ``landscape`` gives heights (point,) for points (point, 2); a mapping has one a name. Twelve
    shades of grey, the darkest on top, with contour lines between them, part the plane into pieces
    of equal area. A route begins at a hollow mark and ends at a filled one; a route of one step is
    its start. ``goal``: the two ends of a line. Both axes go over ``limits``. The description says
    where every route ends. At most 7 walks a panel.
    """
    given = {name: np.asarray(route, dtype=float) for name, route in routes.items()}
    if not given:
        raise ValueError("paths needs at least one route.")
    for name, route in given.items():
        if route.ndim != 3 or route.shape[2] != 2 or not route.size or len(route) > len(COLOURS):
            raise ValueError(
                f"routes[{name!r}] must be (walk, step, 2) with 1 to {len(COLOURS)} walks, not "
                f"{route.shape}."
            )
    columns = min(columns, len(given))
    rows = math.ceil(len(given) / columns)
    side = 6.6 / max(columns, 2)  # inches of a panel
    figure, grid = canvas(
        title, rows, columns, height=0.85 + rows * (side + 0.1), sharex=True, sharey=True
    )
    ticks = np.linspace(*limits, 201)
    across, along = np.meshgrid(ticks, ticks)
    plane = np.stack([across.ravel(), along.ravel()], axis=1)
    middles = MaxNLocator(2).tick_values(*limits)
    middles = [tick for tick in middles if limits[0] <= tick <= limits[1]]
    told = []
    with style():
        for axes, (name, route) in zip(grid.flat, given.items(), strict=False):
            axes.grid(False)
            height = landscape[name] if isinstance(landscape, Mapping) else landscape
            heights = np.asarray(height(plane)).reshape(across.shape)
            levels = np.unique(np.quantile(heights, np.linspace(0, 1, SHADES + 1)))
            shades = [to_hex((1 - 0.4 * i / len(levels),) * 3) for i in range(len(levels) - 1)]
            axes.contourf(across, along, heights, levels=levels, colors=shades, zorder=0)
            axes.contour(across, along, heights, levels=levels, **CONTOUR)
            if goal is not None:
                axes.plot(*zip(*goal, strict=True), color=GREY, linewidth=3.5, marker="", zorder=1)
            for i, walk in enumerate(route):
                thin = walk[:: max(1, len(walk) // 400)]
                colour, marker = COLOURS[i], MARKERS[i]
                axes.plot(thin[:, 0], thin[:, 1], color=colour, marker="", linewidth=1.1)
                look = {"color": colour, "marker": marker, "linestyle": "", "zorder": 3}
                axes.plot(*walk[0], markersize=5, markerfacecolor="white", **look)
                if len(walk) > 1:
                    axes.plot(*walk[-1], markersize=5, **look)
            axes.set(xlim=limits, ylim=limits, aspect="equal")
            axes.set_title(name, fontsize=9 if columns > 2 else 10.5)
            axes.tick_params(labelsize=7.5)
            axes.set_xticks(middles)
            axes.set_yticks(middles)
            ends = [f"({say(x, 2)}, {say(y, 2)})" for x, y in route[:, -1]]
            told.append(f"{name}: {', '.join(ends)}")
        for axes in list(grid.flat)[len(given) :]:
            axes.set_visible(False)
        notes = ["lines join equal heights, darker: higher"]
        if max(route.shape[1] for route in given.values()) > 1:
            notes.append("hollow: start, filled: end")
        if goal is not None:
            notes.append(f"grey line: {goal_label}")
        for axes in grid[-1]:
            axes.set_xlabel(xlabel, fontsize=9)
        for axes in grid[:, 0]:
            axes.set_ylabel(ylabel, fontsize=9)
        figure.supxlabel("; ".join(notes), fontsize=8.5, color=INK)
    alt = f"Paths over a landscape: {sentence(title)} Ends ({xlabel}, {ylabel}): {'; '.join(told)}."
    return Picture(figure, alt)
