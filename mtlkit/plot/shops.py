"""What several shops say of each candidate: a small mark a shop, and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mtlkit.comparison.shops import AcrossShops
from mtlkit.plot.differences import MARK
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, GREY, INK, Picture, canvas, listed, sentence, style

COLOUR_OF = {"better": COLOURS[0], "worse": COLOURS[1]}
SHOPS = (-0.3, 0.02)  # where in a row its shops lie, from the top, in parts of its height
MEAN = 0.2  # and where their mean lies


@redrawn
def shops(
    found: Mapping[str, AcrossShops],
    reference: str,
    *,
    title: str,
    label: str,
    category_label: str = "candidate",
    marked: str | None = None,
    ordered: bool = True,
    digits: int = 3,
) -> Picture:
    """One row a candidate: each shop's mean difference to ``reference``, and the mean over shops.

    ``found`` {candidate: ``mtlkit.comparison.across_shops(...)``}, the same shops and direction for
    all; ``label`` names the score. A small circle is one shop, the shops in the same order from the
    top in every row; it is filled where that shop's interval leaves out 0. The diamond is the mean
    with its interval over shops, filled alike. The dotted line is the reference. Where lower is
    better the axis is turned, so that better lies to the right. ``marked`` (the learner's guess)
    gets an arrow. The best stands on top, or the given order with ``ordered=False``; numbers in
    the description have ``digits`` decimals.

    Raises ``ValueError`` for no candidates, and where shops or directions differ.
    """
    if not found:
        raise ValueError("shops needs at least one candidate.")
    names = list(found)
    first = found[names[0]]
    for name in names[1:]:
        if list(found[name].shops) != list(first.shops) or found[name].sign != first.sign:
            raise ValueError(
                f"{name!r} and {names[0]!r} must have the same shops and the same direction: "
                f"shops {listed(map(str, found[name].shops))} with sign {found[name].sign}, and "
                f"{listed(map(str, first.shops))} with {first.sign}."
            )
    turned = -1 if first.sign < 0 else 1
    if ordered:  # the best on top, what has no mean at the bottom
        names.sort(key=lambda name: _rank(turned * found[name].headline.mean))
    line = reference + MARK * (reference == marked)
    shown = {name: name + MARK * (name == marked) for name in names}
    figure, ((axes,),) = canvas(title, height=1.5 + 0.31 * len(names))
    with style():
        for y, name in enumerate(names):
            _draw_row(axes, y, found[name])
        axes.axvline(0, color=INK, linestyle=":", linewidth=1.4)
        axes.set_yticks(range(len(names)), list(shown.values()))
        axes.set_ylim(len(names) - 0.4, -0.6)
        right = " (axis turned: right is better)" if turned < 0 else ""
        axes.set(xlabel=f"{label} minus that of {reference}{right}", ylabel=category_label)
        figure.supxlabel(_legend(first), x=0.99, ha="right", fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.margins(x=0.05)
        axes.grid(axis="y", visible=False)
        if turned < 0:
            axes.invert_xaxis()
        _name_line(axes, f"as good as {line}")
    told = "; ".join(f"{shown[name]} {found[name].sentence(digits)}" for name in names)
    alt = (
        f"{sentence(title)} {label} minus that of {line}, mean over {_number_of(first)} with "
        f"{100 * first.confidence:g} % interval over shops: {told}."
    )
    return Picture(figure, alt)


def _rank(value: float) -> float:
    return math.inf if math.isnan(value) else -value


def _draw_row(axes: Axes, y: int, row: AcrossShops) -> None:
    """The shops as small circles in their order from the top; below them their mean."""
    heights = y + np.linspace(*SHOPS, len(row.shops) + 2)[1:-1]  # (shop,)
    for height, (shop, interval) in zip(heights, row.shops.items(), strict=True):
        colour = COLOUR_OF.get(row.verdicts[shop], GREY)
        axes.plot(interval.mean, height, color=colour, marker="o", markersize=4, linestyle="",
                  markerfacecolor=colour if _clear(interval) else "white",
                  markeredgewidth=1.1)  # fmt: skip
    mean, low, high = row.headline
    colour = COLOUR_OF.get(row.verdict, INK)
    if math.isfinite(low):
        axes.plot([low, high], [y + MEAN] * 2, color=colour, marker="|", markersize=7)
    axes.plot(mean, y + MEAN, color=colour, marker="D", markersize=6, linestyle="",
              markerfacecolor=colour if _clear(row.headline) else "white",
              markeredgewidth=1.4)  # fmt: skip


def _clear(interval: tuple[float, float, float]) -> bool:
    """Whether an interval leaves out 0; one that is not there does not."""
    _, low, high = interval
    return low > 0 or high < 0


def _name_line(axes: Axes, name: str) -> None:
    """Name the line of the reference, above it, on the side with more room."""
    left = float(axes.transAxes.inverted().transform(axes.transData.transform((0, 0)))[0]) < 0.5
    at_top: Any = ("data", "axes fraction")
    axes.annotate(name, (0, 1.0), xytext=(3 if left else -3, 2), ha="left" if left else "right",
                  xycoords=at_top, textcoords="offset points", fontsize=8.5)  # fmt: skip


def _number_of(found: AcrossShops) -> str:
    return f"{len(found.shops)} shop{'' if len(found.shops) == 1 else 's'}"


def _legend(found: AcrossShops) -> str:
    return (
        f"◆ mean over {_number_of(found)}, {100 * found.confidence:g} % interval   "
        "● one shop, its interval clear of 0   ○ not clear of 0"
    )
