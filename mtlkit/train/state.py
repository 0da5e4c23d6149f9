"""The state of a training run beside the weights: counters, loss sums, best weights, checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlkit.balance.base import NotFinite
from mtlkit.models.base import MultiTaskModel
from mtlkit.train.checkpoint import (
    load_checkpoint,
    random_states,
    refuse_other_run,
    save_checkpoint,
    set_random_states,
)
from mtlkit.train.optim import Optimizers


@dataclass
class History:
    """What happened in a training run.

    ``rows``: one dict an epoch: "epoch" (from 0), "seconds" (training and validation), "train"
    {task: mean loss}, "weights" {task: mean weight} or None, "validation" {task: {metric: value}}
    or None, "score" or None.
    A mean weight is that of the steps whose batch had a labelled row of the task (NaN: no such
    step). Under a rule that weighs losses the weights multiply the losses; under a rule of the
    Gramian they multiply the gradients on what the tasks share. None: the rule combines gradients
    without weights.
    ``best_epoch``: the epoch whose weights the model has now. ``steps``: optimiser steps in all.
    ``passes_per_step``: backward passes through the shared layers in each of them.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    steps: int = 0
    passes_per_step: int = 1

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


class RunState:
    """Everything that ``fit`` must remember to continue a run bit for bit.

    Position (epoch, batch), sums of losses and of loss weights over the running epoch, history,
    best weights of the model; together with the model, the optimisers, the balancer and the random
    states they make up a checkpoint.
    ``description`` holds the options that must agree for a resume.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        optimizers: Optimizers,
        balancer: Any,
        description: Mapping[str, Any],
    ) -> None:
        self.model, self.optimizers, self.balancer = model, optimizers, balancer
        self.history = History()
        self.epoch = 0
        self.batch = 0  # batches of this epoch already done
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] | None = None
        self.elapsed = 0.0  # seconds of this epoch spent before a resume
        self.description = {
            "model": type(model).__name__,
            "schema": model.schema.to_dict(),
            "parameter shape": {name: list(p.shape) for name, p in model.named_parameters()},
            "balancer": type(balancer).__name__,
            **description,
        }
        self.device = next(model.parameters()).device
        self._start_epoch()

    def _start_epoch(self) -> None:
        tasks = self.model.schema.num_tasks
        self.loss_sums = torch.zeros(tasks, device=self.device)  # loss x observed rows
        self.loss_rows = torch.zeros(tasks, device=self.device)
        self._unchecked: list[Tensor] = []
        self.weight_sums: Tensor | None = None  # over the steps with a label; None: no weights
        self.weight_steps = torch.zeros(tasks, device=self.device)
        self._weights: list[tuple[Tensor, Tensor]] = []  # weights, rows: not added up yet
        self._clock = time.perf_counter()

    def after_step(self, losses: Tensor, observed: Tensor, weights: Tensor | None = None) -> None:
        """Count a step: losses (task,), and the rows (batch, task) that they are means over.

        ``weights`` (task,) are those of the balancer, None where it has none.
        """
        rows = observed.sum(0).to(losses.dtype)
        self.loss_sums += losses * rows
        self.loss_rows += rows
        self.batch += 1
        self.history.steps += 1
        self._unchecked.append(losses)
        # reading a loss makes a GPU wait, so there it is done now and then
        if len(self._unchecked) >= (1 if losses.device.type == "cpu" else 32):
            self.check_losses()
        if weights is not None:
            self._weights.append((weights.clone(), rows))  # a rule may move its own in place
            if len(self._weights) == 256:  # many at once: one step costs next to nothing
                self._add_weights()

    def _add_weights(self) -> None:
        """Add the weights noted so far to the sums; without waiting for a GPU."""
        if not self._weights:
            return
        weights, rows = (torch.stack(part) for part in zip(*self._weights, strict=True))
        self._weights.clear()
        labelled = rows > 0  # (step, task)
        if self.weight_sums is None:
            self.weight_sums = torch.zeros_like(self.loss_sums)
        self.weight_sums += torch.where(labelled, weights, 0.0).sum(0)
        self.weight_steps += labelled.sum(0)

    def check_losses(self) -> None:
        """Raise ``FloatingPointError`` for the first loss not checked yet that is not finite."""
        if not self._unchecked:
            return
        bad = ~torch.stack(self._unchecked).isfinite()  # (step, task)
        first_batch = self.batch - len(self._unchecked)
        self._unchecked.clear()
        if bad.any():
            step, task = bad.nonzero()[0].tolist()
            name = self.model.schema.task_names[task]
            raise self._not_finite(f"The loss of task {name!r} is not finite", first_batch + step)

    @contextmanager
    def naming_the_batch(self) -> Iterator[None]:
        """Add epoch and batch to what a balancer says of a number that is not finite."""
        try:
            yield
        except NotFinite as error:
            self.check_losses()
            raise self._not_finite(str(error).removesuffix("."), self.batch) from error

    def _not_finite(self, what: str, batch: int) -> FloatingPointError:
        return FloatingPointError(
            f"{what}, in epoch {self.epoch}, batch {batch} (both from 0). Try a lower learning "
            'rate or precision="fp32", or look for extreme values in that batch.'
        )

    def end_epoch(
        self, metrics: dict[str, dict[str, float]] | None, score: float | None
    ) -> dict[str, Any]:
        """Close the epoch: add its row to the history and keep its weights if they are the best."""
        self.check_losses()
        self._add_weights()
        names = self.model.schema.task_names
        means = (self.loss_sums / self.loss_rows).tolist()  # NaN: no observed row in the epoch
        weights = None
        if self.weight_sums is not None:
            weights = (self.weight_sums / self.weight_steps).tolist()
        row = {
            "epoch": self.epoch,
            "seconds": self.seconds_of_epoch(),
            "train": dict(zip(names, means, strict=True)),
            "weights": weights and dict(zip(names, weights, strict=True)),
            "validation": metrics,
            "score": score,
        }
        self.history.rows.append(row)
        if score is None or math.isnan(score) or score > self.best_score:
            self.history.best_epoch = self.epoch
            if score is not None:
                self.best_score = score if not math.isnan(score) else self.best_score
                self.best_weights = {
                    k: v.detach().clone() for k, v in self.model.state_dict().items()
                }
        self.epoch, self.batch, self.elapsed = self.epoch + 1, 0, 0.0
        self._start_epoch()
        return row

    def seconds_of_epoch(self) -> float:
        return self.elapsed + time.perf_counter() - self._clock

    def finished(self, patience: int | None, max_steps: int | None) -> bool:
        """Whether early stopping or the limit of steps ends the run before the next epoch."""
        if max_steps is not None and self.history.steps >= max_steps:
            return True
        best = self.history.best_epoch
        return patience is not None and best is not None and self.epoch - 1 - best >= patience

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint, atomically."""
        self.check_losses()
        state = {
            "description": self.description,
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "balancer": self.balancer.state_dict(),
            "random": random_states(),
            "position": [self.epoch, self.batch, self.history.steps],
            "seconds_of_epoch": self.seconds_of_epoch(),
            "loss_sums": self.loss_sums,
            "loss_rows": self.loss_rows,
            "weight_sums": self.weight_sums,
            "weight_steps": self.weight_steps,
            "weights": self._weights,  # not added up: sums in the same order after a resume
            "rows": self.history.rows,
            "best": [self.history.best_epoch, self.best_score],
            "best_weights": self.best_weights,
        }
        save_checkpoint(path, state)

    def load(self, path: str | Path) -> None:
        """Take up the run that ``path`` holds; another model, schema or option is refused."""
        state = load_checkpoint(path)
        refuse_other_run(path, state["description"], self.description)
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.balancer.load_state_dict(state["balancer"])
        self.epoch, self.batch, self.history.steps = state["position"]
        self._start_epoch()
        self.elapsed = state["seconds_of_epoch"]
        self.loss_sums += state["loss_sums"].to(self.device)
        self.loss_rows += state["loss_rows"].to(self.device)
        if state["weight_sums"] is not None:
            self.weight_sums = state["weight_sums"].to(self.device)
        self.weight_steps += state["weight_steps"].to(self.device)
        self._weights = [(w.to(self.device), n.to(self.device)) for w, n in state["weights"]]
        self.history.rows = state["rows"]
        self.history.best_epoch, self.best_score = state["best"]
        if state["best_weights"] is not None:
            self.best_weights = {k: v.to(self.device) for k, v in state["best_weights"].items()}
        set_random_states(state["random"])
