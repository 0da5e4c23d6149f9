"""Training: one visible loop of six steps, with early stopping, checkpoints and exact resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.balance.fixed import FixedWeights
from mtlkit.data.agreement import require_inputs, require_table, require_tasks
from mtlkit.data.sampler import Sampler, require_sampler
from mtlkit.data.table import Table
from mtlkit.data.whole_pages import require_whole_pages
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.wrap import unwrapped
from mtlkit.schema import SchemaError
from mtlkit.train.accumulate import Accumulation
from mtlkit.train.callbacks import Callback, Callbacks
from mtlkit.train.checkpoint import FALL
from mtlkit.train.device import autocast, choose_device, choose_precision, place
from mtlkit.train.evaluation import evaluate, selection_score
from mtlkit.train.grow import train_itself
from mtlkit.train.history import History
from mtlkit.train.identity import describe_run
from mtlkit.train.optim import Optimizers, clip_gradients
from mtlkit.train.randomness import SecondLook, seeded
from mtlkit.train.state import Budget, RunState, saved_option


def fit(
    model: MultiTaskModel,
    train: Table,
    validation: Table | None = None,
    *,
    epochs: int = 8,
    batch_size: int = 512,
    sampler: Sampler | None = None,
    learning_rate: float = 4e-3,
    schedule: str = "linear",
    warmup_steps: int = 0,
    accumulate: int = 1,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    row_prior: float | None = 0.07,
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
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    max_steps: int | None = None,
) -> History:
    """Train ``model`` in place and return the history.

    A model with ``train_on(train, validation, seed=...)``, as ``Trees``, trains itself: tables and
    seed concern it; no other option does, the balancer neither, and a checkpoint or sampler is
    refused.

    Parameters
    ----------
    model, train, validation
        The tables have the model's tasks, in its order. With ``validation`` the model ends with the
        weights of its best epoch by ``selection_score`` (``SingleTask``: each network with those of
        its own), otherwise with the last ones; in evaluation mode in both cases. Where a table has
        weights (``Table.weight``), losses are weighted means and so are its metrics.
    sampler
        What an epoch reads of ``train``: ``HomogeneousBatches()`` (one scenario a batch),
        ``BalancedScenarios(power)`` (tail scenarios more often), ``DownsampledNegatives(task,
        keep)`` or ``WholePages(pages)`` (for losses of pages); each says what it does to
        calibration. Validation is never sampled. None: every row once, shuffled. See
        ``mtlkit.data.Sampler``.
    optimizer, learning_rate, weight_decay
        "adam", "adamw", "lazy_adam" (pays from some 300,000 ids on) or "sgd": see
        ``mtlkit.train.optim``.
    schedule, warmup_steps
        "linear": the rate falls evenly to 0 over all steps of the run (epochs x steps of one, or
        ``max_steps``), which takes the noise of single batches out of the last weights. "cosine":
        it falls along half a cosine. "constant": it stays. Before that it rises over the first
        ``warmup_steps``. See ``mtlkit.train.schedule``.
    accumulate
        Batches that make one step together (the last step of an epoch may have fewer), for steps of
        more rows than memory holds: every task's mean goes over the rows of all of them, and the
        balancer acts once, on the gradients added up. ``accumulate=4`` with ``batch_size=512``
        trains as ``batch_size=2048``, but for dropout and batch statistics.
    row_prior
        Deviation of a Gaussian prior on the rows of the embedding tables: ids with few rows each
        (users) are not learned by heart. None: no prior. See ``RowPrior``.
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
        continues from the file, if there is one, to the very weights of an uninterrupted run. Where
        the rate falls it has the same budget (epochs, batches, ``max_steps``), which the rate falls
        over; a run that is to be lengthened later needs ``schedule="constant"``.
    callbacks
        Objects with ``on_epoch_end(row)``, which may log, stop the run or set the rate, and nothing
        else: see ``mtlkit.train.callbacks``. One that keeps state needs ``state_dict`` and
        ``load_state_dict`` where ``resume`` is set.
    max_steps
        End after this many optimiser steps in all. A falling rate falls over these.

    Raises ``FloatingPointError`` naming task, epoch and batch when a loss is not finite,
    ``SchemaError`` or ``ValueError`` for a table or option that does not fit, and
    ``CheckpointError`` for a checkpoint that is damaged, cannot be written, or is of a run of other
    rows, model or options (``mtlkit.train.identity`` says what may change).
    """
    given = dict(locals())  # every argument: a checkpoint tells by them which run it is of
    forward, model = unwrapped(model)  # two only where torch.compile made something of the model
    check_arguments(
        model, train, validation, epochs=epochs, batch_size=batch_size, accumulate=accumulate,
        clip_norm=clip_norm,
    )  # fmt: skip
    called = Callbacks(callbacks, resume)
    if hasattr(model, "train_on"):
        kind = type(model).__name__
        if checkpoint is not None:
            raise ValueError(f"{kind} learns in one go and writes no checkpoint: leave it out.")
        if sampler is not None:
            raise ValueError(f"{kind} reads all rows at once and takes no sampler: leave it out.")
        return train_itself(model, train, validation, seed)
    home = choose_device(device)
    if precision == "auto" and resume:
        precision = saved_option(checkpoint, "precision") or precision
    precision = choose_precision(precision, home, model, min(batch_size, len(train)))
    forward_block = autocast(precision, home)
    model.to(home)
    train, validation = place(train, home), validation and place(validation, home)
    if model.has_page_losses:
        require_whole_pages(sampler, len(train), batch_size)
    drawn = train if sampler is None else require_sampler(sampler).over(train)
    balancer = balancer if balancer is not None else FixedWeights.from_schema(model.schema)
    balancer.bind(model.schema)
    reads_gradients = balancer.needs_gramian or balancer.needs_gradients
    gradient_step = GradientStep(model, balancer, shared, reuse=True) if reads_gradients else None
    several = None  # batches of one step
    if accumulate > 1:
        several = Accumulation(model, forward, balancer, gradient_step, forward_block)
    again = None if several is None else several.losses
    second_look = SecondLook(model, balancer, forward_block, again)
    budget = Budget(
        len(train), drawn.batch_count(batch_size), epochs, batch_size, seed, max_steps, patience,
        checkpoint, checkpoint_every, accumulate,
    )  # fmt: skip
    optimizers = Optimizers(
        optimizer, model, learning_rate, weight_decay, row_prior=row_prior, train=train,
        schedule=schedule, steps=budget.steps, warmup_steps=warmup_steps,
    )  # fmt: skip
    resolved = {
        "shares of the tables": getattr(train, "shares", None),
        FALL: budget.steps if schedule != "constant" else None,
        "precision": precision,
        "shared": shared if reads_gradients else None,
    }
    description = {}  # of the run, for its checkpoint
    if checkpoint is not None:
        description = describe_run(given, model, balancer, train, validation, resolved)
    passes = gradient_step.passes if gradient_step is not None else 1
    run = RunState(model, optimizers, balancer, budget, description, passes, called)
    batches: Any = run.batches
    rows: Any = attrgetter("rows")
    mass: Any = model.loss_mass
    if several is not None:
        batches, rows, mass = run.grouped, several.rows, several.mass
    weights: Tensor | None  # (task,); None for a rule that combines gradients without weights

    with seeded(seed), closing(optimizers), run.going(resume=resume, progress=progress):
        while not run.finished:
            model.train()
            for batch in batches(drawn):  # 1. batch
                optimizers.zero_grad()
                second_look.before_step()
                if several is not None:  # a list of batches: one after the other
                    losses, weights = several.run(batch, optimizers.zero_grad)  # 2. to 5.
                elif gradient_step is None:
                    with forward_block():
                        logits = forward(batch)  # 2. forward: {task: (batch,)}
                    losses = model.losses(logits, batch)  # 3. task losses: (task,)
                    weights = balancer.weights(losses.detach())
                    total = (weights * losses).sum()  # 4. combine
                    total.backward()  # 5. backward
                else:  # a rule of gradients: backward once a task, then combine
                    losses = gradient_step.run(batch, forward_block)  # 2. to 5.
                    weights = balancer.last_weights
                optimizers.pull(rows(batch))  # a prior on embedding rows, where there is one
                if clip_norm is not None:
                    clip_gradients(model.parameters(), clip_norm)
                optimizers.step(run.history.steps)  # 6. step
                second_look.after_step(batch)
                run.after_step(losses, mass(batch), weights)

            metrics = score = None
            if validation is not None:
                metrics = evaluate(model, validation)
                score = selection_score(
                    model.schema, metrics, reference=reference, spread=spread,
                    first=run.first_validation,
                )  # fmt: skip
            run.end_epoch(metrics, score)
    return run.finish()


def check_arguments(
    model: MultiTaskModel,
    train: Table,
    validation: Table | None,
    *,
    epochs: int,
    batch_size: int,
    accumulate: int,
    clip_norm: float | None,
) -> None:
    """Refuse tables and numbers that do not fit the model or each other, as ``fit`` says."""
    tasks = model.schema.task_names
    for what, table in (("train", train), ("validation", validation)):
        if table is None:
            continue
        require_table(table, f"{what} table")
        if table.schema.task_names != model.schema.task_names:
            raise SchemaError(
                f"The {what} table has the tasks {', '.join(table.schema.task_names)}, the model "
                f"{', '.join(model.schema.task_names)}: use "
                "table.select_tasks(model.schema.task_names)."
            )
        require_inputs(model.schema, table.schema, f"{what} table")
        require_tasks(model.schema, table.schema, f"{what} table")
        if len(table) == 0:
            raise ValueError(f"The {what} table has no rows.")
        if hasattr(table, "mask") and not any(bool(table.mask(t).any()) for t in tasks):
            raise ValueError(f"The {what} table has no label of any task.")
        weight = getattr(table, "weight", None)
        if weight is not None and not bool(weight.any()):
            raise ValueError(f"All rows of the {what} table weigh 0.")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be more than 0, not {clip_norm}.")
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise ValueError(f"accumulate is a whole number of batches, 1 or more, not {accumulate!r}.")
    if epochs < 0 or batch_size < 1:
        raise ValueError(
            f"epochs must be 0 or more ({epochs}), batch_size 1 or more ({batch_size})."
        )
