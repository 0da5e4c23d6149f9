"""Charts that compare models: differences with intervals, and trade-offs between two aims."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.ticker import MaxNLocator

from mtlkit.comparison import pareto_front
from mtlkit.metrics import metric_name
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import (
    COLOURS,
    GREY,
    INK,
    Picture,
    canvas,
    ink,
    label_points,
    listed,
    say,
    sentence,
    style,
)

WORDS = {"better": (COLOURS[0], "o"), "worse": (COLOURS[1], "s"), "no difference seen": (GREY, "D")}


@redrawn
def bars_with_intervals(
    comparison: Any,
    *,
    metric: str | None = None,
    scenario: str = "all",
    title: str | None = None,
) -> Picture:
    """Difference of every candidate to the reference, with its interval, one panel a task.

    ``comparison`` comes from ``mtlkit.compare``. A filled mark: the interval leaves out 0.
    The x axis is turned so that better always lies to the right.
    """
    rows = comparison.table(metric, scenario).to_dicts()
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    rivals = [name for name in comparison.candidates if name != comparison.reference]
    if not rivals:
        raise ValueError("There is only the reference: nothing to compare it with.")
    seeds = f"{len(comparison.seeds)} paired seeds"
    title = title or f"Difference to {comparison.reference}, {seeds} (hollow: none seen)"
    columns = min(3, len(tasks))
    lines_of_panels = math.ceil(len(tasks) / columns)
    height = 0.75 + lines_of_panels * (1.05 + 0.38 * len(rivals))
    figure, grid = canvas(title, lines_of_panels, columns, height=max(height, 2.4), sharey=True)
    told = []
    with style():
        for axes, task in zip(grid.flat, tasks, strict=False):
            mine = {row["candidate"]: row for row in rows if row["task"] == task}
            name, sign = next((r["metric"], r["sign"]) for r in mine.values())
            axes.axvline(0, color=INK, linewidth=1)
            for y, rival in enumerate(rivals):
                row = mine[rival]
                told.append(_told_difference(rival, task, row))
                if not math.isfinite(row["difference"]):
                    continue
                colour, marker = WORDS.get(row["verdict"], (GREY, "D"))
                if math.isfinite(row["low"]):
                    axes.plot([row["low"], row["high"]], [y, y], color=colour, marker="|")
                fill = colour if row["verdict"] in ("better", "worse") else "white"
                axes.plot(row["difference"], y, color=colour, marker=marker, markersize=7,
                          markerfacecolor=fill)  # fmt: skip
                if row["verdict"] in ("better", "worse"):
                    place = (row["difference"], y)
                    axes.annotate(row["verdict"], place, xytext=(0, 6), ha="center", fontsize=8,
                                  textcoords="offset points", color=ink(colour))  # fmt: skip
            axes.set(title=task, xlabel=f"difference in {metric_name(name)}\n{_turned(sign)}")
            axes.set_yticks(range(len(rivals)), rivals)
            axes.set_ylim(len(rivals) - 0.5, -0.65)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.margins(x=0.15)
            if sign < 0:
                axes.invert_xaxis()
        for axes in grid[:, 0]:
            axes.set_ylabel("model")
        for axes in list(grid.flat)[len(tasks) :]:
            axes.set_visible(False)
    percent = f"{100 * comparison.confidence:g} %"
    alt = (
        f"Differences to {comparison.reference} with {percent} intervals over "
        f"{len(comparison.seeds)} paired seeds, on {comparison.on} rows: {'; '.join(told)}."
    )
    return Picture(figure, alt)


def _turned(sign: int) -> str:
    return {1: "(right is better)", -1: "(axis turned: right is better)"}.get(sign, "")


def _told_difference(rival: str, task: str, row: Mapping[str, Any]) -> str:
    text = f"{rival} on {task}: {metric_name(row['metric'])} {say(row['mean'], 4)}, "
    text += f"difference {say(row['difference'])}"
    if math.isfinite(row["low"]):
        text += f" ({say(row['low'])} to {say(row['high'])})"
    return f"{text}, {row['verdict']}"


@redrawn
def trade_off(
    points: Mapping[str, tuple[float, float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    better: tuple[int, int] = (1, 1),
) -> Picture:
    """Two aims against each other, one point a model; the Pareto front is filled and joined.

    ``points`` {name: (x, y)}; ``better`` says for x and y whether higher (+1) or lower (-1) is
    better. A point is on the front when no other is at least as good in both and better in one.
    """
    if not points:
        raise ValueError("trade_off needs at least one point.")
    if any(sign not in (-1, 1) for sign in better):
        raise ValueError(f"better must hold +1 or -1 for x and for y, not {better}.")
    kept = pareto_front([(better[0] * x, better[1] * y) for x, y in points.values()])
    front = sorted((n for n, on in zip(points, kept) if on), key=lambda name: points[name])
    figure, ((axes,),) = canvas(title, height=3.9)
    with style():
        joined = [points[name] for name in front]
        axes.plot(*zip(*joined, strict=True), color=COLOURS[0], marker="", linewidth=1.3)
        for name, (x, y) in points.items():
            on_front = name in front
            colour = COLOURS[0] if on_front else GREY
            axes.plot(x, y, color=colour, marker="o" if on_front else "s", markersize=7,
                      markerfacecolor=colour if on_front else "white")  # fmt: skip
        words = [{1: "higher is better", -1: "lower is better"}[sign] for sign in better]
        axes.set(xlabel=f"{xlabel} ({words[0]})", ylabel=f"{ylabel} ({words[1]})")
        axes.margins(0.15)
        label_points(axes, {n: (*p, COLOURS[0] if n in front else GREY) for n, p in points.items()})
    told = [f"{name} at {xlabel} {say(x)}, {ylabel} {say(y)}" for name, (x, y) in points.items()]
    alt = f"Trade-off: {sentence(title)} {'; '.join(told)}. "
    return Picture(figure, alt + f"Not beaten in both aims: {listed(front)}.")
