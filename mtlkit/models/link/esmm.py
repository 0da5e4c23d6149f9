"""ESMM: the entire space, so that conversion is learned on all impressions."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mtlkit.data.batch import Batch
from mtlkit.losses.chain import joint_row_losses
from mtlkit.models.link.base import EntireSpace


class ESMM(EntireSpace):
    """Entire space multi-task model (Ma X. et al. 2018, SIGIR).

    pCTCVR = pCTR * pCVR, and the losses are those of click and of "click and purchase", both over
    all impressions; pCVR is the factor that is left and is never trained on clicked rows alone.
    Here for chains and trees of any length: every binary task with ``given`` gets the loss of its
    joint event, in log space (``mtlkit.losses.chain.joint_losses``); tasks of other kinds keep
    their conditional loss. The loss of a child reaches the towers of all its ancestors, as in the
    paper.

    Parameters as in ``Link``; ``network=SingleTask`` is the paper's ESMM-NS, whose towers share
    nothing.
    """

    def row_losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.with_extra(joint_row_losses(self.schema, logits, batch), logits, batch)
