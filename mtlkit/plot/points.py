"""Points of several groups in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, MARKERS, Picture, canvas, listed, say, sentence, style


@redrawn
def points(
    places: Any,
    groups: Sequence[str],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    height: float = 3.8,
) -> Picture:
    """One point a row, coloured and shaped by its group: places (row, 2), ``groups`` a name a row.

    The description says where the middle of each group lies. At most 7 groups.
    """
    at = np.asarray(places, dtype=float)
    if at.ndim != 2 or at.shape[1] != 2 or not len(at):
        raise ValueError(f"places must be (row, 2) with one row or more, not {at.shape}.")
    if len(groups) != len(at):
        raise ValueError(f"{len(groups)} groups for {len(at)} points: give one a row.")
    names = list(dict.fromkeys(groups))
    if len(names) > len(COLOURS):
        raise ValueError(f"{len(names)} groups; at most {len(COLOURS)} can be told apart.")
    names.sort()
    member = np.asarray(groups, dtype=object)
    figure, ((axes,),) = canvas(title, height=height)
    told = []
    with style():
        for i, name in enumerate(names):
            mine = at[member == name]
            axes.scatter(
                mine[:, 0], mine[:, 1], s=15, alpha=0.75, linewidth=0, label=name,
                color=COLOURS[i], marker=MARKERS[i],
            )  # fmt: skip
            middle = " and ".join(say(float(value), 2) for value in mine.mean(axis=0))
            told.append(f"{len(mine)} of {name} around {middle}")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    alt = f"Points: {sentence(title)} {ylabel} against {xlabel}: {listed(told)}."
    return Picture(figure, alt)
