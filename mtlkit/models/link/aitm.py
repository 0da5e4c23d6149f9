"""AITM: each step of the chain hands what it knows to the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtlkit.data.batch import Batch
from mtlkit.layers.towers import head_logits
from mtlkit.models.around import Network
from mtlkit.models.link.base import vectors
from mtlkit.models.link.joint_heads import JointHeads
from mtlkit.schema import Schema


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


class AITM(JointHeads):
    """Adaptive information transfer multi-task model (Xi et al. 2021, KDD).

    q_k = relu(tower_k(x)), z_root = q_root, z_k = transfer(z_parent, q_k), s_k = head_k(z_k)

    The chain is the one of ``given``. Heads of chained binary tasks predict joint events, as in the
    paper, and its calibrator keeps them in order: outputs, losses and ``predict_joint`` are those
    of ``JointHeads``. Tasks of other kinds receive from their parent, too.

    Parameters as in ``Link`` (the default network's towers are (128, 64) here), and

    width
        k, the number of values that a tower gives and a transfer hands on.
    calibrator
        Weight of the calibrator (alpha, 0.6 in the paper); 0 leaves it out.
    """

    default_sizes = {"hidden": (), "tower": (128, 64)}

    def __init__(
        self,
        schema: Schema,
        network: Network | None = None,
        *,
        width: int = 32,
        calibrator: float = 0.6,
    ) -> None:
        self.width = width
        super().__init__(schema, network, calibrator=calibrator)
        receivers = [name for name in self._order if schema.task(name).given is not None]
        self._place = {name: i for i, name in enumerate(receivers)}
        self.transfers = nn.ModuleList(Transfer(width) for _ in receivers)
        self.heads = nn.ModuleList(nn.Linear(width, task.outputs) for task in schema.tasks)

    def inner_schema(self) -> Schema:
        return vectors(self.schema, self.width)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        own, extra = self.inside(shared, batch)
        z: dict[str, Tensor] = {}
        for name in self._order:
            parent = self.schema.task(name).given
            z[name] = own[name].relu()  # (batch, k)
            if parent is not None:
                z[name] = self.transfers[self._place[name]](z[parent], z[name])
        raw = {
            task.name: head_logits(task, head(z[task.name]))
            for task, head in zip(self.schema.tasks, self.heads, strict=True)
        }
        return self.conditional(raw) | extra

    def task_modules(self, name: str) -> list[nn.Module]:
        modules = [*super().task_modules(name), self.heads[self.schema.task_index(name)]]
        if name in self._place:
            modules.append(self.transfers[self._place[name]])
        return modules
