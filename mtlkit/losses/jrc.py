"""JRC: calibration and ranking of one model with two logits a row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.losses.pages import checked, log_sum_exp

AGAINST = ("opposite", "page")


def jrc(
    scores: Tensor, labels: Tensor, pages: Tensor, *, alpha: float = 0.5, against: str = "opposite"
) -> Tensor:
    """alpha * cross-entropy + (1 - alpha) * contrast within the page, (row,).

    ``scores`` (row, 2) are the logits z0 of no click and z1 of a click, and the chance is that of
    their softmax, 1 / (1 + e^-(z1 - z0)); a label above 0 is a click. The contrast of a clicked row
    is -log of its share of e^z1, of a row without a click of its share of e^z0,

    - against "opposite": among itself and the rows of its page with the other label, so that a page
      with one kind of rows has contrast 0, as in TorchEasyRec's ``JRCLoss``
    - against "page": among all rows of its page; there a page without a click pulls its z0 together

    Either is 0 for a page of one row. With alpha = 1 it is the cross-entropy of z1 - z0; with
    alpha = 0 a constant on the z1 of a page, or on its z0, changes nothing. A page's loss is the
    sum over its rows. Exact, by one log-sum-exp a page: memory grows with the rows.

    Raises ``ValueError`` for alpha outside 0 to 1, an unknown ``against``, and as
    ``mtlkit.losses.ranking``. Source: Sheng et al. 2023, KDD (arXiv 2208.06164).
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 (contrast) to 1 (cross-entropy), not {alpha!r}.")
    if against not in AGAINST:
        raise ValueError(f"against is one of {', '.join(AGAINST)}, not {against!r}.")
    scores, labels, numbered = checked(scores, labels, pages, logits=2)
    clicked = labels > 0
    z0, z1 = scores.unbind(1)
    own = torch.where(clicked, z1, z0)
    other = torch.where(clicked, z0, z1)
    entropy = F.softplus(other - own)
    if against == "page":
        levels = [log_sum_exp(z, numbered)[0][numbered.of] for z in (z0, z1)]
        contrast = torch.where(clicked, levels[1], levels[0]) - own
    else:
        contrast = torch.zeros_like(own)
        for z, rivals in ((z1, ~clicked), (z0, clicked)):
            level, there = log_sum_exp(z, numbered, rivals)
            meets = ~rivals & there[numbered.of]
            gap = torch.where(meets, level[numbered.of] - z, 0.0)
            contrast = torch.where(meets, F.softplus(gap), contrast)
    return alpha * entropy + (1 - alpha) * contrast
