"""Training: one visible loop of six steps, with early stopping, checkpoints and exact resume."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlkit.balance import Balancer, FixedWeights
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import SchemaError
from mtlkit.train.checkpoint import random_states, set_random_states
from mtlkit.train.device import autocast, choose_device, choose_precision, place
from mtlkit.train.evaluation import evaluate, main_metric, predict, selection_score
from mtlkit.train.optim import Optimizers, clip_gradients
from mtlkit.train.state import History, RunState

__all__ = ["History", "evaluate", "fit", "main_metric", "predict", "seeded", "selection_score"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers inside the block and restore the old state after it.

    ``with seeded(0): model = MMoE(schema)`` gives the same initial weights every time.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def fit(
    model: MultiTaskModel,
    train: Table,
    validation: Table | None = None,
    *,
    epochs: int = 5,
    batch_size: int = 2048,
    learning_rate: float = 1e-3,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    balancer: Balancer | None = None,
    shared: str = "parameters",
    clip_norm: float | None = None,
    patience: int | None = None,
    reference: Mapping[str, float] | None = None,
    spread: Mapping[str, float] | None = None,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    progress: bool = True,
    max_steps: int | None = None,
) -> History:
    """Train ``model`` in place and return the history.

    Parameters
    ----------
    model, train, validation
        The tables have the model's tasks, in its order. With ``validation`` the model ends with the
        weights of its best epoch by ``selection_score``, otherwise with the last ones; in
        evaluation mode (no dropout) in both cases.
    optimizer, learning_rate, weight_decay
        "adam", "adamw", "lazy_adam" (faster with large tables) or "sgd": ``mtlkit.train.optim``.
    balancer
        Gives the weights w of the total loss, the sum of w_k L_k, or combines the task gradients.
        None: the weights that the schema's tasks carry (1 each unless set).
    shared
        Where a balancer of gradients takes them: "parameters" (exact) or "representation"
        (cheaper). See ``mtlkit.balance.engine.gradient_step``.
    clip_norm
        Largest norm of the combined gradient over all parameters; longer ones are shrunk to it.
    patience
        Stop after this many epochs without a better score. None: never before ``epochs``.
    reference, spread
        For the score: a single-task model's main metric by task, and its spread over seeds.
    device, precision
        "auto", "cpu", "cuda" or "mps"; "auto", "fp32" or "bf16". See ``mtlkit.train.device``.
    seed
        Seeds shuffling and dropout. The initial weights are the caller's: see ``seeded``.
    checkpoint, checkpoint_every, resume
        File to write after every epoch and after every so many steps. With ``resume`` the run
        continues from the file, if there is one, to the very weights of an uninterrupted run.
    max_steps
        End after this many optimiser steps in all.

    Raises ``FloatingPointError`` naming task, epoch and batch when a loss is not finite,
    ``SchemaError`` or ``ValueError`` for a table or option that does not fit, and
    ``CheckpointError`` for the checkpoint of another run.
    """
    home = choose_device(device)
    precision = choose_precision(precision, home, model, min(batch_size, len(train)))
    forward_block = autocast(precision, home)
    _check(model, train, validation, epochs=epochs, batch_size=batch_size, clip_norm=clip_norm)
    model.to(home)
    train, validation = place(train, home), validation and place(validation, home)
    balancer = balancer if balancer is not None else FixedWeights.from_schema(model.schema)
    balancer.bind(model.schema)
    reads_gradients = balancer.needs_gramian or balancer.needs_gradients
    gradient_step = GradientStep(model, balancer, shared, reuse=True) if reads_gradients else None
    optimizers = Optimizers(optimizer, model, learning_rate, weight_decay)
    description = {
        "number of training rows": len(train),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "weight_decay": weight_decay,
        "precision": precision,
        "seed": seed,
        "clip_norm": clip_norm,
        "shared": shared if reads_gradients else None,
    }
    run = RunState(model, optimizers, balancer, description)
    run.history.passes_per_step = gradient_step.passes if gradient_step is not None else 1
    batches_per_epoch = -(-len(train) // batch_size)

    with (
        seeded(seed),
        closing(optimizers),
        progress_bar(epochs * batches_per_epoch, progress) as bar,
    ):
        if resume and checkpoint is not None and Path(checkpoint).exists():
            run.load(checkpoint)
            bar.update(run.history.steps)
        while run.epoch < epochs and not run.finished(patience, max_steps):
            model.train()
            for batch in train.batches(
                batch_size, shuffle=True, seed=seed, epoch=run.epoch, start=run.batch
            ):
                batch = batch.to(home)  # 1. batch
                optimizers.zero_grad()
                before = forward_state(model) if balancer.needs_second_pass else None
                if gradient_step is not None:
                    with run.naming_the_batch():
                        losses = gradient_step.run(batch, forward_block)  # 2. to 5.
                    weights = balancer.last_weights  # (task,), None for a rule without weights
                else:
                    with forward_block():
                        logits = model(batch)  # 2. forward: {task: (batch,)}
                    losses = model.losses(logits, batch)  # 3. task losses: (task,)
                    with run.naming_the_batch():
                        weights = balancer.weights(losses.detach())  # (task,)
                    total = (weights * losses).sum()  # 4. combine
                    total.backward()  # 5. backward
                if clip_norm is not None:
                    clip_gradients(model.parameters(), clip_norm)
                optimizers.step()  # 6. step
                if before is not None:  # the same rows through the moved model
                    with torch.no_grad(), repeated(model, before), forward_block():
                        again = model(batch)
                    balancer.after_step(model.losses(again, batch).detach())

                run.after_step(losses.detach(), model.loss_rows(batch), weights)
                bar.update(1)
                stopped = run.history.steps == max_steps
                inside = run.batch < batches_per_epoch
                every = checkpoint_every and run.history.steps % checkpoint_every == 0
                if checkpoint is not None and inside and (every or stopped):
                    run.save(checkpoint)
                if stopped:
                    break

            metrics = score = None
            if validation is not None:
                metrics = evaluate(model, validation)
                first = run.history.rows[0]["validation"] if run.history.rows else metrics
                score = selection_score(
                    model.schema, metrics, reference=reference, spread=spread, first=first
                )
            complete = run.batch == batches_per_epoch
            row = run.end_epoch(metrics, score)
            if complete:
                balancer.end_epoch(torch.tensor(list(row["train"].values()), dtype=torch.float64))
            bar.set_postfix_str(_summary(row))
            if checkpoint is not None and complete:
                run.save(checkpoint)

    run.restore_best()
    model.eval()
    return run.history


def _check(
    model: MultiTaskModel,
    train: Table,
    validation: Table | None,
    *,
    epochs: int,
    batch_size: int,
    clip_norm: float | None,
) -> None:
    for what, table in (("train", train), ("validation", validation)):
        if table is None:
            continue
        if table.schema.task_names != model.schema.task_names:
            raise SchemaError(
                f"The {what} table has the tasks {', '.join(table.schema.task_names)}, the model "
                f"{', '.join(model.schema.task_names)}: use "
                "table.select_tasks(model.schema.task_names)."
            )
        if len(table) == 0:
            raise ValueError(f"The {what} table has no rows.")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be more than 0, not {clip_norm}.")
    if epochs < 0 or batch_size < 1:
        raise ValueError(
            f"epochs must be 0 or more ({epochs}), batch_size 1 or more ({batch_size})."
        )


@dataclass
class _ForwardState:
    """What a forward pass in training changes beside the output: random numbers and buffers."""

    random: dict[str, Any]
    buffers: list[Tensor]


def forward_state(model: MultiTaskModel) -> _ForwardState:
    """Note the state before a forward pass, so that ``repeated`` can run it again."""
    return _ForwardState(random_states(), [b.clone() for b in model.buffers()])


@contextmanager
def repeated(model: MultiTaskModel, before: _ForwardState) -> Iterator[None]:
    """A block in which a forward pass uses the dropout masks of the pass after ``before``, and
    after which random numbers and buffers (running statistics) are as if it had not happened."""
    now = forward_state(model)
    set_random_states(before.random)
    try:
        yield
    finally:
        set_random_states(now.random)
        for buffer, value in zip(model.buffers(), now.buffers, strict=True):
            buffer.copy_(value)


def progress_bar(total: int, progress: bool, unit: str = "step") -> Any:
    """A bar that goes away when done; TQDM_DISABLE=1 hides it, in a notebook too."""
    from tqdm.auto import tqdm

    hidden = not progress or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(total=total, disable=hidden, unit=unit, leave=False)


def _summary(row: Mapping[str, Any]) -> str:
    parts = [f"{task} {loss:.4f}" for task, loss in row["train"].items()]
    if row["score"] is not None:
        parts.append(f"score {row['score']:.4f}")
    return f"epoch {row['epoch']}: " + ", ".join(parts)
