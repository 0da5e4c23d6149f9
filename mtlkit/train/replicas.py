"""Training several networks of one shape at once, each as ``fit`` trains it alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import torch
from torch import Tensor

from mtlkit.data.batch import stack_batches
from mtlkit.data.table import Table
from mtlkit.models.base import MultiTaskModel
from mtlkit.models.replicas import Replicas
from mtlkit.train.device import choose_device, place
from mtlkit.train.loop import check_arguments
from mtlkit.train.optim import Optimizers


def fit_replicas(
    models: Sequence[MultiTaskModel],
    train: Table | Sequence[Table],
    *,
    seeds: Sequence[int] | None = None,
    task_weights: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    epochs: int = 8,
    batch_size: int = 64,
    learning_rate: float = 4e-3,
    schedule: str = "linear",
    warmup_steps: int = 0,
    optimizer: str = "adam",
    weight_decay: float = 0.0,
    device: str = "auto",
) -> Tensor:
    """Train ``models`` in place, all in one loop; return the training losses.

    Replica r ends with the weights, to rounding, of ``fit(models[r], train[r], seed=seeds[r],
    balancer=FixedWeights(task_weights[r]), row_prior=None, ...)`` without a validation table: each
    has its own order of rows, and Adam works on each weight alone. For many seeds of a small
    network at small batches, or many values of the weights: see ``Replicas`` and ``mtlkit bench
    replicas``. For larger ones, ``compare(jobs=)``.

    Parameters
    ----------
    models
        Networks of one shape, without dropout.
    train
        One table for all, or one a replica with the same number of rows.
    seeds
        Of the order of rows, one a replica; 0, 1, 2, ... where not given.
    task_weights
        w of each replica's loss, the sum of w_k L_k: (task,) for all or (replica, task). None:
        those that the schema's tasks carry.
    epochs, batch_size, learning_rate, schedule, warmup_steps, optimizer, weight_decay, device
        As in ``fit``; a batch has ``batch_size`` rows of each replica.

    Returns the mean loss of every epoch over rows with a label, float32 (epoch, replica, task).
    Raises ``SchemaError`` and ``ValueError`` as ``fit`` and ``Replicas``, and for numbers that do
    not fit each other; ``FloatingPointError`` naming task, replica and epoch when a loss is not
    finite.
    """
    several = Replicas(models)
    count, schema = several.count, several.schema
    tables = [train] * count if isinstance(train, Table) else list(train)
    seeds = range(count) if seeds is None else seeds
    for name, given in (("train", tables), ("seeds", seeds)):
        if len(given) != count:
            raise ValueError(f"{name} has {len(given)} entries; there are {count} models.")
    if len({len(table) for table in tables}) > 1:
        sizes = ", ".join(str(len(table)) for table in tables)
        raise ValueError(f"The tables of train must have the same number of rows, not {sizes}.")
    for table in tables:
        check_arguments(
            models[0], table, None, epochs=epochs, batch_size=batch_size, accumulate=1,
            clip_norm=None,
        )  # fmt: skip
    weights = torch.as_tensor(
        [task.weight for task in schema.tasks] if task_weights is None else task_weights,
        dtype=torch.float32,
    )
    if weights.shape not in ((schema.num_tasks,), (count, schema.num_tasks)):
        raise ValueError(
            f"task_weights has the shape {tuple(weights.shape)}; it must be "
            f"({schema.num_tasks},) or ({count}, {schema.num_tasks}): a row a replica."
        )
    home = choose_device(device)
    several.to(home)
    weights = weights.to(home)
    tables = [place(table, home) for table in tables]
    optimizers = Optimizers(
        optimizer, several, learning_rate, weight_decay, schedule=schedule,
        steps=epochs * tables[0].batch_count(batch_size), warmup_steps=warmup_steps,
    )  # fmt: skip
    found, step = [], 0
    with closing(optimizers):
        several.train()
        for epoch in range(epochs):
            total, rows = torch.zeros(2, count, schema.num_tasks, device=home)
            every = [
                table.batches(batch_size, shuffle=True, seed=seed, epoch=epoch)
                for table, seed in zip(tables, seeds, strict=True)
            ]
            for parts in zip(*every, strict=True):
                batch = stack_batches(parts)  # 1. batch: (replica * batch) rows
                optimizers.zero_grad()
                logits = several(batch)  # 2. forward
                losses = several.losses(logits, batch)  # 3. task losses: (replica, task)
                (weights * losses).sum().backward()  # 4. combine, 5. backward
                optimizers.step(step)  # 6. step
                step += 1
                mass = several.loss_mass(batch)
                total += losses.detach() * mass
                rows += mass
            found.append((total / rows.clamp(min=1e-30)).cpu())
            _require_finite(found[-1], schema.task_names, epoch)
    for model in several.update():
        model.eval()
    return torch.stack(found) if found else torch.zeros(0, count, schema.num_tasks)


def _require_finite(losses: Tensor, names: Sequence[str], epoch: int) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        replica, task = (int(i) for i in bad[0])
        raise FloatingPointError(
            f"The loss of task {names[task]!r} of replica {replica} is {losses[replica, task]} in "
            f"epoch {epoch + 1}: lower learning_rate, or look for labels that are not finite."
        )
