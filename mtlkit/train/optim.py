"""Optimisers by name, among them Adam that updates only the table rows a batch touched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from mtlkit.layers.table import EmbeddingTable
from mtlkit.train.row_prior import RowPrior
from mtlkit.train.schedule import Schedule

OPTIMIZERS = ("adam", "adamw", "lazy_adam", "sgd")


class RowAdam(torch.optim.Optimizer):
    """Adam for embedding tables whose gradient is sparse: only the touched rows move.

    For a touched row with gradient g at step t: m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
    row <- row - rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) (Kingma and Ba 2015,
    algorithm 1), with t the number of steps of the table. It differs from Adam in one thing: the
    moments of a row that the batch did not touch neither decay nor move it. A dense gradient counts
    as touching every row, and is then exactly Adam.

    Adam streams the whole table once a step; this one sorts the ids of the batch and fetches and
    writes back single rows, which costs more until the table is some ten times what a batch
    touches. A step of the table took, for 2048 rows of 16 ids and 16 columns on one thread (two),
    1.3 (1.5) times as long as Adam's at 10,000 ids, 1.2 (1.1) at 100,000, 1.0 (0.8) at 207,000, 0.8
    (0.5) at 300,000, 0.18 at a million, 0.02 at ten millions: ``mtlkit bench optimizers``.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the touched rows of every table once."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state["step"] = torch.zeros((), device=table.device)
                    state["m"], state["v"] = torch.zeros_like(table), torch.zeros_like(table)
                moving = (table, state["m"], state["v"])
                if not table.grad.is_sparse:
                    _fused_adam(moving, table.grad, state["step"], group)
                    continue
                gradient = table.grad.coalesce()
                touched = gradient.indices()[0]  # (k,)
                rows = tuple(t.index_select(0, touched) for t in moving)  # 3 x (k, dim)
                _fused_adam(rows, gradient.values(), state["step"], group)
                for whole, part in zip(moving, rows, strict=True):
                    whole.index_copy_(0, touched, part)


def _fused_adam(
    moving: tuple[Tensor, Tensor, Tensor], gradient: Tensor, step: Tensor, group: dict[str, Any]
) -> None:
    """One step of Adam in place on (weights, m, v), each (k, dim), in one pass over memory."""
    weights, m, v = moving
    beta1, beta2 = group["betas"]
    adam(
        [weights], [gradient], [m], [v], [], [step], fused=True, amsgrad=False, beta1=beta1,
        beta2=beta2, lr=group["lr"], weight_decay=0.0, eps=group["eps"], maximize=False,
    )  # fmt: skip


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Shrink all gradients together so that their common norm is at most ``largest``.

    g <- g * min(1, largest / ||g||), ||g|| over all parameters (Pascanu, Mikolov and Bengio 2013);
    sparse gradients (of tables) count with the rows they have. Returns the norm before, ().
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    values = [g._values() if g.is_sparse else g for g in gradients]
    norm = torch.stack([v.norm() for v in values]).norm()
    factor = (largest / norm.clamp(min=1e-30)).clamp(max=1.0)
    for v in values:
        v.mul_(factor)
    return norm


class Optimizers:
    """The optimiser of a whole model: one for the layers and, if lazy, one for the tables.

    ``name`` is ``"adam"`` (Kingma and Ba 2015; ``weight_decay`` adds to the gradient), ``"adamw"``
    (decay apart from the gradient), ``"lazy_adam"`` (Adam, with ``RowAdam`` and no decay on the
    embedding tables; for those from some 300,000 ids on) or ``"sgd"`` (w <- w - rate * gradient).
    ``row_prior`` is the deviation of a Gaussian prior on the rows of the embedding tables, counted
    on ``train`` (``RowPrior``). Step t of ``steps`` has learning_rate times the share that
    ``Schedule(schedule, steps, warmup_steps)`` gives it. ``rate`` is that of the last step. Raises
    ``ValueError`` for another name, and as ``Schedule``.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        learning_rate: float,
        weight_decay: float = 0.0,
        *,
        row_prior: float | None = None,
        train: Any = None,
        schedule: str = "constant",
        steps: int = 0,
        warmup_steps: int = 0,
    ) -> None:
        if name not in OPTIMIZERS:
            raise ValueError(f"optimizer is one of {', '.join(OPTIMIZERS)}, not {name!r}.")
        self.schedule = Schedule(schedule, steps, warmup_steps)
        self.learning_rate = self.rate = learning_rate
        self.moves = self.schedule.moves
        embeddings = [m for m in model.modules() if isinstance(m, EmbeddingTable)]
        embeddings = [e for e in embeddings if e.table.numel()]  # none where all inputs are dense
        tables = {id(e.table): e.table for e in embeddings}
        # plain SGD leaves untouched rows alone, so sparse gradients give the same result faster
        sparse = name == "lazy_adam" or (name == "sgd" and weight_decay == 0)
        for embedding in embeddings:
            embedding.sparse_gradient = sparse
        self.embeddings = embeddings
        self.prior = RowPrior(embeddings, train, row_prior) if row_prior is not None else None

        lazy = list(tables.values()) if name == "lazy_adam" else []
        others = [p for p in model.parameters() if not (lazy and id(p) in tables)]
        fused = all(p.is_floating_point() for p in others)
        self.all: list[torch.optim.Optimizer] = []
        if others and name == "sgd":
            sgd = torch.optim.SGD(others, lr=learning_rate, weight_decay=weight_decay)
            self.all.append(sgd)
        elif others:
            kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
            self.all.append(
                kind(others, lr=learning_rate, weight_decay=weight_decay, fused=fused or None)
            )
        if lazy:
            self.all.append(RowAdam(lazy, learning_rate))

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        if self.prior is not None:
            self.prior.forget()
        for optimizer in self.all:
            optimizer.zero_grad(set_to_none=True)

    def pull(self, rows: int) -> None:
        """Add the prior's pull, where there is one, to the gradient of a batch of ``rows`` rows."""
        if self.prior is not None:
            self.prior.pull(rows)

    def step(self, done: int = 0) -> None:
        """Move every parameter once, after ``done`` steps."""
        if self.moves:
            self._set_groups(self.learning_rate * self.schedule.share(done))
        for optimizer in self.all:
            optimizer.step()

    def set_rate(self, learning_rate: float) -> None:
        """Go on with another learning rate, which the schedule multiplies from the next step on."""
        self.learning_rate = learning_rate
        if not self.moves:
            self._set_groups(learning_rate)

    def _set_groups(self, rate: float) -> None:
        self.rate = rate
        for group in (g for optimizer in self.all for g in optimizer.param_groups):
            group["lr"] = rate

    def close(self) -> None:
        """Give the model back with dense gradients, as it came."""
        for embedding in self.embeddings:
            embedding.sparse_gradient = False
        if self.prior is not None:
            self.prior.close()

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore the state of ``state_dict``."""
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(state)
