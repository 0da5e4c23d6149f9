"""The engine: forward and backward pass of one batch where a balancer reads gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mtlkit.balance.base import Balancer
from mtlkit.balance.gramian import TaskGradients, gramian
from mtlkit.data.table import Batch
from mtlkit.layers import FieldEmbedding, Repeats
from mtlkit.models.base import MultiTaskModel

PLACES = ("parameters", "representation")
Found = list[tuple[Tensor | None, ...]]  # of every task, its gradient on every target
Block = Callable[[], AbstractContextManager[Any]]


class GradientStep:
    """Forward and backward pass of one batch for a balancer that reads gradients.

    With G the task gradients on what the tasks share and u the combination that the balancer makes
    of them (w^T G for a rule of the Gramian), every shared parameter gets its part of u as
    ``.grad`` and every other parameter the plain gradient of the sum of the losses, so that a head
    receives the gradient of its own loss. The task gradients are used twice, for the Gramian and
    for the update: one backward pass a task, and none more.

    ``shared="parameters"``: G covers all shared layers and the embedding rows that the batch
    touched, exactly as if the table's gradient had been computed whole. "representation": G covers
    the output of ``model.represent``, (batch, width) flattened (and shared parameters above it, if
    any), so that only the heads are walked once a task, and the shared layers once.

    A rule that weighs losses by gradient norms (``weighs_heads``, GradNorm) reads the Gramian on
    ``balancer.parameters`` (names; None: the last shared weight matrix) and then takes one backward
    pass of the weighted sum.

    Raises ``ValueError`` for an unknown place or parameter, or a model that shares nothing.
    """

    def __init__(
        self, model: MultiTaskModel, balancer: Balancer, shared: str = "parameters"
    ) -> None:
        if shared not in PLACES:
            raise ValueError(f"shared is one of {', '.join(PLACES)}, not {shared!r}.")
        self.model, self.balancer, self.shared = model, balancer, shared
        tables = {id(e.table): e for e in model.embeddings()}
        common = model.shared_parameters()
        if not common:
            raise ValueError(
                f"{type(model).__name__} shares no parameters between its tasks, so "
                f"{type(balancer).__name__} has nothing to combine; use EqualWeights."
            )
        names = {id(p): name for name, p in model.named_parameters()}
        self.names = names
        self.layers = [p for p in common if id(p) not in tables]
        self.embeddings = [e for e in model.embeddings() if e.table.numel()]
        self.common_tables = {id(p) for p in common if id(p) in tables}
        ours = {id(p) for p in common} | set(tables)
        self.others = [p for p in model.parameters() if id(p) not in ours]
        # whether each loss reads the logits of its own task and nothing else
        self.separate = type(model).losses is MultiTaskModel.losses
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
        """Fill ``.grad`` of every parameter for this batch; the losses (task,), detached."""
        if self.balancer.weighs_heads:
            return self._weigh_losses(batch, forward_block)
        if self.shared == "representation":
            return self._at_representation(batch, forward_block)
        return self._at_parameters(batch, forward_block)

    # --- the three ways -------------------------------------------------------------------------

    def _weigh_losses(self, batch: Batch, forward_block: Block) -> Tensor:
        with forward_block():
            logits = self.model(batch)
        losses, seeds = self._losses(logits, batch)
        watched = [
            _flat(g, self.watched)
            for g in self._walk(logits, losses, seeds, self.watched, keep_last=True)
        ]
        weights = self.balancer.weights(losses.detach(), gramian(torch.stack(watched)))
        if seeds is None:
            (weights * losses).sum().backward()
        else:
            outputs = [z for z, d in zip(logits.values(), seeds, strict=True) if d is not None]
            given = [w * d for w, d in zip(weights, seeds, strict=True) if d is not None]
            torch.autograd.backward(outputs, given)
        return losses.detach()

    def _at_parameters(self, batch: Batch, forward_block: Block) -> Tensor:
        with forward_block(), self._reading() as reads:
            logits = self.model(batch)
        leaves = [rows for embedding in reads for _, rows in embedding]
        targets = [*self.layers, *leaves, *self.others]
        losses, found, halves = self._task_gradients(logits, batch, targets)

        # columns: the shared layers, then the touched rows of every shared table
        parts = [(self.names[id(p)], p.numel()) for p in self.layers]
        repeats, own_tables = [], []
        start = len(self.layers)
        for embedding, read in zip(self.embeddings, reads, strict=True):
            where = range(start, start + len(read))
            start += len(read)
            if not read:
                continue
            if id(embedding.table) not in self.common_tables:
                own_tables.append((embedding, read, where))
                continue
            group = Repeats(torch.cat([ids for ids, _ in read]))
            repeats.append((embedding, group, where))
            size = len(group.touched) * embedding.embedding_dim
            parts.append((self.names[id(embedding.table)], size))
        blocks, width, lasting = _layout(parts, len(self.layers))

        def assemble(found: Found) -> Tensor:
            matrix = losses.new_empty(len(found), width)
            slices = list(blocks.values())
            for row, gradients in zip(matrix, found, strict=True):
                for i, columns in enumerate(slices[: len(self.layers)]):
                    _fill(row[columns], gradients[i])
                for (_, group, where), columns in zip(
                    repeats, slices[len(self.layers) :], strict=True
                ):
                    read = [gradients[i] for i in where]
                    if all(g is None for g in read):
                        row[columns] = 0.0
                        continue
                    rows = [
                        torch.zeros_like(targets[i]) if g is None else g
                        for i, g in zip(where, read, strict=True)
                    ]
                    _fill(row[columns], group.sum(torch.cat(rows) if len(rows) > 1 else rows[0]))
            return matrix

        gradients = self._collect(assemble, found, halves, blocks, lasting)
        update = self.balancer.combine(losses, gradients)  # (number,)

        slices = list(blocks.values())
        for p, columns in zip(self.layers, slices, strict=False):
            p.grad = update[columns].view_as(p).to(p.dtype)
        for (embedding, group, _), columns in zip(repeats, slices[len(self.layers) :], strict=True):
            rows = update[columns].view(-1, embedding.embedding_dim)
            _set_table_gradient(embedding, group.touched, rows)
        for embedding, read, where in own_tables:
            group = Repeats(torch.cat([ids for ids, _ in read]))
            rows = torch.cat([_total(found, i, targets[i]) for i in where])
            _set_table_gradient(embedding, group.touched, group.sum(rows))
        self._set_others(found, len(targets) - len(self.others))
        return losses

    def _at_representation(self, batch: Batch, forward_block: Block) -> Tensor:
        model = self.model
        with forward_block():
            shared = model.represent(model.embed(batch), batch)
            leaves = [z.detach().requires_grad_() for z in shared]
            logits = model.decode(tuple(leaves), batch)
        targets = [*leaves, *self.layers, *self.others]
        losses, found, halves = self._task_gradients(logits, batch, targets)

        # columns: the representation, then the shared parameters that the heads still read
        above = [
            i
            for i in range(len(leaves), len(leaves) + len(self.layers))
            if any(g[i] is not None for g in found)
        ]
        chosen = [*range(len(leaves)), *above]
        parts = [(f"representation {i}", z.numel()) for i, z in enumerate(leaves)]
        parts += [(self.names[id(targets[i])], targets[i].numel()) for i in above]
        blocks, width, _ = _layout(parts, 0)

        def assemble(found: Found) -> Tensor:
            matrix = losses.new_empty(len(found), width)
            for row, gradients in zip(matrix, found, strict=True):
                for i, columns in zip(chosen, blocks.values(), strict=True):
                    _fill(row[columns], gradients[i])
            return matrix

        gradients = self._collect(assemble, found, halves, blocks, 0)
        update = self.balancer.combine(losses, gradients)  # (number,)

        mixed = [
            update[columns].view_as(z).to(z.dtype)
            for z, columns in zip(shared, blocks.values(), strict=False)
        ]
        reached = [(z, g) for z, g in zip(shared, mixed, strict=True) if z.requires_grad]
        torch.autograd.backward([z for z, _ in reached], [g for _, g in reached])
        for i, columns in zip(above, list(blocks.values())[len(leaves) :], strict=True):
            p, g = targets[i], update[columns].view_as(targets[i])
            p.grad = g if p.grad is None else p.grad + g
        self._set_others(found, len(targets) - len(self.others))
        return losses

    # --- shared steps ---------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
        """While open, gradients stop at looked-up rows; yields what each table's lookups read."""
        reads: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.embeddings]
        for embedding, read in zip(self.embeddings, reads, strict=True):
            embedding.reads = read
        try:
            yield reads
        finally:
            for embedding in self.embeddings:
                embedding.reads = None

    def _losses(self, logits: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Any]:
        """The losses (task,) and, where they are separate, the gradient of each on its logits.

        With it a task's backward pass starts at its own logits, and never walks (with zeros)
        through the heads of all other tasks.
        """
        if not self.separate:
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
        *,
        keep_last: bool = False,
    ) -> Found:
        """One backward pass a task: its gradient on every target, None where it has none."""
        found: Found = []
        names = self.model.schema.task_names
        for k, name in enumerate(names):
            keep = keep_last or k + 1 < len(names)
            output, given = (losses[k], None) if seeds is None else (logits[name], seeds[k])
            if not output.requires_grad:
                found.append((None,) * len(targets))
                continue
            found.append(
                torch.autograd.grad(output, targets, given, retain_graph=keep, allow_unused=True)
            )
        return found

    def _task_gradients(
        self, logits: dict[str, Tensor], batch: Batch, targets: list[Any]
    ) -> tuple[Tensor, Found, Any]:
        """Losses (task,), every task's gradient on the targets, and the same of the two halves."""
        if not self.balancer.needs_halves:
            losses, seeds = self._losses(logits, batch)
            return losses.detach(), self._walk(logits, losses, seeds, targets), None
        position = torch.arange(len(batch), device=batch.observed.device)
        first = (position % 2 == 0).unsqueeze(1)  # (batch, 1)
        both, sums, rows = [], [], []
        for chosen in (first, ~first):
            half = replace(batch, observed=batch.observed & chosen)
            losses, seeds = self._losses(logits, half)
            both.append(self._walk(logits, losses, seeds, targets, keep_last=True))
            sums.append(losses.detach())
            rows.append(half.observed.sum(0).to(losses.dtype))
        count = (rows[0] + rows[1]).clamp(min=1)
        shares = [r / count for r in rows]  # 2 x (task,)
        losses = shares[0] * sums[0] + shares[1] * sums[1]
        found = [
            tuple(
                _weighted_sum(a, shares[0][k], b, shares[1][k])
                for a, b in zip(both[0][k], both[1][k], strict=True)
            )
            for k in range(len(losses))
        ]
        return losses, found, both

    def _collect(
        self, assemble: Any, found: Any, halves: Any, blocks: dict[str, slice], lasting: int
    ) -> TaskGradients:
        two = None if halves is None else (assemble(halves[0]), assemble(halves[1]))
        return TaskGradients(assemble(found), blocks, lasting, two)

    def _set_others(self, found: Found, start: int) -> None:
        """Plain gradients of what belongs to single tasks: the sum over all losses."""
        for i, p in enumerate(self.others, start):
            p.grad = _total(found, i, p)


def _layout(parts: list[tuple[str, int]], layers: int) -> tuple[dict[str, slice], int, int]:
    """Columns of each part side by side; their number, and that of the first ``layers`` parts."""
    blocks, start, lasting = {}, 0, 0
    for i, (name, size) in enumerate(parts):
        blocks[name] = slice(start, start + size)
        start += size
        if i < layers:
            lasting = start
    return blocks, start, lasting


def _fill(row: Tensor, gradient: Tensor | None) -> None:
    """Write a gradient of any shape into its columns (number,), zeros where there is none."""
    if gradient is None:
        row.zero_()
    else:
        row.copy_(gradient.flatten())


def _flat(gradients: tuple[Tensor | None, ...], targets: list[Any]) -> Tensor:
    """Gradients side by side, zeros where there is none: (number,)."""
    return torch.cat(
        [
            (torch.zeros_like(t) if g is None else g).flatten()
            for g, t in zip(gradients, targets, strict=True)
        ]
    )


def _total(found: Found, index: int, like: Tensor) -> Tensor:
    """The sum over tasks of their gradients on one target."""
    parts = [part for g in found if (part := g[index]) is not None]
    if not parts:
        return torch.zeros_like(like)
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _weighted_sum(a: Tensor | None, wa: Tensor, b: Tensor | None, wb: Tensor) -> Tensor | None:
    if a is None or b is None:
        return a * wa if a is not None else b * wb if b is not None else None
    return a * wa + b * wb


def _set_table_gradient(embedding: FieldEmbedding, touched: Tensor, rows: Tensor) -> None:
    """Make rows (k, dim) the gradient of the table's rows ``touched`` (k,)."""
    table = embedding.table
    rows = rows.to(table.dtype)
    if embedding.sparse_gradient:
        table.grad = torch.sparse_coo_tensor(
            touched.unsqueeze(0), rows, table.shape, is_coalesced=True, check_invariants=False
        )
    else:
        table.grad = torch.zeros_like(table).index_copy_(0, touched, rows)
