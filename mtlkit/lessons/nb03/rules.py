"""Rules that set the weights of the losses of six tasks before training: {task: weight}."""

from collections.abc import Callable, Sequence

import numpy as np

from mtlkit import fit
from mtlkit.balance import GradientObserver
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.train import seeded

Weights = dict[str, float]


def by_rows(train: Table) -> Weights:
    """The share of rows with a label: every labelled row counts the same."""
    return {task: float(train.mask(task).float().mean()) for task in train.schema.task_names}


def by_loudness(train: Table) -> Weights:
    """1 / the usual size of the error of the mean: p - y of a yes or no, 2 (o - y) of an amount."""
    weights = {}
    for task in train.schema.tasks:
        spread = float(train.label(task.name)[train.mask(task.name)].std())
        weights[task.name] = 1 / spread if task.is_binary else 0.5  # amounts are standardised
    return weights


def by_base_loss(train: Table) -> Weights:
    """1 / the loss of the best constant guess on training rows."""
    weights = {}
    for task in train.schema.tasks:
        p = float(train.label(task.name)[train.mask(task.name)].mean())
        entropy = -p * np.log(p) - (1 - p) * np.log(1 - p) if task.is_binary else 1.0
        weights[task.name] = 1 / float(entropy)
    return weights


def by_gradient_norm(
    train: Table, build: Callable[[int], MultiTaskModel], batch_size: int
) -> Weights:
    """1 / the mean norm of each task's gradient in an epoch of equal weights; they sum to 6."""
    observer = GradientObserver()
    with seeded(99):
        model = build(99)
    fit(model, train, epochs=1, batch_size=batch_size, balancer=observer, seed=99, progress=False)
    norms = observer.norms.nanmean(0).numpy()  # (task,)
    weights = len(norms) / norms / (1 / norms).sum()
    return dict(zip(train.schema.task_names, weights.tolist(), strict=True))


def drawn(tasks: Sequence[str], number: int, shop: int) -> list[Weights]:
    """So many random weights, one for each trial of the search."""
    draw = np.random.default_rng([3, shop])
    return [{task: 10 ** draw.uniform(-2.5, 0.5) for task in tasks} for _ in range(number)]
