"""Gradient boosted trees, one model a task: what practitioners try first, as a control."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.data.table import Table
from mtlkit.layers.layout import has_scenario_field
from mtlkit.metrics import auc, poisson_deviance
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.tree_rows import Array, Rows, WholeTable, categories, inputs
from mtlkit.schema import Schema, SchemaError, Task


class Trees(MultiTaskModel):
    """Histogram gradient boosting of scikit-learn, one model a task; nothing is shared.

    The control of every contest: on a table, boosted trees are what a practitioner tries first
    (Friedman 2001, *Annals of Statistics* 29; Ke and others 2017, *LightGBM*, NeurIPS). ``fit``
    lets them train themselves (``train_on``), so ``compare`` and ``evaluate`` take them like a
    network. There is luck in them only where scikit-learn samples (bins of more than 200,000 rows).
    They grow on all cores, whatever threads torch has, to the same numbers. They are no weights:
    ``state_dict`` does not hold them, pickle does.

    A tree reads the dense columns as they are, fields of up to 250 ids (the scenario too) as
    categories, the ids of larger fields (users) as numbers, and of a history its length and its
    three newest ids. A censored count is taken as it stands. Weights of rows are scikit-learn's
    ``sample_weight``; ``min_rows`` counts rows.

    Parameters
    ----------
    schema
        Inputs and tasks.
    learning_rate, leaves, min_rows, l2
        Shrinkage of each tree, the most leaves it has, the fewest rows of a leaf, and the L2
        penalty on the values of the leaves.
    rounds
        Largest number of trees (of each class). Where there are validation rows, each task keeps
        the number that is best there by its main metric.

    Raises ``SchemaError`` for the schema of a ``Join``: its rows have no columns in common.
    """

    separate = True

    def __init__(
        self,
        schema: Schema,
        *,
        learning_rate: float = 0.05,
        leaves: int = 8,
        min_rows: int = 100,
        l2: float = 1.0,
        rounds: int = 300,
    ) -> None:
        super().__init__(schema)
        if isinstance(schema, JoinedSchema):
            names = ", ".join(name for name, _ in schema.parts)
            raise SchemaError(
                f"Trees read the columns of one table, and a join has several ({names}): grow "
                "trees for each table apart, Trees(table.schema)."
            )
        self.options: dict[str, Any] = {
            "learning_rate": learning_rate, "max_leaf_nodes": leaves, "min_samples_leaf": min_rows,
            "l2_regularization": l2, "max_iter": rounds, "early_stopping": False,
        }  # fmt: skip
        self.forests: dict[str, Any] = {}  # {task: scikit-learn's model, or one raw output}
        self.rounds: dict[str, int] = {}  # {task: how often a tree was added (one of each class)}
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # so that it has a device

    def train_on(self, train: Table, validation: Table | None = None, *, seed: int = 0) -> None:
        """Grow the trees of every task on its observed rows of ``train``.

        Raises ``SchemaError`` for a task without an observed label.
        """
        table = WholeTable(self.schema, train)
        later = None if validation is None else WholeTable(self.schema, validation)
        grown = {}
        for task in self.schema.tasks:
            rows = table.rows(task)
            if not len(rows.y):
                raise SchemaError(
                    f"Task {task.name!r} has no observed label in the training rows; drop the task "
                    "or add rows."
                )
            held = None if later is None else later.rows(task)
            grown[task.name] = self._grown(task, rows, held, seed)
        self.forests = {name: forest for name, (forest, _) in grown.items()}
        self.rounds = {name: rounds for name, (_, rounds) in grown.items()}

    def _grown(self, task: Task, train: Rows, later: Rows | None, seed: int) -> tuple[Any, int]:
        """A task's model with its best number of rounds, and that number."""
        from sklearn import ensemble  # loaded where it is needed: it takes a second

        x, y = train.x, train.y
        if task.kind != "regression" and len(np.unique(y)) == 1:  # nothing to split by
            return _usual(task, y, len(y) if train.weight is None else train.weight.sum()), 0
        kind = ensemble.HistGradientBoostingClassifier
        chosen = self.options | {
            "random_state": seed, "categorical_features": categories(self.schema)
        }  # fmt: skip
        if not (task.is_binary or task.kind == "multiclass"):
            kind = ensemble.HistGradientBoostingRegressor
            chosen["loss"] = "poisson" if task.is_count else "squared_error"
        forest = kind(**chosen).fit(x, y, sample_weight=train.weight)
        if later is None or not len(later.y):
            return forest, forest.n_iter_
        scores = [_score(task, z, later) for z in _by_round(task, forest, later.x)]
        if not np.isfinite(scores).any():  # the metric is undefined on these rows
            return forest, forest.n_iter_
        best = int(np.nanargmax(scores)) + 1
        best_kind = kind(**(chosen | {"max_iter": best}))
        return best_kind.fit(x, y, sample_weight=train.weight), best

    def embed(self, batch: Batch) -> Tensor:
        """What the trees read of every row, float64 (batch, column)."""
        return torch.from_numpy(inputs(self.schema, batch))

    def outputs(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits of every task: (batch,), or (batch, classes) for a multiclass task.

        Raises ``ValueError`` before the trees are grown.
        """
        if not self.forests:
            raise ValueError("These trees are not grown yet: call fit(trees, train, validation).")
        return {
            task.name: torch.from_numpy(_raw(task, self.forests[task.name], x.numpy()))
            .float()
            .to(self.place.device)
            for task in self.schema.tasks
        }

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more, where trees do not read it; else ``SchemaError``: grow anew."""
        super().add_scenario(scenario)
        if has_scenario_field(self.schema):
            raise SchemaError(
                f"Trees split by the numbers of scenarios, so they cannot know {scenario!r} "
                "later: grow new ones on tables that have it."
            )

    def task_modules(self, name: str) -> list[nn.Module]:
        """None: trees are no modules."""
        self.schema.task_index(name)
        return []

    def parameter_count(self) -> dict[str, int]:
        """Leaves of all trees at most, counted as parameters of single tasks."""
        trees = sum(n * self.schema.task(name).outputs for name, n in self.rounds.items())
        leaves = trees * self.options["max_leaf_nodes"]
        return {"embedding": 0, "shared": 0, "scenarios": 0, "tasks": leaves, "total": leaves}


def _usual(task: Task, y: Array, rows: float) -> Array:
    """The raw output where all labels are the same: as if half a row (a sale) spoke against it.

    ``rows`` is the number of rows, or what they weigh.
    """
    if task.kind == "multiclass":
        counts = rows * (np.arange(task.outputs) == y[0])
        return np.log((counts + 0.5) / (rows + 0.5))
    if task.is_count:
        return np.array(np.log(max(y[0], 0.5 / rows)))
    return np.array((1 if y[0] else -1) * np.log((rows + 0.5) / 0.5))


def _raw(task: Task, forest: Any, x: Array) -> Array:
    """Logits, standardised outputs or log rates: (row,), or (row, classes)."""
    if isinstance(forest, np.ndarray):
        return np.broadcast_to(forest, (len(x), *forest.shape)).copy()
    if task.is_binary:
        return forest.decision_function(x)
    if task.kind == "multiclass":
        return _all_classes(task, forest, forest.decision_function(x))
    return np.log(forest.predict(x)) if task.is_count else forest.predict(x)


def _by_round(task: Task, forest: Any, x: Array) -> Iterator[Array]:
    """``_raw`` after each round."""
    if task.is_binary:
        yield from forest.staged_decision_function(x)
    elif task.kind == "multiclass":
        for z in forest.staged_decision_function(x):
            yield _all_classes(task, forest, z)
    else:
        for y in forest.staged_predict(x):
            yield np.log(y) if task.is_count else y


def _all_classes(task: Task, forest: Any, z: Array) -> Array:
    """Logits of every class, (row, classes): a class that training never showed gets the least."""
    known = forest.classes_.astype(int)
    if len(known) == 2:  # scikit-learn gives one logit for two classes
        z = np.stack([np.zeros(len(z)), z], axis=1)
    whole = np.repeat(z.min(axis=1, keepdims=True) - 10, task.outputs, axis=1)
    whole[:, known] = z
    return whole


def _score(task: Task, z: Array, rows: Rows) -> float:
    """What orders rounds as the task's main metric does; higher is better."""
    if task.is_binary:
        return auc(rows.y, z, rows.weight)
    if task.kind == "multiclass":
        return float(np.average(z.argmax(1) == rows.y, weights=rows.weight))
    if task.is_count:
        bound = rows.bound if rows.bound.any() else None
        return -poisson_deviance(rows.y, np.exp(z), bound, weight=rows.weight)
    return -float(np.average(np.square(z - rows.y), weights=rows.weight))
