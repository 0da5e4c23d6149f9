"""Rules that look at single numbers or layers of the task gradients, not at the Gramian alone."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.schema import Schema, SchemaError


class GradDrop(Balancer):
    """GradDrop: where tasks disagree about a sign, one sign is drawn and the other dropped.

    P = (1 + sum_i g_i / sum_i |g_i|) / 2                the share of positive gradient, per number
    keep_i = 1 where (g_i > 0 and P > U) or (g_i < 0 and P < U), U uniform, one a number
    update = sum_i (leak + (1 - leak) keep_i) g_i

    Where all tasks agree nothing is dropped; on average the update is that of the positive and
    negative parts weighted by P and 1 - P. The paper drops on an activation, with the sum over the
    batch; pass ``shared="representation"`` to ``fit`` for its gradients row by row. Heads get the
    plain gradient of their own loss.

    Chen et al. 2020 (NeurIPS, arXiv 2010.06808).
    """

    needs_gradients, weighs_heads = True, False
    memory = ("generator",)

    def __init__(self, leak: float = 0.0, seed: int = 0) -> None:
        if not 0 <= leak <= 1:
            raise ValueError(f"leak must lie between 0 and 1, not {leak}.")
        self.leak = leak
        self.generator = torch.Generator().manual_seed(seed)

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """The masked sum, (number,)."""
        self.trained(losses, gradients)
        matrix = gradients.matrix
        total, size = matrix.sum(0), matrix.abs().sum(0)
        positive = torch.where(size > 0, 0.5 * (1 + total / size), 0.5)
        # drawn on the CPU whatever the device, so that a seed means the same everywhere
        drawn = torch.rand(matrix.shape[1], generator=self.generator).to(matrix)
        up = positive > drawn
        kept = torch.where(up, matrix.clamp(min=0).sum(0), matrix.clamp(max=0).sum(0))
        return self.leak * total + (1 - self.leak) * kept


class ExcessMTL(Balancer):
    """ExcessMTL: weight on the tasks that still have far to go, by an estimate of excess risk.

    s_i <- s_i + g_i^2                       per number, over all batches so far
    E_i = g_i^T diag(s_i)^(-1/2) g_i         estimated excess risk
    w_i <- w_i exp(rate * E_i / E_i(0)),     w <- k w / sum w over the k tasks of the batch

    Label noise raises a task's loss for ever but not its excess risk. s covers the shared layers
    (embedding rows change with the batch), E_i(0) is the first batch's. The weights combine the
    gradients of everything shared; heads get the plain gradient of their own loss (the authors'
    code weighs them as well).

    Raises ``ValueError`` where nothing shared lasts from batch to batch, so that there is no s: at
    the representation, or in a model that shares tables alone.

    He et al. 2024, Robust multi-task learning with excess risks (ICML).
    """

    needs_gradients, weighs_heads = True, False
    memory = ("squares", "first", "logs")

    def __init__(self, rate: float = 0.01) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be more than 0, not {rate}.")
        self.rate = rate
        self.squares: Tensor | None = None
        self.first: Tensor | None = None
        self.logs: Tensor | None = None

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """The weighted sum, (number,)."""
        if not gradients.lasting:
            raise ValueError(
                "ExcessMTL sums squared gradients of the shared layers over the batches, and there "
                'are none here: use shared="parameters" and a model that shares layers.'
            )
        here = self.trained(losses, gradients)
        matrix = gradients.matrix
        if not len(here):
            return matrix.sum(0)
        place = here.to(matrix.device)
        rows = matrix[place, : gradients.lasting]
        if self.squares is None:
            self.squares = rows.new_zeros(self.tasks, gradients.lasting)
        squares = self.squares = self.squares.to(rows)
        squares[place] += rows.square()
        seen = squares[place]
        risk = torch.where(seen > 0, rows.square() / seen.sqrt(), 0.0).sum(1).cpu().double()

        first, logs = self.full("first", self.tasks, 0.0), self.full("logs", self.tasks, 0.0)
        first[here] = torch.where(first[here] > 0, first[here], risk)
        relative = torch.where(first[here] > 0, risk / first[here], 0.0)
        logs[here] += self.rate * relative
        logs -= logs.mean()  # a common factor changes no weight
        weights = len(here) * logs[here].softmax(0)
        return self.note(weights.to(matrix)) @ matrix[place]


class MetaBalance(Balancer):
    """MetaBalance: helpers' gradients brought near the size of the main task's, layer by layer.

    For each block (a parameter, or the touched rows of a table), with n_i a running mean of the
    norm of task i's gradient there:
    n_i <- decay n_i + (1 - decay) ||g_i||,   from 0;   m_i = n_i / (1 - decay^(batches with i))
    g_i <- relax * g_i * m_main / m_i + (1 - relax) * g_i      for every task but the main one
    update = sum_i g_i

    ``relax=0`` is equal weighting, 1 makes all norms equal to the main task's. ``when`` limits this
    to helpers that are "larger" or "smaller" than the main task. A block that the main task has
    never reached stays as it is. Heads get the plain gradient of their own loss.

    The paper's ratio is n_main / n_i: the same number as long as both tasks had their labels in the
    same batches. Where they did not, m takes out that a mean which starts at 0 is too small at
    first. In the authors' code a block without the main task shrinks the helpers there by
    1 - relax.

    Raises ``ValueError`` for relax outside [0, 1], decay outside [0, 1) or an unknown ``when``,
    ``SchemaError`` for an unknown main task.

    He et al. 2022 (WWW, arXiv 2203.06801).
    """

    needs_gradients, weighs_heads = True, False
    memory = ("norms", "batches")

    def __init__(
        self, main: str, relax: float = 0.7, decay: float = 0.9, when: str = "always"
    ) -> None:
        if not 0 <= relax <= 1:
            raise ValueError(f"relax must lie between 0 and 1, not {relax!r}.")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be 0 or more and below 1, not {decay!r}.")
        if when not in ("always", "larger", "smaller"):
            raise ValueError(f'when is "always", "larger" or "smaller", not {when!r}.')
        self.main, self.relax, self.decay, self.when = main, relax, decay, when
        self.norms: Tensor | None = None  # n, (task, block)
        self.batches: Tensor | None = None  # with a label and a gradient, (task,)

    def bind(self, schema: Schema) -> MetaBalance:
        """Learn where the main task stands; ``SchemaError`` if the schema lacks it."""
        if self.main not in schema.task_names:
            raise SchemaError(
                f"MetaBalance's main task {self.main!r} is not one of "
                f"{', '.join(schema.task_names)}."
            )
        super().bind(schema)
        return self

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """The sum of the rescaled gradients, (number,)."""
        if self.schema is None:
            raise RuntimeError("MetaBalance does not know the order of tasks: call bind(schema).")
        here = self.trained(losses, gradients)
        matrix = gradients.matrix
        sizes = [columns.stop - columns.start for columns in gradients.blocks.values()]
        norms = torch.stack([b.norm(dim=1) for b in matrix.split(sizes, dim=1)], dim=1)
        norms = norms.to("cpu", torch.float64)  # (task, block)
        if self.norms is None:
            self.norms = torch.zeros_like(norms)
        if self.norms.shape != norms.shape:
            raise ValueError(
                f"MetaBalance remembers norms of {tuple(self.norms.shape)} (tasks, blocks) and was "
                f"given {tuple(norms.shape)}: make a new balancer for another model or place."
            )
        self.norms[here] = self.decay * self.norms[here] + (1 - self.decay) * norms[here]
        batches = self.full("batches", self.tasks, 0.0)
        batches[here] += 1
        usual = self.norms / (1 - self.decay ** batches.clamp(min=1)).unsqueeze(1)  # m

        main = self.schema.task_index(self.main)
        both = (usual > 0) & (usual[main] > 0)
        ratio = torch.where(both, usual[main] / usual, 1.0)  # (task, block)
        if self.when == "larger":
            ratio = ratio.clamp(max=1.0)
        elif self.when == "smaller":
            ratio = ratio.clamp(min=1.0)
        scale = self.relax * ratio + 1 - self.relax
        scale[main] = 1.0
        parts = matrix.split(sizes, dim=1)
        return torch.cat([scale[:, i].to(matrix) @ part for i, part in enumerate(parts)])
