"""ESM2: the actions between click and purchase as a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.agreement import require_schema
from mtlkit.data.batch import Batch
from mtlkit.losses.chain import joint_row_losses, precise
from mtlkit.models.around import Network
from mtlkit.models.link.base import EntireSpace
from mtlkit.schema import Schema, SchemaError


class ESM2(EntireSpace):
    """Elaborated entire space model (Wen et al. 2020, SIGIR; arXiv 1910.07099).

    P(purchase | click) = y2 y3 + (1 - y2) y4

    y2 = P(an action such as cart | click), y3 = P(purchase | click, action), y4 = P(purchase |
    click, no action). The losses are those of the joint events click, click and action, click and
    purchase over all impressions (``joint_losses``); y3 and y4 are learned through the sum only.

    Parameters as in ``Link``, and

    via
        {task: action} or {task: [actions]}: binary tasks with the same parent as the task. The
        paper merges cart and wish list into one "deterministic action": make it one task of the
        table for that. With a list, "any of them" has the probability 1 - product of (1 - y2_a):
        the actions are taken as independent given the row.

    ``forward`` also returns the logits of y3 and y4 as "<task> with <action>" and "<task> without
    <action>". Raises ``SchemaError`` for a task or action that does not fit.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network | None = None,
        *,
        via: Mapping[str, str | Sequence[str]],
    ) -> None:
        require_schema(schema, type(self).__name__)
        self.via = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in via.items()}
        _check(schema, self.via)
        via_helpers = {}
        for name, actions in self.via.items():
            label = " or ".join(actions)
            via_helpers[name] = (f"{name} with {label}", f"{name} without {label}")
        self.with_and_without = via_helpers
        super().__init__(schema, network)

    def helpers(self) -> dict[str, tuple[str, ...]]:
        return {name: (without,) for name, (_, without) in self.with_and_without.items()}

    def decode(self, shared: tuple[Tensor, ...], batch: Batch) -> dict[str, Tensor]:
        logits, extra = self.inside(shared, batch)
        raw = dict(logits)
        for name, (yes, no) in self.with_and_without.items():
            actions = [raw[action] for action in self.via[name]]
            logits[name] = through(actions, raw[name], raw[no])
            logits[yes] = raw[name]
        return logits | extra

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.with_extra(joint_row_losses(self.schema, logits, batch), logits, batch)


def through(actions: Sequence[Tensor], given_action: Tensor, given_none: Tensor) -> Tensor:
    """The logit of y2 y3 + (1 - y2) y4 from logits (batch,): y2 = 1 - product of (1 - y2_a).

    The difference of log p and log(1 - p), each a log of a sum of positive terms: y2 y3 + (1 - y2)
    y4 and y2 (1 - y3) + (1 - y2) (1 - y4), so nothing cancels at either end.
    """
    log_any = F.logsigmoid(precise(actions[0]))
    log_none = F.logsigmoid(-precise(actions[0]))
    for z in actions[1:]:  # any: so far, or not so far but now
        log_any = torch.logaddexp(log_any, log_none + F.logsigmoid(precise(z)))
        log_none = log_none + F.logsigmoid(-precise(z))
    yes, no = precise(given_action), precise(given_none)
    log_p = torch.logaddexp(log_any + F.logsigmoid(yes), log_none + F.logsigmoid(no))
    log_q = torch.logaddexp(log_any + F.logsigmoid(-yes), log_none + F.logsigmoid(-no))
    return log_p - log_q


def _check(schema: Schema, via: Mapping[str, tuple[str, ...]]) -> None:
    for name, actions in via.items():
        task = schema.task(name)
        if not task.is_binary or not actions:
            raise SchemaError(
                f"via[{name!r}]: the task must be binary and have an action; it is {task.kind} "
                f"with {len(actions)} actions."
            )
        for action in map(schema.task, actions):
            if action.name in via or not action.is_binary or action.given != task.given:
                raise SchemaError(
                    f"via[{name!r}]: {action.name!r} must be a binary task given {task.given!r}, "
                    f"like {name!r}, and not go through an action itself."
                )
