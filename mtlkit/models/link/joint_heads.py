"""Heads that predict joint events each on their own, kept in order by a penalty."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.losses.chain import (
    chained,
    entire_space_row_losses,
    joint_labels,
    log1mexp,
    order_excess,
    parents_first,
    precise,
)
from mtlkit.models.around import Network
from mtlkit.models.link.base import EntireSpace, helper
from mtlkit.schema import Schema

NEARLY_ONE = 1e-6  # a conditional probability is at most e^-1e-6, so that its logit is finite


class JointHeads(EntireSpace):
    """Any sharing model whose chained heads predict "clicked and purchased" instead of a factor.

    loss_k = cross-entropy of the joint label + calibrator * mean of max(P_k - P_parent, 0),

    over all impressions whose joint label is known. A product along the chain, as in ESMM, is in
    order by construction; here each head is free, and the penalty asks for the order (the
    behavioural expectation calibrator of Xi et al. 2021, KDD, which ``AITM`` builds on). Tasks
    of other kinds keep their conditional loss.

    ``forward`` keeps the contract: its logit of a chained task is conditional, that of
    min(P_k / P_parent, 1 - 1e-6) with P_parent cut likewise, so that the conditional ones multiply
    to the least P along the path; the head's own logit is there as "joint <task>".
    ``predict_joint`` gives the heads' own probabilities, which may still be out of order.

    Parameters as in ``Link``, and ``calibrator``, the weight of the penalty: 0.6 in the paper, 0
    leaves it out. Raises ``ValueError`` for a negative one.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network | None = None,
        *,
        calibrator: float = 0.6,
    ) -> None:
        if not calibrator >= 0:
            raise ValueError(f"calibrator must be 0 or more, not {calibrator!r}.")
        super().__init__(schema, network)
        self.calibrator = calibrator
        self._order, self._chained = parents_first(schema), chained(schema)

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        raw, extra = self.inside(shared, batch)
        return self.conditional(raw) | extra

    def conditional(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The heads' logits as conditional ones, and the joint ones under names of their own."""
        logits, log_p = dict(raw), {}
        for name in self._order:
            task = self.schema.task(name)
            if not task.is_binary:
                continue
            log_p[name] = F.logsigmoid(precise(raw[name]))
            if task.given is not None:
                ratio = (log_p[name] - log_p[task.given]).clamp(max=-NEARLY_ONE)
                log_p[name] = log_p[task.given] + ratio
                logits[name] = ratio - log1mexp(ratio)
        return logits | {joint_name(name): raw[name] for name in self._chained}

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        log_p, log_q = self._joint(logits, 1), self._joint(logits, -1)
        rows = entire_space_row_losses(self.schema, log_p, log_q, logits, batch)
        if not self.calibrator or not self._chained:
            return self.with_extra(rows, logits, batch)
        known = joint_labels(self.schema, batch.labels, batch.observed)[1]
        extra = dict.fromkeys(self.schema.task_names, rows.new_zeros(rows.shape[0]))
        extra |= order_excess(self.schema, log_p)
        penalty = torch.stack(list(extra.values()), dim=1)  # (batch, task)
        rows = rows + self.calibrator * torch.where(known, penalty, 0.0)
        return self.with_extra(rows, logits, batch)

    @torch.no_grad()
    def predict_joint(self, batch: Batch) -> dict[str, Tensor]:
        """The heads' own probabilities of the joint events, (batch,), of every binary task."""
        return {name: p.exp() for name, p in self._joint(self(batch), 1).items()}

    def _joint(self, logits: Mapping[str, Tensor], sign: int) -> dict[str, Tensor]:
        """log P (sign 1) or log(1 - P) (-1) of every binary task, from the heads' own logits."""
        result = {}
        for task in self.schema.tasks:
            if task.is_binary:
                own = task.given is None
                z = logits[task.name] if own else helper(logits, joint_name(task.name), self)
                result[task.name] = F.logsigmoid(sign * precise(z))
        return result


def joint_name(name: str) -> str:
    """The name under which a head's joint logit stands beside the conditional ones."""
    return f"joint {name}"
