"""Chained outcomes in log space: a purchase needs a click, a return needs a purchase.

A task with ``given`` has a conditional logit: P(purchase | click) = 1 / (1 + e^-z). The joint event
"clicked and purchased" is known on every impression, clicked or not; its probability is a product
along the path of parents. Products and complements are sums of logarithms here, because in float32
1 - p is 0 for a logit of 17 and p itself is 0 for a logit of -104.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.losses.tasks import masked_mean, row_losses
from mtlkit.schema import Schema


def log1mexp(x: Tensor) -> Tensor:
    """Return log(1 - e^x) for x <= 0, elementwise: the log of a complement from the log of p.

    log(-expm1(x)) above -log 2 and log1p(-e^x) below it, each where it keeps its digits (Maechler
    2012, Accurately computing log(1 - exp(-|a|))). -inf at 0. Where the two branches meet, each
    gradient sees only the branch that was taken.
    """
    near = x > -math.log(2)
    close = torch.where(near, x, -1.0)  # keeps the branch that is not taken away from inf and NaN
    far = torch.where(near, -1.0, x)
    return torch.where(near, (-torch.expm1(close)).log(), torch.log1p(-far.exp()))


def parents_first(schema: Schema) -> tuple[str, ...]:
    """Names of all tasks, each after its parent; otherwise in the schema's order."""
    ordered: list[str] = []
    for name in schema.task_names:
        ordered += [n for n in path(schema, name) if n not in ordered]
    return tuple(ordered)


def path(schema: Schema, name: str) -> tuple[str, ...]:
    """The chain of ``given`` from its root to ``name``: ("click", "purchase", "return")."""
    names, task = [name], schema.task(name)
    while task.given is not None:
        task = schema.task(task.given)
        names.append(task.name)
    return tuple(reversed(names))


def chained(schema: Schema) -> tuple[str, ...]:
    """Names of the binary tasks that have a parent, parents first: those with a joint event."""
    names = parents_first(schema)
    return tuple(n for n in names if schema.task(n).is_binary and schema.task(n).given is not None)


def log_joint(schema: Schema, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """log P(the task and all its ancestors), (batch,), of every binary task.

    log P_k = log P_parent + log sigmoid(z_k): a child is never more likely than its parent, because
    what is added is never above 0. ``logits`` are conditional, as the schema's ``given`` says.
    """
    result: dict[str, Tensor] = {}
    for name in parents_first(schema):
        task = schema.task(name)
        if task.is_binary:
            own = F.logsigmoid(precise(logits[name]))
            result[name] = own if task.given is None else result[task.given] + own
    return result


def log_complement(schema: Schema, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """log(1 - P(the task and all its ancestors)), (batch,), of every binary task.

    It equals log1mexp(log_joint), which is what is computed where P <= 1/2. Above, log P is close
    to 0 and has lost digits; but the event fails either before the task or at it, and these exclude
    each other: 1 - P_k = (1 - P_parent) + P_parent (1 - p_k), a sum of positive terms, in which
    nothing cancels, whatever the logits.
    """
    joint = log_joint(schema, logits)
    result: dict[str, Tensor] = {}
    for name in joint:
        parent = schema.task(name).given
        fails = F.logsigmoid(-precise(logits[name]))
        if parent is None:
            result[name] = fails
        else:
            rare = joint[name] < -math.log(2)
            sure = torch.logaddexp(result[parent], joint[parent] + fails)
            result[name] = torch.where(rare, log1mexp(joint[name].where(rare, -1.0)), sure)
    return result


def joint_labels(schema: Schema, labels: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and masks (row, task) of the joint events, from those of the conditional ones.

    A chained binary task's joint label is 0 wherever an ancestor's label is 0, so it is known on
    impressions that were never clicked; it is unknown only where all ancestors happened (or are
    unknown themselves) and the own label was not observed. Roots and tasks of other kinds keep
    their columns.
    """
    joint, known = labels.clone(), observed.clone()
    for name in chained(schema):
        i, parent = schema.task_index(name), schema.task_index(str(schema.task(name).given))
        happened = joint[:, parent] == 1
        known[:, i] = known[:, parent] & (observed[:, i] | ~happened)
        joint[:, i] = torch.where(known[:, i] & happened, labels[:, i], 0.0)
    return joint, known


def joint_losses(schema: Schema, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Every task's loss, (task,): the mean of ``joint_row_losses`` over the rows that know it.

    Weighted where the batch has weights. No known row gives 0, no gradient.
    """
    known = joint_labels(schema, batch.labels, batch.observed)[1]
    return masked_mean(joint_row_losses(schema, logits, batch), known, batch.weight)


def joint_row_losses(schema: Schema, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Every row's loss of every task, (batch, task), with the entire space for chained tasks.

    A chained binary task: -[y log P + (1 - y) log(1 - P)] where its joint label y is known, else 0.
    All others: ``mtlkit.losses.row_losses``.
    """
    log_p, log_q = log_joint(schema, logits), log_complement(schema, logits)
    return entire_space_row_losses(schema, log_p, log_q, logits, batch)


def entire_space_row_losses(
    schema: Schema,
    log_p: Mapping[str, Tensor],
    log_q: Mapping[str, Tensor],
    logits: Mapping[str, Tensor],
    batch: Batch,
) -> Tensor:
    """``joint_row_losses`` from log P and log(1 - P) of each chained task, (batch,)."""
    rows = list(row_losses(schema, logits, batch).unbind(1))
    joint, known = joint_labels(schema, batch.labels, batch.observed)
    for name in chained(schema):
        i = schema.task_index(name)
        loss = -torch.where(joint[:, i] == 1, log_p[name], log_q[name])
        rows[i] = torch.where(known[:, i], loss, 0.0)
    return torch.stack(rows, dim=1)  # (batch, task)


def order_excess(schema: Schema, log_p: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """max(P_child - P_parent, 0) of every row: {chained task: (batch,)}.

    ``log_p`` holds log P (batch,) of every binary task. A sum along the path, ``log_joint``, gives
    exactly 0; heads that predict joint events each on their own may not.
    """
    return {
        name: (log_p[name].exp() - log_p[str(schema.task(name).given)].exp()).clamp(min=0)
        for name in chained(schema)
    }


def order_penalty(
    schema: Schema, log_p: Mapping[str, Tensor], rows: Tensor | None = None
) -> dict[str, Tensor]:
    """By how much a child's joint probability is above its parent's: {chained task: number}.

    mean over rows of ``order_excess``: the behavioural expectation calibrator of AITM (Xi et al.
    2021, KDD). ``rows`` bool (batch, task) says which rows count (all by default).
    """
    penalties = {}
    for name, above in order_excess(schema, log_p).items():
        where = torch.ones_like(above, dtype=torch.bool)
        if rows is not None:
            where = rows[:, schema.task_index(name)]
        penalties[name] = masked_mean(above, where)
    return penalties


def precise(z: Tensor) -> Tensor:
    """float32 at least, whatever precision the logits have."""
    return z.to(torch.promote_types(z.dtype, torch.float32))
