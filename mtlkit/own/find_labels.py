"""Findings about tasks: leaks, labels below a parent, nothing to learn, losses of unlike size."""

from __future__ import annotations

import math

import polars as pl
import torch

from mtlkit.data.splits import PARTS, Split
from mtlkit.models import Constant
from mtlkit.own.alone import by_luck, fields, measure_name, strength, told_by
from mtlkit.own.finding import Facts, Finding, Found, percent
from mtlkit.own.quick import quick_predictions, sample
from mtlkit.schema import Task

TELLS = {"binary": 0.95}  # alone this much: the label itself, or what follows from it
TELLS_ELSE = 0.9
STRONG = {"binary": 0.8}  # alone this much, and ...
STRONG_ELSE = 0.4
LUCK = 4.0  # deviations of what few rows give by luck: the best of many columns is looked at
LEAD = {"binary": 0.05}  # ... this much more than all other columns together
LEAD_ELSE = 0.2
APART = 10.0  # largest over smallest loss
COUNTS = 0.5  # what half the Poisson deviance of a count is that is not rare


def strengths(split: Split) -> pl.DataFrame:
    """How well each column alone tells each label: column, task, strength (``alone.strength``).

    Learned on training rows, measured on validation rows, null where these are too few; the
    strongest first.
    """
    train, later = (t.take(sample(t, 20_000)) for t in split[:2])
    ours, theirs = fields(train), fields(later)
    rows = []
    for task in train.schema.tasks:
        seen, known = train.mask(task.name).numpy(), later.mask(task.name).numpy()
        y, label = train.label(task.name).numpy()[seen], later.label(task.name).numpy()[known]
        for name, values in ours.items() if len(y) else ():
            scores = told_by(task, values[seen], y, theirs[name][known])
            rows.append((name, task.name, strength(task, label, scores)))
    shape = {"column": pl.String, "task": pl.String, "strength": pl.Float64}
    told = pl.DataFrame(rows, shape, orient="row").with_columns(pl.col("strength").fill_nan(None))
    return told.sort("strength", descending=True, nulls_last=True, maintain_order=True)


def leaks(facts: Facts) -> Found:
    """Columns that alone nearly tell a label, or more of it than all the others together."""
    found = facts.alone.drop_nulls()
    for task in facts.split.train.schema.tasks:
        own = found.filter(task=task.name)
        tells = own.filter(pl.col("strength") >= TELLS.get(task.kind, TELLS_ELSE))
        for column, _, value in tells.iter_rows():
            yield Finding(
                "tells a label", "fault", column, task.name, value,
                f"{_column(facts, column)} alone gives {task.name} {measure_name(task)} of "
                f"{value:.3f}: it is the outcome in other words, or one follows from the other. "
                f'Leave out what is known only afterwards: drop=["{column}"].',
            )  # fmt: skip
        if own.is_empty() or not tells.is_empty():
            continue
        column, _, value = own.row(0)
        later = facts.split.validation
        known = later.label(task.name)[later.mask(task.name)].numpy()
        least = max(STRONG.get(task.kind, STRONG_ELSE), by_luck(task, known, LUCK))
        if value >= least:
            yield from _leads(facts, task, column, value)


def _leads(facts: Facts, task: Task, column: str, value: float) -> Found:
    train, later = (t.take(sample(t)) for t in facts.split[:2])
    told = quick_predictions(task, train, later, {column, f"{column}_missing"})
    if told is None:
        return
    known = later.mask(task.name).numpy()
    rest = strength(task, later.label(task.name).numpy()[known], told[known])
    if value - rest >= LEAD.get(task.kind, LEAD_ELSE):
        yield Finding(
            "tells a label", "look", column, task.name, value,
            f"{_column(facts, column)} alone gives {task.name} {measure_name(task)} of "
            f"{value:.3f}, all other columns together {rest:.3f}. Is it known before the outcome? "
            f'If not: drop=["{column}"].',
        )  # fmt: skip


def _column(facts: Facts, name: str) -> str:
    base = name.removesuffix("_missing")
    gap = name not in facts.roles.names and base in facts.roles.names
    return f"Whether {base!r} is missing" if gap else f"Column {name!r}"


def unmet_parents(facts: Facts) -> Found:
    """Labels that stood below an unmet parent and were not 0: no strict chain."""
    for name, (_, contrary) in facts.unmet.items():
        if contrary:
            parent = facts.encoder.schema.task(name).given
            share = contrary / len(facts.frame)
            yield Finding(
                "label below an unmet parent", "look", None, name, contrary,
                f"{contrary:,} rows ({percent(share)}) had {name} without {parent}; they are not "
                f"read as labels. If {name} can happen without {parent}, leave given out.",
            )  # fmt: skip


def nothing_to_learn(facts: Facts) -> Found:
    """Tasks without labels, or with one value, in a part."""
    for task in facts.split.train.schema.tasks:
        for table, part in zip(facts.split, PARTS, strict=True):
            labels = table.label(task.name)[table.mask(task.name)]
            values = len(torch.unique(labels))
            if values < 2:
                level = "fault" if part == "training" else "look"
                what = "no label" if not values else f"no label but {float(labels[0]):g}"
                yield Finding(
                    "nothing to learn", level, None, task.name, values,
                    f"The {part} rows hold {what} of {task.name}: its scores there mean nothing. "
                    "Cut elsewhere, or leave the task out.",
                )  # fmt: skip


def starting_losses(facts: Facts) -> dict[str, float]:
    """{task: weight times the loss of the best constant}: how loud each task is at the start."""
    train = facts.split.train.take(sample(facts.split.train))
    usable = [
        task.name
        for task in train.schema.tasks
        if len(torch.unique(train.label(task.name)[train.mask(task.name)])) > 1
    ]
    if not usable:
        return {}
    table = train.select_tasks(usable)
    model, batch = Constant(table), table.batch(torch.arange(len(table)))
    with torch.no_grad():
        losses = model.losses(model(batch), batch)
    weights = [task.weight for task in table.schema.tasks]
    return {n: w * float(v) for n, w, v in zip(usable, weights, losses, strict=True)}


def losses_apart(facts: Facts) -> Found:
    """Tasks whose losses differ so much that the loudest one trains the shared layers.

    A rare outcome has a small loss and is quiet by nature, whatever the units: it is compared by
    what its loss would be if it were not rare.
    """
    schema = facts.split.train.schema
    losses = {
        name: max(value, _not_rare(schema.task(name)))
        for name, value in starting_losses(facts).items() if value > 0
    }  # fmt: skip
    if len(losses) < 2:
        return
    low, high = min(losses, key=lambda n: losses[n]), max(losses, key=lambda n: losses[n])
    ratio = losses[high] / losses[low]
    if ratio >= APART:
        yield Finding(
            "loss scales apart", "look", None, high, ratio,
            f"The loss of {high} starts at {losses[high]:.3g}, that of {low} at "
            f"{losses[low]:.3g} or less, {ratio:,.0f} times less: with equal weights what they "
            f"share is trained for {high}. Give weights, Task(weight=...), or a rule of "
            "mtlkit.balance.",
        )  # fmt: skip


def _not_rare(task: Task) -> float:
    """Weight times the loss of the best constant where no outcome is rare; 0 for an amount."""
    if task.is_binary or task.kind == "multiclass":
        return task.weight * math.log(max(task.outputs, 2))
    return task.weight * COUNTS if task.is_count else 0.0
