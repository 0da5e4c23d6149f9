"""Charts of numbers: lines, learning curves, rates by category, distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from mtlkit.metrics import metric_name
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    Picture,
    canvas,
    end_labels,
    key,
    listed,
    say,
    sentence,
    style,
    with_unit,
)


def _pick(names: Sequence[Any], i: int) -> Any:
    return names[i % len(names)]


@redrawn
def lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    height: float = 3.6,
) -> Picture:
    """Lines over a common x, named at their ends.

    ``series`` {name: y values, same length as x}; ``bands`` {name: (low, high)} shades an interval
    around a line; ``levels`` {name: y} adds dotted level lines (an oracle, a base rate).
    """
    at = np.asarray(x, dtype=float)
    if not series or not len(at):
        raise ValueError("lines needs at least one series and one x value.")
    figure, ((axes,),) = canvas(title, height=height)
    entries = []
    told = []
    with style():
        for i, (name, values) in enumerate(series.items()):
            y = np.asarray(values, dtype=float)
            if y.shape != at.shape:
                raise ValueError(f"Series {name!r} has {y.size} values and x has {at.size}.")
            colour = _pick(COLOURS, i)
            every = max(1, len(at) // 12)
            axes.plot(at, y, color=colour, marker=_pick(MARKERS, i), markevery=every, clip_on=False)
            if bands and name in bands:
                low, high = (np.asarray(edge, dtype=float) for edge in bands[name])
                axes.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
            told.append(told_line(name, at, y))
            known = np.flatnonzero(np.isfinite(y))
            if len(known):
                entries.append((float(y[known[-1]]), name, colour))
        for name, level in (levels or {}).items():
            axes.axhline(level, color=INK, linestyle=":", linewidth=1.4)
            entries.append((level, name, INK))
            told.append(f"level line {name} at {say(level)}")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if log_x:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis, at)
        elif np.all(at == np.round(at)):
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        if log_y:
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)
        left, right = axes.get_xlim()
        axes.set_xlim(left, at.max() if at.min() < at.max() else right)
        end_labels(axes, entries)
    span = f"from {say(at.min())} to {say(at.max())}"
    alt = f"Line chart: {sentence(title)} {ylabel} against {xlabel} {span}. "
    return Picture(figure, alt + "; ".join(told) + ".")


def plain_ticks(axis: Any, values: np.ndarray | None = None) -> None:
    """Plain numbers on a logarithmic axis: at the values where they are few and lie well apart."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    if (
        values is not None
        and len(values) <= 6
        and (np.diff(np.log10(np.sort(values))) > 0.25).all()
    ):
        axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
    axis.set_minor_formatter(NullFormatter())


def told_line(name: str, x: np.ndarray, y: np.ndarray) -> str:
    known = np.flatnonzero(np.isfinite(y))
    if not len(known):
        return f"{name} is undefined throughout"
    first, last = known[0], known[-1]
    text = f"{name} goes from {say(y[first])} to {say(y[last])}"
    low, high = known[np.argmin(y[known])], known[np.argmax(y[known])]
    if low not in (first, last):
        text += f", lowest {say(y[low])} at {say(x[low])}"
    if high not in (first, last):
        text += f", highest {say(y[high])} at {say(x[high])}"
    return text


# The main metric of each kind of task comes first among those a validation row can hold.
MAIN_METRICS = ("auc", "accuracy", "r2_log", "r2", "poisson_deviance")


@redrawn
def learning_curves(
    history: Any,
    *,
    metric: str | None = None,
    tasks: Sequence[str] | None = None,
    title: str = "Learning curves",
) -> Picture:
    """Training loss by epoch, and below it a validation metric, one column a task (at most 4).

    ``history`` comes from ``mtlkit.train.fit``. Where validation has a log-loss it joins the
    training loss: the two have the same unit, and their gap is over-fitting. A dashed line marks
    the epoch whose weights the model keeps, for networks that stop apart each task's own.
    ``metric`` None takes each task's main metric. Raises ``ValueError`` for a history without
    epochs (of trees, too) and for an unknown task or metric.
    """
    rows = history.rows
    if not rows:
        raise ValueError("The history has no epochs yet: train first.")
    if not rows[0]["train"]:
        raise ValueError("The history has no training losses: trees are not trained by epochs.")
    names = list(tasks) if tasks is not None else list(rows[0]["train"])
    unknown = sorted(set(names) - set(rows[0]["train"]))
    if unknown:
        raise ValueError(
            f"The history has no task {unknown[0]!r}; it has {listed(rows[0]['train'])}."
        )
    names = names[:4]
    epochs = np.array([row["epoch"] for row in rows]) + 1
    validated = rows[0].get("validation") is not None
    count = 2 if validated else 1
    figure, axes = canvas(title, count, len(names), height=2.1 * count + 0.7, sharex=True)
    told = []
    apart = getattr(history, "best_epochs", None) or {}  # of networks that stop apart
    epoch_label = "epoch" + (" (dashed: kept)" if history.best_epoch is not None else "")
    with style():
        for column, task in enumerate(names):
            curves = {"training": np.array([row["train"][task] for row in rows], dtype=float)}
            if validated and "log_loss" in rows[0]["validation"][task]:
                held = [row["validation"][task]["log_loss"] for row in rows]
                curves["validation"] = np.array(held, dtype=float)
            top = axes[0, column]
            for i, y in enumerate(curves.values()):
                top.plot(epochs, y, color=COLOURS[i], marker=MARKERS[i])
            top.set(title=task, ylabel="loss", xlabel=epoch_label)
            text = f"{task}: " + ", ".join(
                f"{name} loss from {say(y[0])} to {say(y[-1])}" for name, y in curves.items()
            )
            if validated:
                known = rows[0]["validation"][task]
                shown = metric or next((m for m in MAIN_METRICS if m in known), next(iter(known)))
                if shown not in known:
                    raise ValueError(
                        f"Task {task!r} has no metric {shown!r}; it has {listed(known)}."
                    )
                y = np.array([row["validation"][task][shown] for row in rows], dtype=float)
                below = axes[1, column]
                below.plot(epochs, y, color=COLOURS[2], marker=MARKERS[2])
                below.set(xlabel=epoch_label, ylabel=f"validation {metric_name(shown)}")
                text += f", validation {metric_name(shown)} from {say(y[0])} to {say(y[-1])}"
            if history.best_epoch is not None:
                kept = apart.get(task, history.best_epoch) + 1
                for panel in axes[:, column]:
                    panel.axvline(kept, color=GREY, linestyle="--", linewidth=1)
            for panel in axes[:, column]:
                panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
                panel.yaxis.set_major_locator(MaxNLocator(4))
            if len(epochs) == 1:
                top.set_xlim(0.5, 1.5)
            key(top, list(curves), right=all(y[0] >= y[-1] for y in curves.values()))
            told.append(text)
        if validated:
            for panel in axes[0]:
                panel.set_xlabel("")
    alt = f"Learning curves: {sentence(title)} Over {len(epochs)} epoch(s). {'; '.join(told)}."
    if apart:
        alt += " Best epochs: " + ", ".join(f"{task} {apart[task] + 1}" for task in names) + "."
    elif history.best_epoch is not None:
        alt += f" The best epoch is {history.best_epoch + 1}."
    return Picture(figure, alt)


@redrawn
def rates_by(
    categories: Sequence[str],
    rates: Sequence[float],
    intervals: Sequence[tuple[float, float]] | None = None,
    *,
    title: str,
    label: str,
    category_label: str,
    unit: str = "",
    overall: float | None = None,
    overall_label: str = "all",
    ordered: bool = True,
    limits: tuple[float, float] | None = None,
) -> Picture:
    """One mark a category, with its interval: rates, means or amounts, the largest on top.

    ``intervals``: (low, high) a category. ``overall`` draws a dotted line, named by
    ``overall_label``. ``ordered=False`` keeps the given order (first on top). ``limits``: the axis
    covers at least these, say (0, 100) for per cent.
    """
    if len(categories) != len(rates) or (intervals is not None and len(intervals) != len(rates)):
        raise ValueError("categories, rates and intervals must have one entry each a category.")
    if not len(rates):
        raise ValueError("rates_by needs at least one category.")
    order = list(range(len(rates)))
    if ordered:
        order.sort(key=lambda i: (-float(rates[i]), str(categories[i])))
    figure, ((axes,),) = canvas(title, height=1.3 + 0.3 * len(order))
    with style():
        for y, i in enumerate(order):
            if intervals is not None:
                axes.plot(intervals[i], [y, y], color=COLOURS[0], marker="|", linewidth=1.6)
            axes.plot(float(rates[i]), y, color=COLOURS[0], marker="o", markersize=7)
            right = max(float(rates[i]), float(intervals[i][1]) if intervals is not None else 0)
            axes.annotate(say(float(rates[i])), (right, y), xytext=(9, 0), va="center",
                          textcoords="offset points", fontsize=9,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
        axes.set_yticks(range(len(order)), [str(categories[i]) for i in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set(xlabel=with_unit(label, unit), ylabel=category_label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        if max(abs(float(rate)) for rate in rates) >= 1000:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
        axes.margins(x=0.12 if intervals is None else 0.17)
        if limits is not None:
            axes.plot(limits, [0, 0], linestyle="", marker="")  # the axis covers both
        axes.grid(axis="y", visible=False)
        if overall is not None:
            axes.axvline(overall, color=INK, linestyle=":", linewidth=1.4)
            at_top: Any = ("data", "axes fraction")
            name = f"{overall_label}: {say(overall)}"
            axes.annotate(name, (overall, 1.0), xytext=(3, 1), fontsize=8.5,
                          xycoords=at_top, textcoords="offset points")  # fmt: skip
    told = []
    for i in order:
        span = ""
        if intervals is not None:
            span = f" ({say(intervals[i][0])} to {say(intervals[i][1])})"
        told.append(f"{categories[i]} {say(float(rates[i]))}{span}")
    alt = f"{sentence(title)} {with_unit(label, unit)} by {category_label}: {', '.join(told)}."
    if overall is not None:
        named = "Over all" if overall_label == "all" else overall_label.capitalize()
        alt += f" {named}: {say(overall)}."
    return Picture(figure, alt)


@redrawn
def distribution(
    values: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    title: str,
    label: str,
    unit: str = "",
    bins: int = 40,
    log_x: bool = False,
    what: str = "rows",
) -> Picture:
    """Histogram of one column, or of several on a common axis, one below the other.

    A dashed line marks the median. ``log_x`` needs values above 0. ``what`` says what each number
    belongs to.
    """
    groups = dict(values) if isinstance(values, Mapping) else {"": values}
    columns = {name: np.asarray(column, dtype=float).ravel() for name, column in groups.items()}
    for name, column in columns.items():
        if not column.size or not np.isfinite(column).all():
            raise ValueError(f"Column {name!r} needs one or more values, all finite.")
    everything = np.concatenate(list(columns.values()))
    if log_x and everything.min() <= 0:
        raise ValueError(f"log_x needs values above 0; the smallest is {everything.min():g}.")
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    whole = np.all(everything == np.round(everything)) and high - low < bins and not log_x
    edges = np.linspace(low, high, bins + 1)
    if whole:
        edges = np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    elif log_x:
        edges = np.geomspace(low, high, bins + 1)
    height = max(3.0, 1.2 + 1.25 * len(columns))
    figure, grid = canvas(title, len(columns), 1, height=height, sharex=True)
    told = []
    with style():
        for i, (axes, (name, column)) in enumerate(zip(grid[:, 0], columns.items(), strict=True)):
            share = np.histogram(column, edges)[0] / column.size
            axes.stairs(share, edges, fill=True, color=_pick(COLOURS, i), alpha=0.75)
            median = float(np.median(column))
            axes.axvline(median, color=INK, linestyle="--", linewidth=1.2)
            axes.annotate(f"median {say(median)}", (median, 1.0), xytext=(4, -3), fontsize=8.5,
                          xycoords=("data", "axes fraction"), textcoords="offset points",
                          va="top")  # fmt: skip
            axes.set(title=name, ylabel=f"share of {what}")
            axes.set_ylim(0, share.max() * 1.25)
            axes.yaxis.set_major_locator(MaxNLocator(3))
            if log_x:
                axes.set_xscale("log")
                plain_ticks(axes.xaxis)
            p10, p90 = np.quantile(column, [0.1, 0.9])
            named = f"{name}: " if name else ""
            told.append(
                f"{named}{column.size:,} {what}, median {say(median)}, mean "
                f"{say(float(column.mean()))}, 80 % lie between {say(float(p10))} and "
                f"{say(float(p90))}, largest {say(float(column.max()))}"
            )
        grid[-1, 0].set_xlabel(with_unit(label, unit) + (", log scale" if log_x else ""))
    alt = f"Histogram: {sentence(title)} {with_unit(label, unit)}. {'; '.join(told)}."
    return Picture(figure, alt)
