"""What a training run writes down: its history by epoch, and the sums of the epoch that runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(repr=False)
class History:
    """What happened in a training run.

    ``rows``: one dict an epoch: "epoch" (from 0), "seconds" (training and validation), "train"
    {task: mean loss}, "weights" {task: mean weight} or None, "validation" {task: {metric: value}}
    or None, "score" or None, "learning_rate" (what the schedule multiplies) and "rate" (of the last
    step), both None for models that train themselves.
    A mean weight is that of the steps whose batch had a labelled row of the task (NaN: no such
    step). Under a rule that weighs losses the weights multiply the losses; under a rule of the
    Gramian they multiply the gradients on what the tasks share. None: the rule combines gradients
    without weights.
    ``best_epoch``: the epoch whose weights the model has now; where the tasks have networks of
    their own, the last of ``best_epochs`` {task: epoch}, each network's own (None otherwise).
    ``steps``: optimiser steps in all. ``passes_per_step``: backward passes through the shared
    layers in each of them. ``stopped``: the reason that a callback gave to end the run, else None.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_epochs: dict[str, int] | None = None
    steps: int = 0
    passes_per_step: int = 1
    stopped: str | None = None

    def __repr__(self) -> str:
        told = [f"{len(self.rows)} epoch(s)", f"{self.steps} steps"]
        if self.best_epoch is not None:
            told.append(f"best epoch {self.best_epoch}")
        if self.stopped is not None:
            told.append(f"stopped: {self.stopped}")
        return f"History({', '.join(told)}; .rows and .frame() have each epoch)"

    @property
    def backward_passes(self) -> int:
        """Backward passes through the shared layers in all."""
        return self.steps * self.passes_per_step

    @property
    def seconds(self) -> float:
        """Seconds of training and validation over all epochs."""
        return sum(row["seconds"] for row in self.rows)

    def frame(self) -> Any:
        """A polars DataFrame: epoch, part, task, metric, value.

        Part "train" has the metric "loss", "balance" has "weight", "validation" all of its own.
        """
        import polars as pl

        records = []
        for row in self.rows:
            for task, loss in row["train"].items():
                records.append((row["epoch"], "train", task, "loss", loss))
            for task, weight in (row["weights"] or {}).items():
                records.append((row["epoch"], "balance", task, "weight", weight))
            for task, metrics in (row["validation"] or {}).items():
                records += [(row["epoch"], "validation", task, k, v) for k, v in metrics.items()]
        names = {"epoch": pl.Int64, "part": pl.Utf8, "task": pl.Utf8, "metric": pl.Utf8}
        return pl.DataFrame(records, schema={**names, "value": pl.Float64}, orient="row")


class EpochSums:
    """Sums of losses and of loss weights over the running epoch, and its clock.

    A loss counts with the rows it is the mean over; a weight counts in the steps that had such a
    row. ``state_dict`` holds all of it, so that a resumed epoch adds up in the same order.
    """

    def __init__(self, tasks: int, device: torch.device) -> None:
        self.loss_sums = torch.zeros(tasks, device=device)  # loss x observed rows
        self.loss_rows = torch.zeros(tasks, device=device)
        self.unchecked: list[Tensor] = []
        self.weight_sums: Tensor | None = None  # over the steps with a label; None: no weights
        self.weight_steps = torch.zeros(tasks, device=device)
        self.weights: list[tuple[Tensor, Tensor]] = []  # weights, rows: not added up yet
        self.elapsed = 0.0  # seconds before a resume
        self.clock = time.perf_counter()

    def add(self, losses: Tensor, rows: Tensor, weights: Tensor | None) -> None:
        """Count a step: losses (task,), the rows they are means over (task,), weights (task,)."""
        self.loss_sums += losses * rows
        self.loss_rows += rows
        self.unchecked.append(losses)
        if weights is not None:
            self.weights.append((weights.clone(), rows))  # a rule may move its own in place
            if len(self.weights) == 256:  # many at once: one step costs next to nothing
                self._add_weights()

    @property
    def check_is_due(self) -> bool:
        """Whether to read the losses now: on a GPU that makes it wait, so only now and then."""
        return len(self.unchecked) >= (1 if self.loss_sums.device.type == "cpu" else 32)

    def first_bad(self) -> tuple[int, int] | None:
        """(steps ago, task) of the first loss not checked yet that is not finite, else None."""
        if not self.unchecked:
            return None
        bad = ~torch.stack(self.unchecked).isfinite()  # (step, task)
        self.unchecked.clear()
        if not bad.any():
            return None
        step, task = bad.nonzero()[0].tolist()
        return len(bad) - step, task

    def _add_weights(self) -> None:
        """Add the weights noted so far to the sums; without waiting for a GPU."""
        if not self.weights:
            return
        weights, rows = (torch.stack(part) for part in zip(*self.weights, strict=True))
        self.weights.clear()
        labelled = rows > 0  # (step, task)
        if self.weight_sums is None:
            self.weight_sums = torch.zeros_like(self.loss_sums)
        self.weight_sums += torch.where(labelled, weights, 0.0).sum(0)
        self.weight_steps += labelled.sum(0)

    def mean_losses(self) -> list[float]:
        """The mean loss of every task, NaN without an observed row."""
        return (self.loss_sums / self.loss_rows).tolist()

    def mean_weights(self) -> list[float] | None:
        """The mean weight of every task, NaN without a labelled row; None: there are no weights."""
        self._add_weights()
        if self.weight_sums is None:
            return None
        return (self.weight_sums / self.weight_steps).tolist()

    @property
    def seconds(self) -> float:
        """Seconds of this epoch so far, those before a resume included."""
        return self.elapsed + time.perf_counter() - self.clock

    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds_of_epoch": self.seconds,
            "loss_sums": self.loss_sums,
            "loss_rows": self.loss_rows,
            "weight_sums": self.weight_sums,
            "weight_steps": self.weight_steps,
            "weights": self.weights,  # not added up: sums in the same order after a resume
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the epoch of ``state_dict``."""
        device = self.loss_sums.device
        self.elapsed = state["seconds_of_epoch"]
        self.loss_sums += state["loss_sums"].to(device)
        self.loss_rows += state["loss_rows"].to(device)
        if state["weight_sums"] is not None:
            self.weight_sums = state["weight_sums"].to(device)
        self.weight_steps += state["weight_steps"].to(device)
        self.weights = [(w.to(device), n.to(device)) for w, n in state["weights"]]
