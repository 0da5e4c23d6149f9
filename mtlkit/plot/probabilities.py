"""Charts of predicted probabilities: are they calibrated, do they rank well?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtlkit import metrics
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, INK, MARKERS, Picture, canvas, key, say, sentence, style


def _named(values: Any, name: str) -> dict[str, Any]:
    named = dict(values) if isinstance(values, Mapping) else {name: values}
    if not 1 <= len(named) <= len(COLOURS):
        raise ValueError(f"One to {len(COLOURS)} models can be told apart, not {len(named)}.")
    return named


@redrawn
def calibration(
    label: Any,
    prediction: Any,
    *,
    title: str = "Is a predicted 10 % really 10 %?",
    outcome: str = "positive",
    bins: int = 10,
) -> Picture:
    """Observed rate against predicted probability in bins of equal mass, with 95 % intervals.

    label 0 or 1 (row,); prediction (row,), or {model: (row,)} for several models. On the dotted
    line predictions are right on average; ``outcome`` names what is predicted, for the axes.
    """
    models = _named(prediction, "model")
    figure, ((axes,),) = canvas(title, height=4.4, width=6.0)
    entries, told, ends = [], [], []
    with style():
        highest = 0.0
        for i, (name, p) in enumerate(models.items()):
            curve = metrics.calibration_curve(label, p, bins)
            if not len(curve.rate):
                raise ValueError("calibration needs at least one row.")
            off = np.vstack([curve.rate - curve.low, curve.high - curve.rate])
            axes.errorbar(curve.prediction, curve.rate, yerr=np.maximum(off, 0), color=COLOURS[i],
                          marker=MARKERS[i], elinewidth=1, linewidth=1.4)  # fmt: skip
            highest = max(highest, curve.high.max(), curve.prediction.max())
            ends.append((curve.prediction[-1], curve.rate[-1]))
            error, ratio = metrics.ece(label, p, bins), metrics.pcoc(label, p)
            facts = f"ECE {say(error)}, predicted / observed {say(ratio)}"
            entries.append(facts if len(models) == 1 else f"{name}: {facts}")
            told.append(
                f"{name}: ECE {say(error)}, predicted over observed {say(ratio)}; in the highest "
                f"bin it predicts {say(curve.prediction[-1])} and {say(curve.rate[-1])} is observed"
            )
        top = min(1.0, 1.05 * highest)
        axes.plot([0, top], [0, top], color=INK, linestyle=":", linewidth=1.2, marker="")
        below = sum(y < x for x, y in ends) * 2 >= len(ends)  # name the line where no curve ends
        at = (0.82 * top, 0.985 * top) if below else (0.985 * top, 0.86 * top)
        axes.text(*at, "perfect", fontsize=8.5, ha="right", va="top")
        axes.set(xlim=(0, top), ylim=(0, top))
        axes.set(
            xlabel=f"predicted probability of {outcome}", ylabel=f"observed share of {outcome}"
        )
        key(axes, entries)
    rows = len(np.asarray(label))
    alt = f"Calibration curve of {outcome} on {rows:,} rows: {sentence(title)} {'; '.join(told)}."
    return Picture(figure, alt)


@redrawn
def roc(
    label: Any,
    score: Any,
    *,
    title: str = "How many positives for how many false alarms?",
) -> Picture:
    """ROC curve: share of positives found against share of negatives called positive.

    label 0 or 1 (row,); score (row,), or {model: (row,)}. The area under a curve is its AUC.
    """
    models = _named(score, "model")
    y = np.asarray(label)
    if not 0 < y.sum() < len(y):
        raise ValueError("A ROC curve needs rows of both classes.")
    figure, ((axes,),) = canvas(title, height=4.4, width=6.0)
    entries, told = [], []
    with style():
        for i, (name, s) in enumerate(models.items()):
            value = metrics.auc(label, s)
            order = np.argsort(-np.asarray(s, dtype=float), kind="stable")
            ranked, hits = np.asarray(s, dtype=float)[order], y[order]
            last = np.r_[np.flatnonzero(np.diff(ranked)), len(y) - 1]  # one point a distinct score
            found = np.r_[0, np.cumsum(hits)[last] / hits.sum()]
            alarms = np.r_[0, np.cumsum(1 - hits)[last] / (1 - hits).sum()]
            axes.plot(alarms, found, color=COLOURS[i], marker=MARKERS[i],
                      markevery=max(1, len(found) // 10), clip_on=False)  # fmt: skip
            entries.append(f"{name}: AUC {say(value, 4)}")
            at = float(np.interp(0.1, alarms, found))
            told.append(
                f"{name} has AUC {say(value, 4)} and finds {100 * at:.0f} % of the positives at "
                "10 % false alarms"
            )
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1.2, marker="")
        axes.text(0.985, 0.86, "chance", fontsize=8.5, ha="right", va="top")
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        axes.set(xlabel="share of negatives called positive", ylabel="share of positives found")
        key(axes, entries, right=True, top=False)
    return Picture(figure, f"ROC curve: {sentence(title)} {'; '.join(told)}.")
