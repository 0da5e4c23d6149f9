"""AITM: each step of the chain hands what it knows to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlkit.chain import (
    chained,
    entire_space_losses,
    joint_labels,
    log1mexp,
    order_penalty,
    parents_first,
    precise,
)
from mtlkit.data.table import Batch
from mtlkit.models.base import head_logits
from mtlkit.models.link import EntireSpace, Network, helper, vectors
from mtlkit.schema import Schema

NEARLY_ONE = 1e-6  # a conditional probability is at most e^-1e-6, so that its logit is finite


class Transfer(nn.Module):
    """The adaptive information transfer: attention over what is handed on and what is one's own.

    p = g(z_parent),  z = sum over u in {p, q} of w_u h1(u),
    w = softmax over u of <h2(u), h3(u)> / sqrt(k)

    (batch, k), (batch, k) -> (batch, k). g is a linear layer with ReLU, h1, h2 and h3 are linear.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hand_on = nn.Linear(width, width)
        self.h1, self.h2, self.h3 = (nn.Linear(width, width) for _ in range(3))

    def forward(self, parent: Tensor, own: Tensor) -> Tensor:
        messages = torch.stack([self.hand_on(parent).relu(), own], dim=1)  # (batch, 2, k)
        score = (self.h2(messages) * self.h3(messages)).sum(-1) / messages.shape[-1] ** 0.5
        weights = score.softmax(1).unsqueeze(2)  # (batch, 2, 1)
        return (weights * self.h1(messages)).sum(1)


class AITM(EntireSpace):
    """Adaptive information transfer multi-task model (Xi et al. 2021, KDD).

    q_k = relu(tower_k(x)), z_root = q_root, z_k = transfer(z_parent, q_k), s_k = head_k(z_k)

    As in the paper the heads of chained binary tasks predict **joint** events, "clicked and
    purchased", each on its own, over all impressions, and the calibrator keeps them in order:
    loss_k = cross-entropy of the joint label + calibrator * mean of max(P_k - P_parent, 0).
    Tasks of other kinds receive from their parent, too, and keep their conditional loss.

    ``forward`` keeps the contract: its logit of a chained task is conditional, that of
    min(P_k / P_parent, 1 - 1e-6), and the head's own logit s_k is there as "joint <task>".
    ``predict_joint`` gives the heads' sigmoid(s_k), which may still be out of order.

    Parameters as in ``Link`` (here ``tower=(128, 64)`` for the default network), and

    width
        k, the number of values that a tower gives and a transfer hands on.
    calibrator
        Weight of the calibrator (alpha, 0.6 in the paper); 0 leaves it out.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network | None = None,
        *,
        width: int = 32,
        calibrator: float = 0.6,
        embedding_dim: int | None = None,
        hidden: Sequence[int] | None = None,
        tower: Sequence[int] | None = None,
        dropout: float | None = None,
    ) -> None:
        if not calibrator >= 0:
            raise ValueError(f"calibrator must be 0 or more, not {calibrator!r}.")
        self.width, self.calibrator = width, calibrator
        if network is None and tower is None:
            tower = (128, 64)
        super().__init__(
            schema, network, embedding_dim=embedding_dim, hidden=hidden, tower=tower,
            dropout=dropout,
        )  # fmt: skip
        self._order, self._chained = parents_first(schema), chained(schema)
        receivers = [name for name in self._order if schema.task(name).given is not None]
        self._place = {name: i for i, name in enumerate(receivers)}
        self.transfers = nn.ModuleList(Transfer(width) for _ in receivers)
        self.heads = nn.ModuleList(nn.Linear(width, task.outputs) for task in schema.tasks)

    def inner_schema(self) -> Schema:
        return vectors(self.schema, self.width)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        own = self.network.decode(shared, batch)
        z: dict[str, Tensor] = {}
        raw: dict[str, Tensor] = {}
        log_p: dict[str, Tensor] = {}
        logits = {name: torch.empty(0) for name in self.schema.task_names}
        for name in self._order:
            task = self.schema.task(name)
            z[name] = own[name].relu()  # (batch, k)
            if task.given is not None:
                z[name] = self.transfers[self._place[name]](z[task.given], z[name])
            raw[name] = head_logits(task, self.heads[self.schema.task_index(name)](z[name]))
            logits[name] = raw[name]
            if not task.is_binary:
                continue
            log_p[name] = F.logsigmoid(precise(raw[name]))
            if task.given is not None:
                ratio = (log_p[name] - log_p[task.given]).clamp(max=-NEARLY_ONE)
                log_p[name] = log_p[task.given] + ratio
                logits[name] = ratio - log1mexp(ratio)
        return logits | {joint_name(name): raw[name] for name in self._chained}

    def _joint(self, logits: Mapping[str, Tensor], sign: int) -> dict[str, Tensor]:
        """log P (sign 1) or log(1 - P) (-1) of every binary task, from the heads' own logits."""
        result = {}
        for task in self.schema.tasks:
            if task.is_binary:
                own = task.given is None
                z = logits[task.name] if own else helper(logits, joint_name(task.name), self)
                result[task.name] = F.logsigmoid(sign * precise(z))
        return result

    def losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        log_p, log_q = self._joint(logits, 1), self._joint(logits, -1)
        losses = entire_space_losses(self.schema, log_p, log_q, logits, batch)
        if not self.calibrator or not self._chained:
            return losses
        known = joint_labels(self.schema, batch.labels, batch.observed)[1]
        extra = dict.fromkeys(self.schema.task_names, losses.new_zeros(()))
        extra |= order_penalty(self.schema, log_p, known)
        return losses + self.calibrator * torch.stack(list(extra.values()))

    @torch.no_grad()
    def predict_joint(self, batch: Batch) -> dict[str, Tensor]:
        """The heads' own probabilities of the joint events, (batch,), of every binary task."""
        return {name: p.exp() for name, p in self._joint(self(batch), 1).items()}

    def task_modules(self, name: str) -> list[nn.Module]:
        modules = [*super().task_modules(name), self.heads[self.schema.task_index(name)]]
        if name in self._place:
            modules.append(self.transfers[self._place[name]])
        return modules


def joint_name(name: str) -> str:
    """The name under which a head's joint logit stands beside the conditional ones."""
    return f"joint {name}"
