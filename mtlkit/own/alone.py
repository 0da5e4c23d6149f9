"""How well one column, or any prediction, tells a label: one number that compares."""

from __future__ import annotations

import numpy as np

from mtlkit.data.table import Table
from mtlkit.metrics import auc
from mtlkit.schema import Task

NAN = float("nan")
BINS = 64  # of an amount, with equal numbers of training rows
PRIOR_ROWS = 5.0  # how many rows the mean of all rows stands for beside those of a value
FEWEST = 10  # rows of a class, or rows in all, below which luck tells labels
WORDS = {"binary": "an AUC", "multiclass": "a share of the errors avoided"}


def measure_name(task: Task) -> str:
    """What ``strength`` is called in a sentence, with its article."""
    return WORDS.get(task.kind, "a squared rank correlation")


def strength(task: Task, label: np.ndarray, prediction: np.ndarray) -> float:
    """How well ``prediction`` tells ``label`` (row,); 1 is all, NaN where there are too few rows.

    Binary: AUC, (row,) scores. Multiclass: (accuracy - m) / (1 - m), m the share of the largest
    class, (row, class) scores. Amounts and counts: squared rank correlation, 0 for a negative one.
    """
    if len(label) < FEWEST:
        return NAN
    if task.is_binary:
        ones = int(label.sum())
        return NAN if min(ones, len(label) - ones) < FEWEST else auc(label, prediction)
    if task.kind == "multiclass":
        most = np.bincount(label.astype(int)).max() / len(label)
        right = (prediction.argmax(1) == label).mean()
        return NAN if len(label) * (1 - most) < FEWEST else float((right - most) / (1 - most))
    if np.ptp(label) == 0 or np.ptp(prediction) == 0:
        return NAN if np.ptp(label) == 0 else 0.0
    return max(0.0, float(np.corrcoef(_ranks(label), _ranks(prediction))[0, 1])) ** 2


def by_luck(task: Task, label: np.ndarray, deviations: float) -> float:
    """The ``strength`` on labels (row,) that is so many deviations above what luck alone gives."""
    if task.is_binary:
        ones = float(label.sum())
        less, more = max(ones, 1.0), max(len(label) - ones, 1.0)
        return 0.5 + deviations * float(np.sqrt((1 / less + 1 / more) / 12))
    if task.kind == "multiclass":
        most = np.bincount(label.astype(int)).max() / len(label) if len(label) else 1.0
        return deviations * float(np.sqrt(most / max(len(label) * (1 - most), 1.0)))
    return deviations**2 / max(len(label), 1)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on, (row,); equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def fields(table: Table) -> dict[str, np.ndarray]:
    """Every single column that a model reads, (row,): ids, amounts, the scenario's number."""
    schema = table.schema
    columns = {c.name: table.categorical[:, i].numpy() for i, c in enumerate(schema.categorical)}
    for name, part in schema.dense_slices.items():
        if part.stop - part.start == 1:
            columns[name] = table.dense[:, part.start].numpy()
    return columns


def told_by(task: Task, train: np.ndarray, y: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Predictions of ``later`` rows from one column alone: the labels' mean of its value or bin.

    ``train``, ``y`` (row,) and ``later`` (k,); (k,), or (k, classes) for a multiclass task.
    """
    if train.dtype.kind == "f":
        edges = np.unique(np.quantile(train, np.linspace(0, 1, BINS + 1)[1:-1]))
        train, later = np.searchsorted(edges, train), np.searchsorted(edges, later)
    size = int(max(train.max(initial=0), later.max(initial=0))) + 1
    counts = np.bincount(train, minlength=size)[:, None]
    targets = np.eye(task.outputs)[y.astype(int)] if task.outputs > 1 else y[:, None]
    sums = np.stack([np.bincount(train, t, size) for t in targets.T], axis=1)  # (value, output)
    means = (sums + PRIOR_ROWS * targets.mean(0)) / (counts + PRIOR_ROWS)
    return means[later] if task.outputs > 1 else means[later, 0]
