"""ESCM2: ESMM with a conversion loss that stands for all impressions, not for the clicked ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.data.agreement import require_schema
from mtlkit.data.batch import Batch
from mtlkit.losses.chain import chained, joint_labels, joint_row_losses, log_joint, precise
from mtlkit.losses.propensity import doubly_robust_rows, inverse_propensity_rows
from mtlkit.models.around import Network
from mtlkit.models.link.base import EntireSpace, helper
from mtlkit.schema import Schema

METHODS = ("ipw", "dr")
IMPUTATIONS = ("error", "label")


class ESCM2(EntireSpace):
    """Entire space counterfactual multi-task model (Wang H. et al. 2022, SIGIR).

    Loss of a chained task, for a row with error d = cross-entropy of the conditional prediction,
    o = 1 where all ancestors happened (the error is seen) and propensity e = P(all ancestors):

    - ipw: mean of o d / e
    - dr: mean of [d^ + o (d - d^) / e], plus imputation_weight times mean of o (d - d^)^2 / e

    Total: cvr_weight * that + joint_weight * the loss of the joint event (ESMM's). Roots have their
    plain loss, tasks of other kinds their conditional one. All means go over the rows where the
    joint label is known.

    e is the model's own prediction for the ancestors, clipped from below and **detached**: else the
    conversion loss could become small by making clicks look likely. Our choice beyond the paper:
    d^ is detached in the dr mean and d in the imputation loss, so that conversion tower and
    imputation head do not chase each other.

    Parameters as in ``Link``, and

    method
        "ipw" or "dr".
    clip
        Smallest propensity, in (0, 1]: a row weighs at most 1 / clip. Clipping buys less variance
        with some bias.
    imputation
        "error": the head predicts the error itself, d^ = softplus(head), as in the paper. Since d^
        does not depend on the prediction, the conversion tower's gradient is the one of ipw; dr
        changes the value of the loss, and the shared layers through the imputation loss. "label":
        the head predicts the label r, and d^ = cross-entropy of the prediction against r depends on
        the prediction; the tower learns on rows without a click, too. Joint learning of the two is
        due to Wang X. et al. 2019, ICML; the form with a label is our choice.

    The dr loss can be negative: rules of logarithms need ``minimum``. Raises ``ValueError`` for an
    unknown method or imputation, a clip outside (0, 1] or a negative weight.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network | None = None,
        *,
        method: str = "ipw",
        clip: float = 0.05,
        cvr_weight: float = 1.0,
        joint_weight: float = 1.0,
        imputation: str = "error",
        imputation_weight: float = 1.0,
    ) -> None:
        require_schema(schema, type(self).__name__)
        if method not in METHODS:
            raise ValueError(f"method is one of {', '.join(METHODS)}, not {method!r}.")
        if imputation not in IMPUTATIONS:
            raise ValueError(f"imputation is one of {', '.join(IMPUTATIONS)}, not {imputation!r}.")
        if not 0 < clip <= 1:
            raise ValueError(f"clip must be above 0 and at most 1, not {clip!r}.")
        weights = (cvr_weight, joint_weight, imputation_weight)
        if not all(w >= 0 for w in weights):
            raise ValueError(f"The weights must be 0 or more, not {weights!r}.")
        self.method, self.clip, self.imputation = method, clip, imputation
        self.cvr_weight, self.joint_weight, self.imputation_weight = weights
        self._chained = chained(schema)
        super().__init__(schema, network)

    def helpers(self) -> dict[str, tuple[str, ...]]:
        if self.method == "ipw":
            return {}
        return {name: (f"{name} imputed {self.imputation}",) for name in self._chained}

    def propensity(self, log_p: Tensor) -> Tensor:
        """e from log P (batch,) of the ancestors: clipped from below, without a gradient."""
        return log_p.detach().exp().clamp(min=self.clip)

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        rows = list(joint_row_losses(self.schema, logits, batch).unbind(1))
        log_p = log_joint(self.schema, logits)
        known = joint_labels(self.schema, batch.labels, batch.observed)[1]  # (batch, task)
        for name in self._chained:
            i = self.schema.task_index(name)
            seen = batch.observed[:, i] & known[:, i]  # (batch,)
            propensity = self.propensity(log_p[str(self.schema.task(name).given)])
            counterfactual = self._conversion(name, logits, batch.labels[:, i], seen, propensity)
            whole = self.cvr_weight * counterfactual + self.joint_weight * rows[i]
            rows[i] = torch.where(known[:, i], whole, 0.0)
        return self.with_extra(torch.stack(rows, dim=1), logits, batch)  # (batch, task)

    def _conversion(
        self,
        name: str,
        logits: Mapping[str, Tensor],
        label: Tensor,
        seen: Tensor,
        propensity: Tensor,
    ) -> Tensor:
        """The conversion loss of every row, (batch,)."""
        z = precise(logits[name])
        error = F.softplus(z) - label.to(z.dtype) * z  # cross-entropy; read where seen
        if self.method == "ipw":
            return inverse_propensity_rows(error, seen, propensity)
        head = precise(helper(logits, self.helpers()[name][0], self))
        if self.imputation == "error":
            guess = F.softplus(head)
            fixed = guess.detach()
        else:
            guess = F.softplus(z.detach()) - head.sigmoid() * z.detach()
            fixed = F.softplus(z) - head.detach().sigmoid() * z
        value = doubly_robust_rows(error, seen, propensity, fixed)
        miss = (error.detach() - guess).square().where(seen, 0.0) / propensity
        return value + self.imputation_weight * miss
