"""Any model, with tasks that learn the order within a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.losses.chain import log_joint, precise
from mtlkit.losses.jrc import jrc
from mtlkit.losses.ranking import RANKING_LOSSES, PageLoss, pointwise
from mtlkit.models.around import Around
from mtlkit.models.base import MultiTaskModel, extra_name
from mtlkit.schema import Schema, SchemaError, Task

RANKED_KINDS = ("binary", "count")


def level_name(task: str) -> str:
    """The helper task whose output is the mean of a task's two logits for ``jrc``."""
    return f"{task} page level"


def with_levels(schema: Schema, *names: str) -> Schema:
    """The schema of a network whose tasks ``names`` learn by ``jrc``: one helper head more each.

    Raises ``SchemaError`` for a task that is unknown or not binary.
    """
    for name in names:
        if not schema.task(name).is_binary:
            raise SchemaError(f"Task {name!r} is not binary: jrc has a logit for 0 and one for 1.")
    return schema.with_tasks((*schema.tasks, *(Task(level_name(name)) for name in names)))


class RankedPages(Around):
    """``model`` with losses of pages for some tasks: it learns which rows of a page stand above.

    The rows of a page are those with one value of ``Batch.group`` where the task's label is
    observed. A task's loss is the mean over its ``loss_rows``, as in every model, of what rows pay,
    ``weight`` times the page loss plus ``keep_pointwise`` times the loss that ``model`` has: so it
    is (sum of the page losses) / rows, plus that. The other tasks learn as in ``model``, and it
    predicts as ``model`` does.

    Row weights (``Table.weight``) weigh what a row pays, not what it is compared with: a row of
    weight 0 pays nothing, and yet the others of its page are compared with it; one of weight 2 is
    not the same as two such rows. A page counts for more where all its rows have one weight.

    Selection: ``fit(validation=...)`` chooses the epoch by the tasks' main metrics, of a binary
    task the AUC over all rows, which compares rows of different pages, too; bpr, listwise and
    lambdarank learn nothing of those. Where the order within pages is what counts, set
    ``keep_pointwise`` above 0, or give no validation, and compare runs by ``evaluate(model, table,
    group="session")``, whose "gauc" is the AUC within pages.

    Calibration: bpr, listwise and lambdarank learn order alone, and **the predictions of such a
    task are scores, not chances**, until ``mtlkit.train.calibrate`` sets their level;
    ``keep_pointwise`` above 0 ties them to the chances in training. jrc and pointwise have theirs.

    Train it with ``fit(model, table.with_group("session"), sampler=WholePages(pages=64))``: a
    sampler that splits pages is refused.

    Parameters
    ----------
    model
        The model around which this one stands; it is not copied.
    losses
        {task: a name of ``mtlkit.losses.RANKING_LOSSES`` or a function of scores, labels and pages,
        such as ``partial(jrc, alpha=0.3)``}, for binary tasks, and for counts (labels that are
        grades) by bpr, listwise and lambdarank. jrc has two logits a row, u - z/2 and u + z/2 with
        the task's own z, so that its chance is 1 / (1 + e^-z); u is a head of its own: make the
        network of ``with_levels(schema, task)``.
    weight, keep_pointwise
        What the page loss and the model's own loss of these tasks count, 0 or more.

    Raises ``SchemaError`` for something that is no model, a task that is unknown, of another kind
    or without its head for jrc, and in training for batches without ``group``; ``ValueError`` for
    no task, an unknown loss and weights that are not finite numbers of 0 or more.
    """

    has_page_losses = True

    def __init__(
        self,
        model: MultiTaskModel,
        losses: Mapping[str, str | PageLoss],
        *,
        weight: float = 1.0,
        keep_pointwise: float = 0.0,
    ) -> None:
        if not isinstance(model, MultiTaskModel):
            raise SchemaError(
                f"RankedPages stands around a model, not a {type(model).__name__}: "
                "mtlkit.wrap(module, schema) makes one of a plain module."
            )
        if model.has_page_losses:
            raise SchemaError("model has losses of pages already: name all of them in one losses.")
        resolved = _resolved(model.schema, losses)
        levels = [level_name(name) for name, loss in resolved.items() if _root(loss) is jrc]
        whole = model.schema
        super().__init__(
            whole.select([n for n in whole.task_names if n not in levels]) if levels else whole
        )
        self.network = model
        self.ranked = resolved
        self.weight = _amount("weight", weight)
        self.keep_pointwise = _amount("keep_pointwise", keep_pointwise)
        self.batch_statistics = model.batch_statistics
        self.separate = model.separate
        self.train(model.training)

    @property
    def writes_forward(self) -> bool:
        return self.network.writes_forward

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.network(batch) if self.writes_forward else super().forward(batch)

    def represent(self, x: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (x,) if self._in_one_piece else self.network.represent(x, batch)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        if self._in_one_piece:
            return self.network.outputs(shared[0], batch)
        return self.network.decode(shared, batch)

    @property
    def _in_one_piece(self) -> bool:
        return type(self.network).outputs is not MultiTaskModel.outputs

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """What every row pays of every task, (batch, task), its page beside it in the batch."""
        if batch.group is None:
            raise SchemaError(
                "RankedPages compares rows of one page, and the batch has no group: give "
                'table.with_group(key), such as "session", and fit(sampler=WholePages(...)).'
            )
        extra, plain = self._extra(logits)
        inside = self.network.row_losses(plain, self._widened(batch))[:, self._columns()]
        rows = list(inside.unbind(1))
        for name, loss in self.ranked.items():
            i = self.schema.task_index(name)
            seen = batch.observed[:, i].nonzero().squeeze(1)
            scores = self._scores(name, logits)[seen]
            paid = loss(scores, batch.labels[seen, i], batch.group[seen])
            paged = paid.new_zeros(len(rows[i])).index_add(0, seen, self.weight * paid)
            own = self.keep_pointwise * rows[i] if self.keep_pointwise else 0.0
            rows[i] = paged + own
        dtype = torch.promote_types(inside.dtype, torch.float32)
        return self.with_extra(torch.stack([r.to(dtype) for r in rows], dim=1), extra, batch)

    def _scores(self, name: str, logits: Mapping[str, Tensor]) -> Tensor:
        z = precise(logits[name])
        if _root(self.ranked[name]) is not jrc:
            return z
        level = precise(logits[level_name(name)])
        return torch.stack([level - z / 2, level + z / 2], dim=1)  # (batch, 2)

    def _extra(self, logits: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What ``forward`` gives to be paid beside the losses, by own task; and all the rest."""
        plain, extra = dict(logits), {}
        for task in self.schema.task_names:
            names = [extra_name(name) for name in (task, level_name(task))]
            paid = [plain.pop(name) for name in names if name in plain]
            if paid:
                extra[extra_name(task)] = torch.stack(paid).sum(0)  # (batch,)
        return extra, plain

    def loss_rows(self, batch: Batch) -> Tensor:
        return self.network.loss_rows(self._widened(batch))[:, self._columns()]

    def _columns(self) -> list[int]:
        return [self.network.schema.task_index(name) for name in self.schema.task_names]

    def _widened(self, batch: Batch) -> Batch:
        """The batch with columns for the helper heads, which have no labels."""
        tasks, columns = self.network.schema.num_tasks, self._columns()
        if tasks == len(columns):
            return batch

        def wide(column: Tensor) -> Tensor:
            out = column.new_zeros(len(batch), tasks)
            out[:, columns] = column
            return out

        censored = None if batch.censored is None else wide(batch.censored)
        return replace(
            batch, labels=wide(batch.labels), observed=wide(batch.observed), censored=censored
        )

    def task_modules(self, name: str) -> list[nn.Module]:
        """The network's modules for the task, and for its helper head."""
        modules, level = self.network.task_modules(name), level_name(name)
        if level in self.network.schema.task_names and level not in self.schema.task_names:
            modules = modules + self.network.task_modules(level)
        return modules

    @torch.no_grad()
    def predict_joint(self, batch: Batch) -> dict[str, Tensor]:
        """The product of the tasks' predictions along their ancestors, (batch,), if binary."""
        return {name: p.exp() for name, p in log_joint(self.schema, self(batch)).items()}

    def add_scenario(self, scenario: str) -> None:
        """Know one scenario more, in place, as the network inside does."""
        super().add_scenario(scenario)


def _root(loss: PageLoss) -> Any:
    """The function that a ``partial`` calls."""
    inner: Any = loss
    while isinstance(inner, partial):
        inner = inner.func
    return inner


def _resolved(schema: Schema, losses: Any) -> dict[str, PageLoss]:
    """{task: page loss}, once it is known that each task can learn by its loss."""
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(
            f'losses must be {{task: loss}}, such as {{"click": "listwise"}}, not {losses!r}.'
        )
    found: dict[str, PageLoss] = {}
    for name, loss in losses.items():
        task = schema.task(name)
        if isinstance(loss, str) and loss not in RANKING_LOSSES:
            raise ValueError(
                f"losses has {loss!r} for {name}; known are {', '.join(RANKING_LOSSES)}."
            )
        chosen = RANKING_LOSSES[loss] if isinstance(loss, str) else loss
        if not callable(chosen):
            raise ValueError(
                f"losses has {loss!r} for {name}; it must be a name or a function of scores, "
                "labels and pages."
            )
        kinds = ("binary",) if _root(chosen) in (jrc, pointwise) else RANKED_KINDS
        if task.kind not in kinds:
            raise SchemaError(
                f"losses names task {name!r}, which is {task.kind}: this loss of pages ranks "
                f"{' and '.join(kinds)} tasks."
            )
        if _root(chosen) is jrc and level_name(name) not in schema.task_names:
            raise SchemaError(
                f"jrc needs a second logit of task {name!r}: make the network of "
                f"mtlkit.models.with_levels(schema, {name!r})."
            )
        found[name] = chosen
    return found


def _amount(name: str, value: Any) -> float:
    number = math.nan if isinstance(value, bool) else value
    if not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
        raise ValueError(f"{name} must be a finite number of 0 or more, not {value!r}.")
    return float(number)
