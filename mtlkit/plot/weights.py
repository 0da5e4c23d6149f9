"""The loss weights that balancers gave during training, one panel a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import (
    COLOURS,
    INK,
    MARKERS,
    Picture,
    canvas,
    listed,
    say,
    sentence,
    style,
)


@redrawn
def loss_weights(histories: Mapping[str, Any], *, title: str, columns: int = 3) -> Picture:
    """Mean weight of every task by epoch, one small panel a run, all on the same axes.

    ``histories`` {name: history of ``mtlkit.train.fit``}, of the same tasks (at most 7). A dotted
    line marks 1, as loud as in the plain sum. The axis is logarithmic where all weights are above
    0. An epoch without a label of a task leaves a gap. The description tells the last weights.

    Raises ``ValueError`` for no history, one without epochs or without weights (a rule that
    combines gradients has none), other tasks, or more than 7 tasks.
    """
    tasks = _tasks(histories)
    weights = {
        name: np.array([[row["weights"][task] for task in tasks] for row in history.rows], float)
        for name, history in histories.items()
    }  # (epoch, task)
    known = np.concatenate([w[np.isfinite(w)] for w in weights.values()])
    columns = min(columns, len(weights))
    rows = math.ceil(len(weights) / columns)
    figure, grid = canvas(title, rows, columns, height=1.2 + 1.9 * rows, sharex=True, sharey=True)
    told = []
    with style():
        for panel, (name, values) in zip(grid.flat, weights.items(), strict=False):
            epochs = np.arange(1, len(values) + 1)
            for k, task in enumerate(tasks):
                panel.plot(epochs, values[:, k], color=COLOURS[k], marker=MARKERS[k], label=task)
            panel.axhline(1.0, color=INK, linestyle=":", linewidth=1.2, zorder=1)
            panel.set_title(name)
            ends = ", ".join(f"{t} {say(w)}" for t, w in zip(tasks, values[-1], strict=True))
            told.append(f"{name}: {ends}")
        first = grid[0, 0]
        first.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(known) and known.min() > 0:
            first.set_yscale("log")
            few = (1.0, 3.0) if known.max() > 8 * known.min() else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
            first.yaxis.set_major_locator(LogLocator(subs=few, numticks=12))
            first.yaxis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
            first.yaxis.set_minor_formatter(NullFormatter())
        for panel in list(grid.flat)[len(weights) :]:
            panel.set_visible(False)
        for panel in list(grid.flat)[max(0, len(weights) - columns) : len(weights)]:
            panel.set_xlabel("epoch")
            panel.tick_params(labelbottom=True)
        figure.supylabel("mean weight (dotted: 1)", fontsize=9.5)
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(tasks), fontsize=9)
    alt = f"{sentence(title)} Weights in the last epoch: {'; '.join(told)}."
    return Picture(figure, alt)


def _tasks(histories: Mapping[str, Any]) -> list[str]:
    """The tasks that all histories have weights of."""
    if not histories:
        raise ValueError("loss_weights needs at least one history.")
    tasks: list[str] | None = None
    for name, history in histories.items():
        if not history.rows:
            raise ValueError(f"The history of {name!r} has no epochs yet: train first.")
        for row in history.rows:
            if row["weights"] is None:
                raise ValueError(
                    f"The history of {name!r} has no weights: its rule combines gradients."
                )
        own = list(history.rows[0]["weights"])
        tasks = own if tasks is None else tasks
        if own != tasks:
            raise ValueError(f"{name!r} has the tasks {listed(own)}, the first {listed(tasks)}.")
    assert tasks is not None
    if len(tasks) > len(COLOURS):
        raise ValueError(f"At most {len(COLOURS)} tasks can be told apart, not {len(tasks)}.")
    return tasks
