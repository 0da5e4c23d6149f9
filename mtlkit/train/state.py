"""Where a training run stands, beside the weights: position, best epoch, budget, checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlkit.balance.base import NotFinite
from mtlkit.data.table import Batch
from mtlkit.models.base import MultiTaskModel
from mtlkit.train.best import BestWeights, set_step
from mtlkit.train.callbacks import Callbacks
from mtlkit.train.checkpoint import (
    load_checkpoint,
    refuse_other_run,
    require_place,
    save_checkpoint,
    taking_up,
)
from mtlkit.train.history import EpochSums, History
from mtlkit.train.optim import Optimizers
from mtlkit.train.progress import progress_bar, summary
from mtlkit.train.randomness import random_states, set_random_states


@dataclass(frozen=True)
class Budget:
    """How long a run goes on, in which batches, and where and when it writes its checkpoint."""

    rows: int
    batches: int  # of one epoch
    epochs: int
    batch_size: int
    seed: int
    max_steps: int | None = None
    patience: int | None = None
    checkpoint: str | Path | None = None
    checkpoint_every: int | None = None
    accumulate: int = 1  # batches of one step

    @property
    def steps_of_epoch(self) -> int:
        """Optimiser steps of one epoch; the last may have fewer batches than the others."""
        return -(-self.batches // self.accumulate)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run, if nothing stops it early."""
        whole = self.epochs * self.steps_of_epoch
        return min(whole, self.max_steps or whole)


def saved_option(checkpoint: str | Path | None, option: str) -> Any:
    """An option of the run that the checkpoint holds; None where there is no such file yet."""
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    with taking_up(checkpoint):
        return load_checkpoint(checkpoint)["description"][option]


class RunState:
    """Everything that ``fit`` must remember to continue a run bit for bit.

    Position (epoch, batch), the sums of the running epoch, history, best weights of the model;
    together with the model, the optimisers, the balancer and the random states they make up a
    checkpoint. ``description`` holds the options that must agree for a resume.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        optimizers: Optimizers,
        balancer: Any,
        budget: Budget,
        description: Mapping[str, Any],
        passes_per_step: int = 1,
        callbacks: Callbacks | None = None,
    ) -> None:
        self.model, self.optimizers, self.balancer = model, optimizers, balancer
        self.budget = budget
        self.callbacks = Callbacks([]) if callbacks is None else callbacks
        self.history = History(passes_per_step=passes_per_step)
        self.epoch = 0
        self.batch = 0  # batches of this epoch already done
        self.best = BestWeights(model)
        self.description = {
            "model": type(model).__name__,
            "schema": model.schema.to_dict(),
            "networks stop apart": model.separate,
            "balancer": type(balancer).__name__,
            "number of training rows": budget.rows,
            "batch_size": budget.batch_size,
            "seed": budget.seed,
            "accumulate": budget.accumulate,
            "callbacks": self.callbacks.names,
            **description,
            "parameter shape": {name: list(p.shape) for name, p in model.named_parameters()},
        }
        self.device = next(model.parameters()).device
        self.sums = EpochSums(model.schema.num_tasks, self.device)

    @contextmanager
    def going(self, *, resume: bool, progress: bool) -> Iterator[None]:
        """The block in which the run goes on: from the checkpoint, with a bar, errors named.

        What a balancer says of a number that is not finite gets epoch and batch added.
        """
        path = self.budget.checkpoint
        if path is not None:
            require_place(path)
        self.counting = [m for m in self.model.modules() if isinstance(m, MultiTaskModel)]
        set_step(self.model, 0)
        with progress_bar(self.budget.epochs * self.budget.steps_of_epoch, progress) as self.bar:
            if resume and path is not None and Path(path).exists():
                self.load(path)
                self.bar.update(self.history.steps)
            try:
                yield
            except NotFinite as error:
                self.check_losses()
                step = self.batch // self.budget.accumulate
                raise self._not_finite(str(error).removesuffix("."), step) from error

    @property
    def finished(self) -> bool:
        """Whether budget, early stopping or a callback ends the run before the next epoch."""
        best, patience = self.history.best_epoch, self.budget.patience
        waited = patience is not None and best is not None and self.epoch - 1 - best >= patience
        stopped = self.history.stopped is not None
        return self.epoch >= self.budget.epochs or self._out_of_steps or waited or stopped

    @property
    def _out_of_steps(self) -> bool:
        return self.budget.max_steps is not None and self.history.steps >= self.budget.max_steps

    def batches(self, train: Any) -> Iterator[Batch]:
        """What is left of the epoch, shuffled, on the model's device; ends with the budget."""
        size, seed = self.budget.batch_size, self.budget.seed
        for batch in train.batches(
            size, shuffle=True, seed=seed, epoch=self.epoch, start=self.batch
        ):
            yield batch.to(self.device)
            if self._out_of_steps:
                return

    def grouped(self, train: Any) -> Iterator[list[Batch]]:
        """``batches`` in lists of those that make a step together; the last may be shorter."""
        batches = self.batches(train)
        while group := list(islice(batches, self.budget.accumulate)):
            yield group

    def after_step(self, losses: Tensor, rows: Tensor, weights: Tensor | None = None) -> None:
        """Count a step: losses (task,), and how many rows they are means over, (task,).

        ``weights`` (task,) are those of the balancer, None where it has none. Writes the checkpoint
        when it is due.
        """
        losses = losses.detach()
        self.batch = min(self.batch + self.budget.accumulate, self.budget.batches)
        self.history.steps += 1
        for model in self.counting:
            model.step = self.history.steps
        self.sums.add(losses, rows.to(losses.dtype), weights)
        if self.sums.check_is_due:
            self.check_losses()
        self.bar.update(1)
        every = self.budget.checkpoint_every
        due = self._out_of_steps or (every and self.history.steps % every == 0)
        if self.budget.checkpoint is not None and due and self.batch < self.budget.batches:
            self.save(self.budget.checkpoint)

    def check_losses(self) -> None:
        """Raise ``FloatingPointError`` for the first loss not checked yet that is not finite."""
        bad = self.sums.first_bad()
        if bad is not None:
            name = self.model.schema.task_names[bad[1]]
            what = f"The loss of task {name!r} is not finite"
            raise self._not_finite(what, -(-self.batch // self.budget.accumulate) - bad[0])

    def _not_finite(self, what: str, step: int) -> FloatingPointError:
        """The error for a step of this epoch, from 0."""
        first = step * self.budget.accumulate
        last = min(first + self.budget.accumulate, self.budget.batches) - 1
        batch = f"batch {first} (both" if first == last else f"batches {first} to {last} (all"
        return FloatingPointError(
            f"{what}, in epoch {self.epoch}, {batch} from 0). Try a lower learning "
            'rate or precision="fp32", or look for extreme values there.'
        )

    def end_epoch(self, metrics: dict[str, dict[str, float]] | None, score: float | None) -> None:
        """Close the epoch: its row in the history, its weights if they are the best, the balancer's
        turn, the callbacks', the checkpoint. An epoch that ran out of steps is not complete: it
        skips the balancer's turn and the checkpoint.
        """
        self.check_losses()
        complete = self.batch == self.budget.batches
        names = self.model.schema.task_names
        means, weights = self.sums.mean_losses(), self.sums.mean_weights()
        row = {
            "epoch": self.epoch,
            "seconds": self.sums.seconds,
            "train": dict(zip(names, means, strict=True)),
            "weights": weights and dict(zip(names, weights, strict=True)),
            "validation": metrics,
            "score": score,
            "learning_rate": self.optimizers.learning_rate,
            "rate": self.optimizers.rate,
        }
        self.history.rows.append(row)
        self.best.offer(self.epoch, score, metrics)
        self.history.best_epoch = self.best.latest
        self.history.best_epochs = dict(self.best.epochs) if self.model.separate else None
        self.epoch, self.batch = self.epoch + 1, 0
        self.sums = EpochSums(len(names), self.device)
        if complete:
            self.balancer.end_epoch(torch.tensor(means, dtype=torch.float64))
        self._call_back(row)
        self.bar.set_postfix_str(summary(row))
        if self.budget.checkpoint is not None and complete:
            self.save(self.budget.checkpoint)

    def _call_back(self, row: Mapping[str, Any]) -> None:
        """Let the callbacks look at an epoch's row, and do what they say."""
        rate, stop = self.callbacks.on_epoch_end(row)
        if rate is not None:
            self.optimizers.set_rate(rate)
        if stop is not None:
            self.history.stopped = stop.reason

    @property
    def first_validation(self) -> dict[str, dict[str, float]] | None:
        """The validation metrics of the first epoch, once it is over."""
        return self.history.rows[0]["validation"] if self.history.rows else None

    def finish(self) -> History:
        """Give the model the weights of its best epoch and evaluation mode; return the history."""
        self.best.restore()
        self.model.eval()
        return self.history

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
            **self.sums.state_dict(),
            "rows": self.history.rows,
            "best": self.best.state_dict(),
            "callbacks": self.callbacks.state_dict(),
            "learning_rate": self.optimizers.learning_rate,
            "stopped": self.history.stopped,
        }
        save_checkpoint(path, state)

    def load(self, path: str | Path) -> None:
        """Take up the run that ``path`` holds; another model, table or option is refused."""
        state = load_checkpoint(path)
        with taking_up(path):
            refuse_other_run(path, state["description"], self.description)
            self._take_up(state)

    def _take_up(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.optimizers.set_rate(state["learning_rate"])
        self.balancer.load_state_dict(state["balancer"])
        self.callbacks.load_state_dict(state["callbacks"])
        self.epoch, self.batch, self.history.steps = state["position"]
        self.sums = EpochSums(self.model.schema.num_tasks, self.device)
        self.sums.load_state_dict(state)
        set_step(self.model, self.history.steps)
        self.history.rows, self.history.stopped = list(state["rows"]), state["stopped"]
        if not all(isinstance(row, dict) for row in self.history.rows):
            raise ValueError("its rows are no history")
        self.best.load_state_dict(state["best"], self.device)
        self.history.best_epoch = self.best.latest
        self.history.best_epochs = dict(self.best.epochs) if self.model.separate else None
        set_random_states(state["random"])
