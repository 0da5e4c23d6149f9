"""A constant on the logits of binary tasks, around a trained model: a correction of its chances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.losses.chain import log_joint
from mtlkit.models.around import Around
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import SchemaError

Shifts = Mapping[str, float | Mapping[str, float]]  # {task: shift} or {task: {scenario: shift}}


class LogitShift(Around):
    """z' = z + b of the row's scenario and the task: ``model`` with its chances moved.

    A model like any other, for ``predict``, ``evaluate``, ``export_onnx`` and ``extend``; the one
    inside is not copied. Within a scenario the order of rows stays, and so does their AUC (to the
    digits of float32, which may join two logits that are very close); between scenarios it changes
    where their shifts differ. Chained tasks are moved on their conditional
    logit, and ``predict_joint`` is the product of what comes out along the chain.

    Parameters
    ----------
    model
        A trained model.
    shifts
        {binary task: b} for all its rows, or {binary task: {scenario: b}}, in logits (ln of odds).
        Tasks and scenarios that are not named are not moved. Rows of an unknown scenario have the
        name ``schema.unknown_scenario_name``; a scenario that ``extend`` adds begins as theirs.

    ``mtlkit.train.calibrate`` finds shifts on validation rows,
    ``mtlkit.data.DownsampledNegatives(...).shifts`` are those of negatives left out in training.
    Raises ``SchemaError`` for something that is no model, a task that is unknown or not binary and
    an unknown scenario; ``ValueError`` for a shift that is not a finite number.
    """

    constant_buffers = ("shift",)  # told by their content: see mtlkit.train.described
    shift: Tensor  # (scenario + 1, task)

    def __init__(self, model: MultiTaskModel, shifts: Shifts) -> None:
        if not isinstance(model, MultiTaskModel):
            raise SchemaError(
                f"LogitShift stands around a model, not a {type(model).__name__}: "
                "mtlkit.wrap(module, schema) makes one of a plain module."
            )
        super().__init__(model.schema)
        self.network = model
        self.batch_statistics = model.batch_statistics
        if model.has_page_losses:
            self.has_page_losses = True
        self.register_buffer("shift", self._table(shifts))
        self.train(model.training)

    def _table(self, shifts: Shifts) -> Tensor:
        """The shifts as float32 (scenario + 1, task); the last row is the unknown scenario's."""
        schema = self.schema
        table = torch.zeros(schema.num_scenarios + 1, schema.num_tasks)
        for name, value in shifts.items():
            column = schema.task_index(name)
            if not schema.task(name).is_binary:
                raise SchemaError(
                    f"shifts names task {name!r}, which is not binary: a shift of the logit moves "
                    "chances of 0 or 1 alone."
                )
            if not isinstance(value, Mapping):
                table[:, column] = _finite(value, name)
                continue
            for scenario, own in value.items():
                unknown = scenario == schema.unknown_scenario_name
                row = schema.num_scenarios if unknown else schema.scenario_index(scenario)
                table[row, column] = _finite(own, f"{name}, {scenario}")
        return table

    @property
    def shifts(self) -> dict[str, dict[str, float]]:
        """{binary task: {scenario: b}}, the unknown scenario last."""
        schema = self.schema
        names = (*schema.scenario_names, schema.unknown_scenario_name)
        columns = zip(schema.tasks, self.shift.T.tolist(), strict=True)
        return {
            task.name: dict(zip(names, own, strict=True)) for task, own in columns if task.is_binary
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._moved(self.network(batch), batch)

    def outputs(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self._moved(self.network.outputs(x, batch), batch)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        return self._moved(self.network.decode(shared, batch), batch)

    def _moved(self, logits: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        own = self.shift[batch.scenario]  # (batch, task)
        moved = {
            task.name: logits[task.name] + own[:, i]
            for i, task in enumerate(self.schema.tasks)
            if task.is_binary
        }
        return {**logits, **moved}

    def losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.network.losses(logits, batch)

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.network.row_losses(logits, batch)

    def loss_rows(self, batch: Batch) -> Tensor:
        return self.network.loss_rows(batch)

    @torch.no_grad()
    def predict_joint(self, batch: Batch) -> dict[str, Tensor]:
        """P(the task and all its ancestors), (batch,), of every binary task."""
        return {name: p.exp() for name, p in log_joint(self.schema, self(batch)).items()}

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more, in place; it is moved as rows of the unknown one are."""
        super().add_scenario(scenario)
        self.shift = torch.cat([self.shift, self.shift[-1:]])


def _finite(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"shifts has {value!r} for {where}; it must be a finite number.")
    return number
