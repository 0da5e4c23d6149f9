"""Training of models that train themselves: trees."""

from __future__ import annotations

import time

from mtlkit.data.table import Table
from mtlkit.models.trees import Trees
from mtlkit.train.evaluation import evaluate
from mtlkit.train.history import History


def grow(trees: Trees, train: Table, validation: Table | None, seed: int) -> History:
    """Grow ``trees`` and return a history of one epoch, of as many steps as its largest task."""
    start = time.perf_counter()
    trees.train_on(train, validation, seed=seed)
    metrics = None if validation is None else evaluate(trees, validation)
    row = {
        "epoch": 0, "seconds": time.perf_counter() - start, "train": {}, "weights": None,
        "validation": metrics, "score": None,
    }  # fmt: skip
    trees.eval()
    steps = max(trees.rounds.values(), default=0)
    return History(rows=[row], best_epoch=0, steps=steps, passes_per_step=0)
