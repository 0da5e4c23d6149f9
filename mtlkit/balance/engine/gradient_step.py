"""The engine: forward and backward pass of one batch where a balancer reads gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.accumulate import Gathered, GradientSum, shares_of
from mtlkit.balance.engine.gramian import TaskGradients, gramian
from mtlkit.balance.engine.layout import Columns, Found, Touched, Whole
from mtlkit.data.batch import Batch
from mtlkit.layers.repeats import Repeats
from mtlkit.layers.table import EmbeddingTable
from mtlkit.models.base import MultiTaskModel

PLACES = ("parameters", "representation")
Block = Callable[[], AbstractContextManager[Any]]
Reads = list[list[tuple[Tensor, Tensor]]]  # of every table, the lookups: ids (n,), rows (n, dim)


class GradientStep:
    """Forward and backward pass of one batch for a balancer that reads gradients.

    With G the task gradients on what the tasks share and u the combination that the balancer makes
    of them (w^T G for a rule of the Gramian), every shared parameter gets its part of u as
    ``.grad`` and every other parameter the plain gradient of the sum of the losses, so that a head
    receives the gradient of its own loss. The task gradients are used twice, for the Gramian and
    for the update: one backward pass a task, and none more. Frozen parameters take no part.

    ``shared="parameters"``: G covers all shared layers and the embedding rows that the batch
    touched, exactly as if the table's gradient had been computed whole. "representation": G covers
    the output of ``model.represent``, (batch, width) flattened (and shared parameters above it, if
    any), so that only the heads are walked once a task, and the shared layers once. All that lies
    below the representation then follows the combination. A model that writes ``outputs`` as one
    piece is cut at its input vector.

    A rule that weighs losses by gradient norms (``weighs_heads``, GradNorm) reads the Gramian on
    ``balancer.parameters`` (names; None: the last shared weight matrix) and then takes one backward
    pass of the weighted sum.

    ``reuse=True`` keeps the memory of a table's gradient from step to step and clears only the rows
    that were written: right where nobody else adds to ``.grad``, as in ``fit``.

    Raises ``ValueError`` for an unknown place or parameter, a model that shares nothing (or nothing
    that is trained), one that reads a table other than by ``EmbeddingTable.lookup``, or, at the
    representation, one that writes ``forward`` itself.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        balancer: Balancer,
        shared: str = "parameters",
        *,
        reuse: bool = False,
    ) -> None:
        if shared not in PLACES:
            raise ValueError(f"shared is one of {', '.join(PLACES)}, not {shared!r}.")
        kind = type(model)
        if shared == "representation" and model.writes_forward:
            raise ValueError(
                f"{kind.__name__} writes forward itself, so the way from its representation to its "
                'outputs is not known: write decode or outputs instead, or use shared="parameters".'
            )
        self.model, self.balancer, self.shared, self.reuse = model, balancer, shared, reuse
        self.written: dict[int, tuple[Tensor, Tensor]] = {}  # of a table: gradient, its rows
        self.readers = [e for e in model.embeddings() if e.table.numel() and e.table.requires_grad]
        self.embeddings = list({id(e.table): e for e in self.readers}.values())  # one a table
        common = [p for p in model.shared_parameters() if p.requires_grad]
        if not common:
            raise ValueError(
                f"{kind.__name__} shares no parameters between its tasks (that are trained), so "
                f"{type(balancer).__name__} has nothing to combine; use EqualWeights."
            )
        self.names = {id(p): name for name, p in model.named_parameters()}
        tables = {id(e.table) for e in model.embeddings()}
        self.layers = [p for p in common if id(p) not in tables]
        self.common_tables = {id(p) for p in common if id(p) in tables}
        ours = {id(p) for p in common} | tables
        self.others = [p for p in model.parameters() if p.requires_grad and id(p) not in ours]
        # whether each loss reads the logits of its own task and nothing else, extra losses apart
        own = (kind.losses, kind.row_losses)
        self.separate = own == (MultiTaskModel.losses, MultiTaskModel.row_losses)
        self.in_one_piece = kind.outputs is not MultiTaskModel.outputs
        if balancer.weighs_heads:
            self.watched = self._watched(balancer.parameters)

    def _watched(self, names: tuple[str, ...] | None) -> list[nn.Parameter]:
        """The parameters on which a rule of gradient norms looks."""
        by_name = {self.names[id(p)]: p for p in self.layers}
        matrices = [p for p in self.layers if p.dim() > 1]
        if names is None:
            if not matrices:
                raise ValueError(
                    f"{type(self.model).__name__} has no shared weight matrix: name the parameters "
                    f"that {type(self.balancer).__name__} should watch."
                )
            return [matrices[-1]]
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise ValueError(
                f"{type(self.model).__name__} has no shared parameter {unknown[0]!r}; it has "
                f"{', '.join(by_name)}."
            )
        return [by_name[name] for name in names]

    @property
    def passes(self) -> int:
        """Backward passes through all shared layers for one batch.

        Passes through the heads alone, once a task, come on top at the representation and where
        losses are weighed by gradient norms.
        """
        if self.balancer.weighs_heads or self.shared == "representation":
            return 1
        return self.model.schema.num_tasks * (2 if self.balancer.needs_halves else 1)

    def run(self, batch: Batch, forward_block: Block) -> Tensor:
        """Set ``.grad`` of every trained parameter for this batch; the losses (task,), detached."""
        self.model.zero_grad()
        if self.balancer.weighs_heads:
            return self._weigh_losses(batch, forward_block)
        if self.shared == "representation":
            return self._at_representation(batch, forward_block)
        return self._at_parameters(batch, forward_block)

    def run_all(self, batches: Sequence[Batch], forward_block: Block) -> Tensor:
        """``run`` over several batches whose rows count as those of one.

        The rule acts once, on each task's mean gradient over the rows of all batches; of the halves
        that it may ask for as well. One batch's graph is in memory at a time. Raises ``ValueError``
        at the representation, which is one of the batch's own, and for a rule that weighs losses,
        which takes ``watch``.
        """
        if self.shared == "representation" or self.balancer.weighs_heads:
            raise ValueError(
                "Gradients of several batches are added up at the parameters, for a rule that "
                'combines them: use shared="parameters".'
            )
        self.model.zero_grad()
        pages = self.model.has_page_losses
        starts = [0, *accumulate(_parts(batch, pages) for batch in batches)][:-1]
        placed = list(zip(batches, starts, strict=True))
        shares = shares_of([self.model.loss_mass(batch) for batch in batches])
        whole, *parts = (GradientSum(len(self.layers), len(self.others)) for _ in range(3))
        of_halves = self._shares_of_halves(placed) if self.balancer.needs_halves else []
        losses = torch.zeros_like(shares[0])
        for i, (batch, start) in enumerate(placed):
            one = self._gathered(batch, forward_block, start)
            losses = losses + shares[i] * one.losses
            whole.add(one.found, one.tables, shares[i])
            for sums, half, own in zip(parts, one.halves or (), of_halves, strict=False):
                sums.add(half, one.tables, own[i])
        found, tables = whole.result()
        halves = (parts[0].result()[0], parts[1].result()[0]) if of_halves else None
        return self._set_gradients(Gathered(losses, found, halves, tables))

    def _shares_of_halves(self, placed: Sequence[tuple[Batch, int]]) -> list[Tensor]:
        """Of both halves of all rows: each batch's share in a task's mean, 2 x (batch, task)."""
        masses = [
            [self.model.loss_mass(h) for h in _halves(b, start, self.model.has_page_losses)]
            for b, start in placed
        ]
        return [shares_of(of_half) for of_half in zip(*masses, strict=True)]

    def watch(self, batch: Batch, forward_block: Block) -> tuple[Tensor, Tensor]:
        """The losses (task,) and the task gradients (task, number) on the watched parameters."""
        with forward_block():
            logits = self.model(batch)
        losses, seeds = self._losses(logits, batch)
        found = self._walk(logits, losses, seeds, self.watched)
        return losses.detach(), Columns(self._whole(self.watched), ()).matrix(found, losses)

    # --- the three ways -------------------------------------------------------------------------

    def _weigh_losses(self, batch: Batch, forward_block: Block) -> Tensor:
        with forward_block():
            logits = self.model(batch)
        losses, seeds = self._losses(logits, batch)
        found = self._walk(logits, losses, seeds, self.watched, keep_last=True)
        columns = Columns(self._whole(self.watched), ())
        weights = self.balancer.weights(losses.detach(), gramian(columns.matrix(found, losses)))
        if seeds is None:
            (weights * losses).sum().backward()
        else:
            given = zip(self.model.schema.task_names, weights, seeds, strict=True)
            reached = [(logits[k], w * d) for k, w, d in given if logits[k].requires_grad]
            torch.autograd.backward([z for z, _ in reached], [g for _, g in reached])
        return losses.detach()

    def _at_parameters(self, batch: Batch, forward_block: Block) -> Tensor:
        return self._set_gradients(self._gathered(batch, forward_block))

    def _gathered(self, batch: Batch, forward_block: Block, start: int = 0) -> Gathered:
        """The task gradients of one batch, whose first row (or page) has the number ``start``."""
        with forward_block(), self._reading() as reads:
            logits = self.model(batch)
        tables = self._touched(reads, len(self.layers))
        rows = [leaf for table in tables for leaf in table.leaves]
        targets = [*self.layers, *rows, *self.others]
        return Gathered(*self._task_gradients(logits, batch, targets, tables, start), tables)

    def _set_gradients(self, gathered: Gathered) -> Tensor:
        """Combine the task gradients and set ``.grad``; the losses (task,)."""
        losses, found, halves, tables = gathered
        columns = Columns(self._whole(self.layers), [t for t in tables if self._is_common(t)])
        update = self._combine(columns, losses, found, halves, lasting=columns.whole_width)
        for part in columns.whole:
            part.target.grad = columns.part(update, part)
        self._set_tables(columns, tables, update, found)
        self._set_others(found, len(found[0]) - len(self.others))
        return losses

    def _at_representation(self, batch: Batch, forward_block: Block) -> Tensor:
        model = self.model
        with forward_block():
            x = model.embed(batch)
            shared = (x,) if self.in_one_piece else model.represent(x, batch)
            leaves = [z.detach().requires_grad_() for z in shared]
            with self._reading() as reads:
                if self.in_one_piece:
                    logits = model.outputs(leaves[0], batch)
                else:
                    logits = model.decode(tuple(leaves), batch)
        tables = self._touched(reads, len(leaves))
        rows = [leaf for table in tables for leaf in table.leaves]
        above = len(leaves) + len(rows)  # where layers that the heads may read begin
        targets = [*leaves, *rows, *self.layers, *self.others]
        losses, found, halves = self._task_gradients(logits, batch, targets, tables)

        cut = [Whole(f"representation {i}", i, z) for i, z in enumerate(leaves)]
        layers = [
            part
            for part in self._whole(self.layers, above)
            if any(gradients[part.place] is not None for gradients in found)
        ]
        columns = Columns([*cut, *layers], [t for t in tables if self._is_common(t)])
        update = self._combine(columns, losses, found, halves, lasting=0)
        reached = [(z, columns.part(update, p)) for z, p in zip(shared, cut, strict=True)]
        reached = [(z, g) for z, g in reached if z.requires_grad]
        torch.autograd.backward([z for z, _ in reached], [g for _, g in reached])
        for part in layers:
            _add_gradient(part.target, columns.part(update, part))
        self._set_tables(columns, tables, update, found)
        self._set_others(found, len(targets) - len(self.others))
        return losses

    # --- shared steps ---------------------------------------------------------------------------

    def _whole(self, parameters: list[nn.Parameter], start: int = 0) -> list[Whole]:
        return [Whole(self.names[id(p)], i, p) for i, p in enumerate(parameters, start)]

    def _is_common(self, table: Touched) -> bool:
        return id(table.embedding.table) in self.common_tables

    @contextmanager
    def _reading(self) -> Iterator[Reads]:
        """While open, gradients stop at looked-up rows; yields what each table's lookups read."""
        reads: Reads = [[] for _ in self.embeddings]
        by_table = {id(e.table): r for e, r in zip(self.embeddings, reads, strict=True)}
        for embedding in self.readers:
            embedding.reads = by_table[id(embedding.table)]
        try:
            yield reads
        finally:
            for embedding in self.readers:
                embedding.reads = None

    def _touched(self, reads: Reads, start: int) -> list[Touched]:
        """The tables that were read, their leaves among the targets from ``start`` on."""
        tables = []
        for embedding, read in zip(self.embeddings, reads, strict=True):
            if not read:
                continue
            repeats = Repeats(torch.cat([ids for ids, _ in read]) if len(read) > 1 else read[0][0])
            leaves = [rows for _, rows in read]
            name = self.names[id(embedding.table)]
            tables.append(Touched(name, embedding, leaves, start, repeats))
            start += len(leaves)
        return tables

    def _losses(
        self, logits: dict[str, Tensor], batch: Batch
    ) -> tuple[Tensor, list[Tensor] | None]:
        """The losses (task,) and, where they are separate, the gradient of each on its logits.

        With it a task's backward pass starts at its own logits, and never walks (with zeros)
        through the heads of all other tasks.
        """
        if not self.separate or self.model.has_extra(logits):
            return self.model.losses(logits, batch), None
        leaves = {name: z.detach().requires_grad_() for name, z in logits.items()}
        losses = self.model.losses(leaves, batch)
        names = self.model.schema.task_names
        seeds = torch.autograd.grad(losses.sum(), [leaves[name] for name in names])
        return losses.detach(), list(seeds)

    def _walk(
        self,
        logits: dict[str, Tensor],
        losses: Tensor,
        seeds: list[Tensor] | None,
        targets: list[Any],
        read: Sequence[Touched] = (),
        *,
        keep_last: bool = False,
    ) -> Found:
        """One backward pass a task: its gradient on every target, None where it has none.

        Gradients on looked-up rows are added up by id before the next pass: they are the largest
        tensors of all, and the next pass finds their memory free and still in the cache.
        """
        found: Found = []
        names = self.model.schema.task_names
        whole = [e.table for e in self.embeddings] if not self.balancer.weighs_heads else []
        for k, name in enumerate(names):
            keep = keep_last or k + 1 < len(names)
            output, given = (losses[k], None) if seeds is None else (logits[name], seeds[k])
            if not output.requires_grad:
                found.append((None,) * len(targets))
                continue
            gradients = torch.autograd.grad(
                output, [*targets, *whole], given, retain_graph=keep, allow_unused=True
            )
            for table, beside in zip(whole, gradients[len(targets) :], strict=True):
                if beside is not None:
                    raise ValueError(
                        f"{type(self.model).__name__} reads {self.names[id(table)]} other than by "
                        f"the lookup of its FieldEmbedding (on the way to task {name!r}): "
                        "gradients of tables are taken at looked-up rows."
                    )
            of_task: Sequence[Tensor | None] = gradients[: len(targets)]
            del gradients
            for touched in read:
                of_task = touched.summed(of_task)
            found.append(of_task)
        return found

    def _task_gradients(
        self,
        logits: dict[str, Tensor],
        batch: Batch,
        targets: list[Any],
        read: Sequence[Touched],
        start: int = 0,
    ) -> tuple[Tensor, Found, tuple[Found, Found] | None]:
        """Losses (task,), every task's gradient on the targets, and the same of the two halves."""
        if not self.balancer.needs_halves:
            losses, seeds = self._losses(logits, batch)
            return losses.detach(), self._walk(logits, losses, seeds, targets, read), None
        both, sums, rows = [], [], []
        for half in _halves(batch, start, self.model.has_page_losses):
            losses, seeds = self._losses(logits, half)
            both.append(self._walk(logits, losses, seeds, targets, read, keep_last=True))
            sums.append(losses.detach())
            rows.append(self.model.loss_mass(half).to(losses.dtype))
        shares = shares_of(rows)  # (half, task)
        losses = shares[0] * sums[0] + shares[1] * sums[1]
        found: Found = [
            tuple(
                _weighted_sum(a, shares[0][k], b, shares[1][k])
                for a, b in zip(both[0][k], both[1][k], strict=True)
            )
            for k in range(len(losses))
        ]
        return losses, found, (both[0], both[1])

    def _combine(
        self,
        columns: Columns,
        losses: Tensor,
        found: Found,
        halves: tuple[Found, Found] | None,
        lasting: int,
    ) -> Tensor:
        """What the balancer makes of the task gradients, (number,)."""
        two = None
        if halves is not None:
            two = columns.matrix(halves[0], losses), columns.matrix(halves[1], losses)
        gradients = TaskGradients(columns.matrix(found, losses), columns.blocks, lasting, two)
        return self.balancer.combine(losses, gradients)

    def _set_tables(
        self, columns: Columns, tables: list[Touched], update: Tensor, found: Found
    ) -> None:
        """Of shared tables, their part of the update; of a single task's, the plain gradient."""
        for table in tables:
            if self._is_common(table):
                rows = columns.rows(update, table)
            else:
                parts = [part for g in found if (part := g[table.start]) is not None]
                if not parts:
                    continue
                rows = torch.stack(parts).sum(0)
            self._add_rows(table.embedding, table.repeats.touched, rows)

    def _add_rows(self, embedding: EmbeddingTable, touched: Tensor, rows: Tensor) -> None:
        """Add rows (k, dim) to the gradient of the table's rows ``touched`` (k,)."""
        table = embedding.table
        rows = rows.to(table.dtype)
        if embedding.sparse_gradient:
            new = torch.sparse_coo_tensor(
                touched.unsqueeze(0), rows, table.shape, is_coalesced=True, check_invariants=False
            )
            table.grad = new if table.grad is None else (table.grad + new).coalesce()
        elif table.grad is None:
            table.grad = self._zeros(table, touched).index_copy_(0, touched, rows)
        else:
            table.grad.index_add_(0, touched, rows)

    def _zeros(self, table: Tensor, touched: Tensor) -> Tensor:
        """Zeros for a table's gradient, about to be written at the rows ``touched``."""
        if not self.reuse:
            return torch.zeros_like(table)
        kept = self.written.get(id(table))
        if kept is None:
            gradient = torch.zeros_like(table)
        else:
            gradient, rows = kept
            gradient.index_fill_(0, rows, 0.0)
        self.written[id(table)] = gradient, touched
        return gradient

    def _set_others(self, found: Found, start: int) -> None:
        """Plain gradients of what belongs to single tasks: the sum over all losses."""
        for i, p in enumerate(self.others, start):
            parts = [part for g in found if (part := g[i]) is not None]
            if parts:
                _add_gradient(p, parts[0] if len(parts) == 1 else torch.stack(parts).sum(0))


def _parts(batch: Batch, by_pages: bool) -> int:
    """How many rows, or pages, ``_halves`` deals out to the two halves."""
    return len(torch.unique(batch.group)) if by_pages and batch.group is not None else len(batch)


def _halves(batch: Batch, start: int = 0, by_pages: bool = False) -> list[Batch]:
    """The batch with every other row's labels, and with those of the rest; rows from ``start``.

    ``by_pages``: with every other page's, where a row's loss depends on the rows of its page; then
    ``start`` counts the pages that came before.
    """
    if by_pages and batch.group is not None:
        position = torch.unique(batch.group, return_inverse=True)[1] + start
    else:
        position = torch.arange(start, start + len(batch), device=batch.observed.device)
    first = (position % 2 == 0).unsqueeze(1)  # (batch, 1)
    return [replace(batch, observed=batch.observed & chosen) for chosen in (first, ~first)]


def _weighted_sum(a: Tensor | None, wa: Tensor, b: Tensor | None, wb: Tensor) -> Tensor | None:
    if a is None or b is None:
        return a * wa if a is not None else b * wb if b is not None else None
    return a * wa + b * wb


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
