"""Training of models that train themselves: trees."""

from __future__ import annotations

import time
from typing import Any

from mtlkit.data.table import Table
from mtlkit.models.trees import Trees
from mtlkit.train.evaluation import evaluate
from mtlkit.train.history import History


def grow(trees: Trees, train: Table, validation: Table | None, seed: int) -> History:
    """Grow ``trees`` and return a history of one epoch, of as many steps as its largest task."""
    start = time.perf_counter()
    trees.train_on(train, validation, seed=seed)
    metrics = None if validation is None else evaluate(trees, validation)
    row: dict[str, Any] = {
        "epoch": 0, "seconds": time.perf_counter() - start, "train": {}, "weights": None,
        "validation": metrics, "score": None,
        "learning_rate": None, "rate": None,
    }  # fmt: skip
    trees.eval()
    return History(
        rows=[row], best_epoch=0, best_epochs=dict.fromkeys(trees.rounds, 0),
        steps=max(trees.rounds.values()), passes_per_step=0,
    )  # fmt: skip
