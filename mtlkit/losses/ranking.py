"""Losses of pages: what is shown together is compared with each other.

Every one takes scores (row,), labels (row,) of 0 or more and page ids (row,), any whole numbers in
any order, and returns what each row pays, (row,). **The sum over the rows of a page is the page's
loss**, and the mean over rows is what a model learns from: (sum of the page losses) / rows. It has
the unit of the pointwise loss, nats a row, so that the two can be added and weighed.

- Labels that tie are not compared. A page whose labels are all alike (no click, all clicked, or a
  single row) has nothing to rank: 0 and no gradient, never NaN (``pointwise`` learns of it, and so
  does the pointwise part of ``jrc``).
- ``bpr`` and ``listwise_softmax`` count each page once, however many rows, clicks or pairs it has.
  ``lambda_rank`` adds up over the pairs of a page: one with more pairs, or whose swaps change NDCG
  by more, counts more.
- All three see differences of scores alone: a constant on a page changes nothing. Therefore **their
  scores are no chances**: sums of 1 / (1 + e^-z) say nothing of what happens until
  ``mtlkit.train.calibrate`` (or a pointwise part) sets their level.
- Losses are computed in float32 at least. Wrong shapes, page ids that are not whole and labels
  below 0 raise ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.losses.jrc import jrc
from mtlkit.losses.lambda_rank import lambda_rank
from mtlkit.losses.pages import (
    checked,
    highest,
    log_sum_exp,
    mixed,
    number_pages,
    pairs,
    sums,
    to_rows,
)

PageLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # scores, labels, pages -> (row,)


def pointwise(scores: Tensor, labels: Tensor, pages: Tensor) -> Tensor:
    """Cross-entropy of each row's click (a label above 0), (row,): the yardstick that ranks not.

    log(1 + e^z) - y z; the page's loss is the sum over its rows. ``pages`` changes nothing.
    """
    scores, labels, _ = checked(scores, labels, pages)
    return F.softplus(scores) - (labels > 0).to(scores.dtype) * scores


def bpr(scores: Tensor, labels: Tensor, pages: Tensor) -> Tensor:
    """Logistic loss of the pairs of a page (Rendle et al. 2009, UAI, BPR), (row,).

    A page's loss is the mean of log(1 + e^-(z_i - z_j)) over its pairs with y_i > y_j; each pair is
    paid by its two rows, half and half. Memory grows with the pairs of unlike labels.
    """
    scores, labels, numbered = checked(scores, labels, pages)
    two = pairs(labels, numbered)
    page = numbered.of[two.above]
    count = torch.bincount(page, minlength=numbered.many)
    each = F.softplus(scores[two.below] - scores[two.above]) / count[page]
    return to_rows(each, two, len(scores))


def listwise_softmax(scores: Tensor, labels: Tensor, pages: Tensor) -> Tensor:
    """Cross-entropy of a page's labels and the softmax of its scores, (row,).

    ListNet with top-one probabilities (Cao et al. 2007, ICML), the target being t_i = y_i / sum of
    y over the page, where ListNet has softmax(y): several clicked rows share the target evenly, and
    a row without a click has none. A row pays -t_i log softmax(z)_i; a page's loss is their sum, at
    least the entropy of t. Memory grows with the rows.
    """
    scores, labels, numbered = checked(scores, labels, pages)
    top = highest(labels, numbered)
    share = labels / torch.where(top > 0, top, 1.0)[numbered.of]  # a sum that cannot overflow
    total = sums(share, numbered)
    scale = torch.where(mixed(labels, numbered), 1 / total.clamp(min=1), 0.0)
    target = share * scale[numbered.of]
    level, _ = log_sum_exp(scores, numbered)
    return target * (level[numbered.of] - scores)


def page_losses(rows: Tensor, pages: Tensor) -> Tensor:
    """The loss of each page, (page,) in growing order of its id: the sum of what its rows pay."""
    return sums(rows, number_pages(pages))


# name -> loss of pages: (scores, labels, pages) -> what each row pays
RANKING_LOSSES: dict[str, PageLoss] = {
    "pointwise": pointwise,
    "bpr": bpr,
    "listwise": listwise_softmax,
    "lambdarank": lambda_rank,
    "jrc": jrc,
}
