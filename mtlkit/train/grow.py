"""Training of models that train themselves: trees, counting rules."""

from __future__ import annotations

import time
from typing import Any

from mtlkit.data.table import Table
from mtlkit.train.evaluation import evaluate
from mtlkit.train.history import History


def train_itself(model: Any, train: Table, validation: Table | None, seed: int) -> History:
    """Let a model with ``train_on`` train itself; the history is one epoch.

    Its steps are those of the largest task where the model counts them (``rounds``), else 1.
    """
    start = time.perf_counter()
    model.train_on(train, validation, seed=seed)
    metrics = None if validation is None else evaluate(model, validation)
    row: dict[str, Any] = {
        "epoch": 0, "seconds": time.perf_counter() - start, "train": {}, "weights": None,
        "validation": metrics, "score": None,
        "learning_rate": None, "rate": None,
    }  # fmt: skip
    model.eval()
    rounds = getattr(model, "rounds", None) or dict.fromkeys(model.schema.task_names, 1)
    return History(
        rows=[row], best_epoch=0, best_epochs=dict.fromkeys(rounds, 0),
        steps=max(rounds.values()), passes_per_step=0,
    )  # fmt: skip
