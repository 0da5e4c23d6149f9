"""Predictions and metrics of a model on a table, and the rule that selects among models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mtlkit.data.agreement import require_inputs, require_table, require_tasks
from mtlkit.data.batch import Batch
from mtlkit.data.table import Table
from mtlkit.losses.chain import chained, joint_labels, parents_first
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import Schema, Task

KEPT = ("labels", "observed", "scenario", "censored", "weight")  # of a batch, for metrics
Metrics = dict[str, dict[str, float]]  # {task: {metric: value}}


def main_metric(task: Task) -> tuple[str, int]:
    """The metric that selects models, and +1 where higher is better, -1 where lower is."""
    if task.kind == "binary":
        return "auc", 1
    if task.kind == "multiclass":
        return "accuracy", 1
    if task.kind == "regression":
        return ("r2_log" if task.log1p else "r2"), 1  # the scale that the loss has
    return "poisson_deviance", -1


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block and restore the model's mode after it."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def predict(
    model: MultiTaskModel, table: Table, batch_size: int = 8192, device: str = "auto"
) -> dict[str, np.ndarray]:
    """Predictions for every row in natural units: {task: (row,)}, or (row, classes) for multiclass.

    ``device`` "auto" is where the model is; another one moves the model there. The mode of the
    model (training or evaluation) is left as it was. Labels are not read. Raises ``SchemaError``
    for a table with other inputs than the model's, or of another encoder.
    """
    require_table(table)
    require_inputs(model.schema, table.schema)
    predictions, _ = _predict(model, table, batch_size, device)
    return predictions


def _predict(
    model: MultiTaskModel, table: Table, batch_size: int, device: str, joint: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Predictions, and the columns of the same rows that metrics need.

    With ``joint`` the columns also hold "joint chances", "joint labels" and "joint known", each
    (row, chained task).
    """
    names = chained(model.schema) if joint else ()
    places = [model.schema.task_index(name) for name in names]
    if device != "auto":
        model.to(device)
    home = next(model.parameters()).device
    parts: dict[str, list[np.ndarray]] = {task.name: [] for task in model.schema.tasks}
    columns: dict[str, list[np.ndarray]] = {}
    with evaluating(model):
        for batch in table.batches(batch_size):
            batch = batch.to(home)
            chances = model.predict(batch)
            for name, value in chances.items():
                parts[name].append(value.cpu().numpy())
            kept = {n: getattr(batch, n) for n in KEPT}
            kept["scenario"] = batch.scenario.int()  # half the bytes, for millions of rows
            if names:
                happened, known = joint_labels(model.schema, batch.labels, batch.observed)
                kept |= {"joint labels": happened[:, places], "joint known": known[:, places]}
                both = _joint_chances(model, batch, chances)
                kept["joint chances"] = torch.stack([both[name] for name in names], dim=1)
            for name, value in kept.items():
                if value is not None:
                    columns.setdefault(name, []).append(value.cpu().numpy())
    empty = {
        t.name: np.empty((0, t.outputs) if t.outputs > 1 else 0, dtype=np.float32)
        for t in model.schema.tasks
    }
    predictions = {k: _joined(parts, k) if v else empty[k] for k, v in parts.items()}
    return predictions, {name: _joined(columns, name) for name in columns}


def _joined(parts: dict[str, list[np.ndarray]], name: str) -> np.ndarray:
    """The pieces of one column as one array; they are given up at once."""
    whole = np.concatenate(parts[name])
    parts[name] = []
    return whole


def _joint_chances(
    model: MultiTaskModel, batch: Batch, chances: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """P(the task and all its ancestors), (batch,): the model's own, or the product of chances."""
    predict_joint = getattr(model, "predict_joint", None)
    if predict_joint is not None:
        return predict_joint(batch)
    result: dict[str, Tensor] = {}
    for name in parents_first(model.schema):
        task = model.schema.task(name)
        if task.is_binary:
            own = chances[name]
            result[name] = own if task.given is None else result[task.given] * own
    return result


def evaluate(
    model: MultiTaskModel,
    table: Table,
    by_scenario: bool = False,
    group: str | None = None,
    *,
    joint: bool = False,
    auc_parts: bool = False,
    batch_size: int = 8192,
) -> Any:
    """Metrics of every task on its observed rows: {task: {metric: value}}.

    Where the table has weights every metric is weighted (see ``mtlkit.metrics``).
    With ``by_scenario`` {scenario: {task: {metric: value}}}, with an entry more ("unknown") where
    rows have no known scenario. With ``group``, the name of a key
    column of the table (a user), binary tasks also get "gauc" and "gauc_skipped", the share of
    rows whose group has one class only. Tasks are the model's; the table may have more. Metrics are
    computed over all rows at once, never averaged over batches; without rows they are NaN. Raises
    ``SchemaError`` for a task that the table lacks and ``KeyError`` for an unknown ``group``.

    A task with a parent (``given``) is measured where its parent happened. With ``joint`` it also
    gets "joint_auc", "joint_log_loss", ...: the same metrics of the joint event "the task and all
    its ancestors" (clicked *and* bought: pCTCVR), over all rows where ``chain.joint_labels`` knows
    it. Its chance is ``model.predict_joint``, or else the product of the predictions along the
    chain. That product is right if each factor is the chance *given that the parent happened*; a
    model whose factor is the chance on any row would need the events to be independent.

    With ``auc_parts`` binary tasks also get "auc_within", "auc_between" and "pairs_within": the AUC
    of the pairs of rows within one scenario, that of the pairs between two, and the share of the
    first (``mtlkit.metrics.auc_parts``). ``by_scenario`` has no such entries: there all pairs are
    within. ``scenario_table`` has both in one table, with numbers of rows.
    """
    scored = score(model, table, group, joint=joint, batch_size=batch_size)
    if by_scenario:
        return {name: scored.metrics(number) for name, number in scored.scenarios().items()}
    return scored.metrics(auc_parts=auc_parts)


class Scored(NamedTuple):
    """A model's predictions for a table's rows, and the columns that its metrics need."""

    schema: Schema
    predictions: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]
    groups: np.ndarray | None

    def scenarios(self) -> dict[str, int]:
        """{scenario: its number}; the unknown one comes last, where rows are of it."""
        names = [*self.schema.scenario_names]
        if (self.columns["scenario"] == self.schema.unknown_scenario).any():
            names.append(self.schema.unknown_scenario_name)
        return {name: number for number, name in enumerate(names)}

    def rows(self, scenario: int | None = None) -> np.ndarray:
        """Which rows are of a scenario, bool (row,); None: all of them."""
        place = self.columns["scenario"]
        return np.ones(len(place), dtype=bool) if scenario is None else place == scenario

    def metrics(self, scenario: int | None = None, *, auc_parts: bool = False) -> Metrics:
        """The metrics of every task on the rows of a scenario; None: on all of them."""
        schema, columns, rows = self.schema, self.columns, self.rows(scenario)
        result: Metrics = {}
        place = columns["scenario"] if auc_parts else None
        for i, task in enumerate(schema.tasks):
            mask = rows & columns["observed"][:, i]
            label, prediction = columns["labels"][mask, i], self.predictions[task.name][mask]
            censored = None
            if task.kind == "censored_count" and "censored" in columns:
                censored = columns["censored"][mask, i]
            given = (_at(self.groups, mask), _at(columns.get("weight"), mask), _at(place, mask))
            result[task.name] = _measured(task, label, prediction, *given, censored)
        for i, name in enumerate(chained(schema) if "joint known" in columns else ()):
            mask = rows & columns["joint known"][:, i]
            label, chance = columns["joint labels"][mask, i], columns["joint chances"][mask, i]
            given = (_at(self.groups, mask), _at(columns.get("weight"), mask), _at(place, mask))
            values = _measured(schema.task(name), label, chance, *given)
            result[name] |= {f"joint_{metric}": value for metric, value in values.items()}
        return result


def score(
    model: MultiTaskModel,
    table: Table,
    group: str | None = None,
    *,
    joint: bool = False,
    batch_size: int = 8192,
) -> Scored:
    """What ``evaluate`` measures, its arguments checked; scenarios and metrics are asked of it."""
    require_table(table)
    require_inputs(model.schema, table.schema)
    require_tasks(model.schema, table.schema)
    if table.schema.task_names != model.schema.task_names:
        table = table.select_tasks(model.schema.task_names)
    groups = None
    if group is not None:
        keys = getattr(table, "keys", {})
        if group not in keys:
            raise KeyError(
                f"The table has no key {group!r} to group by; it has {', '.join(keys) or 'none'}."
            )
        groups = keys[group].cpu().numpy()
    predictions, columns = _predict(model, table, batch_size, "auto", joint)
    if not columns:
        raise ValueError("The table to evaluate on has no rows.")
    if not columns["observed"].any():
        raise ValueError(
            "The table to evaluate on has no label of any task: predict(model, table) scores rows "
            "without labels."
        )
    return Scored(model.schema, predictions, columns, groups)


def _at(column: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if column is None else column[rows]


def _measured(
    task: Task,
    label: np.ndarray,
    prediction: np.ndarray,
    group: np.ndarray | None,
    weight: np.ndarray | None,
    place: np.ndarray | None,
    censored: np.ndarray | None = None,
) -> dict[str, float]:
    from mtlkit import metrics  # scipy is slow to import: only when needed

    values = metrics.task_metrics(task, label, prediction, censored, weight=weight)
    if task.is_binary and group is not None:
        grouped = metrics.gauc(label, prediction, group, weight)
        values["gauc"], values["gauc_skipped"] = grouped.value, grouped.skipped_rows
    if task.is_binary and place is not None:
        parts = metrics.auc_parts(label, prediction, place, weight)
        values |= {"auc_within": parts.within, "auc_between": parts.between}
        values["pairs_within"] = parts.share
    return {name: float(value) for name, value in values.items()}


def selection_score(
    schema: Schema,
    metrics: Mapping[str, Mapping[str, float]],
    *,
    reference: Mapping[str, float] | None = None,
    spread: Mapping[str, float] | None = None,
    first: Mapping[str, Mapping[str, float]] | None = None,
) -> float:
    """One number for metrics of many tasks, higher is better: the rule that selects an epoch.

    The mean over tasks of the improvement d_k of the main metric M_k (sign s_k):

    - with ``reference`` {task: value of a trained single-task model} and ``spread`` {task: standard
      deviation of that value over seeds}: d_k = s_k (M_k - reference_k) / spread_k
    - with ``reference`` alone: d_k = s_k (M_k - reference_k) / abs(reference_k)
    - without: d_k = 1 - gap_k / gap_k(first), the share closed of the gap to the perfect value that
      the ``first`` epoch of the same run left; gap = 1 - M for AUC, accuracy and R2, the deviance
      itself for counts

    A task whose metric is undefined (NaN: one class only, no rows) is left out; NaN if all are.
    Raises ``ValueError`` when ``reference`` or ``spread`` lacks a task or a spread is not above 0.
    """
    if spread is not None and reference is None:
        raise ValueError("spread is the unit of the difference to reference: give reference too.")
    improvements = []
    for task in schema.tasks:
        name, sign = main_metric(task)
        value = metrics[task.name][name]
        if reference is not None:
            base = _entry(reference, task.name, "reference")
            unit = abs(base) if spread is None else _entry(spread, task.name, "spread")
            if not unit > 0:
                what = "spread" if spread is not None else "reference"
                raise ValueError(f"The {what} of task {task.name!r} must not be {unit!r}.")
            improvements.append(sign * (value - base) / unit)
        else:
            start = metrics if first is None else first
            gap, first_gap = _gap(value, sign), _gap(start[task.name][name], sign)
            improvements.append(1 - gap / first_gap if first_gap != 0 else -gap)
    defined = [x for x in improvements if not math.isnan(x)]
    return sum(defined) / len(defined) if defined else math.nan


def deviance_explained(
    metrics: Mapping[str, Mapping[str, float]],
    tasks: Iterable[str] | None = None,
    *,
    constant: Mapping[str, Mapping[str, float]] | None = None,
) -> float:
    """Mean over tasks of the share of a constant guess's loss that is gone: 1 perfect, 0 as bad.

    D2 = 1 - deviance / deviance of the constant. That is R2 for a regression and 1 - normalized
    entropy (McFadden's R2) for a binary or multiclass task; the constant is the mean of these
    very labels. A count has no such metric: give ``constant``, the metrics of
    ``models.Constant(train)`` on the same rows, for 1 - its deviance / the constant's.

    ``metrics`` is what ``evaluate`` returns; ``tasks`` chooses among them, default all. A task
    whose share is undefined (NaN: one class only, no rows) is left out; NaN if all are. Raises
    ``ValueError`` for no task, an unknown one, and one without a metric to compute the share from.
    Source: McFadden in *Frontiers in Econometrics*, 1974; Hastie, Tibshirani, Wainwright,
    *Statistical Learning with Sparsity*, 2015, equation 3.11.
    """
    names = list(metrics) if tasks is None else list(tasks)
    if not names:
        raise ValueError("deviance_explained needs at least one task.")
    shares = [_share_explained(name, metrics, constant) for name in names]
    defined = [x for x in shares if not math.isnan(x)]
    return sum(defined) / len(defined) if defined else math.nan


def _share_explained(
    task: str,
    metrics: Mapping[str, Mapping[str, float]],
    constant: Mapping[str, Mapping[str, float]] | None,
) -> float:
    if task not in metrics:
        raise ValueError(f"metrics lacks task {task!r}; it has {', '.join(metrics) or 'none'}.")
    found = metrics[task]
    if "r2" in found:
        return float(found["r2"])
    if "normalized_entropy" in found:
        return 1 - float(found["normalized_entropy"])
    if "poisson_deviance" not in found:
        raise ValueError(
            f"{task!r} has no r2, normalized_entropy or poisson_deviance. Give the metrics of all "
            f"rows, {{task: {{metric: value}}}}, not those by scenario."
        )
    if constant is None or "poisson_deviance" not in constant.get(task, {}):
        raise ValueError(
            f"{task!r} is a count: give constant=evaluate(Constant(train), table), "
            "the metrics of a constant guess on the same rows."
        )
    base = float(constant[task]["poisson_deviance"])
    return 1 - float(found["poisson_deviance"]) / base if base else math.nan


def _entry(values: Mapping[str, float], task: str, what: str) -> float:
    if task not in values:
        raise ValueError(f"{what} lacks task {task!r}; it has {', '.join(values) or 'none'}.")
    return float(values[task])


def _gap(value: float, sign: int) -> float:
    return 1 - value if sign > 0 else value
