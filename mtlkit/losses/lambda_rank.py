"""LambdaRank: pairs weigh what swapping them would change of the page's NDCG."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlkit.losses.pages import (
    Pages,
    Pairs,
    by_label,
    checked,
    highest,
    pairs,
    places,
    runs,
    sums,
    to_rows,
)


def lambda_rank(scores: Tensor, labels: Tensor, pages: Tensor, *, k: int | None = None) -> Tensor:
    """Pairs' logistic loss times |change of NDCG when the two swap places|, (row,).

    A page's loss is the sum over its pairs with y_i > y_j of w_ij log(1 + e^-(z_i - z_j)), paid by
    the two rows half and half, with the weights of ``swap_gains``, which pass no gradient. Memory
    grows with the pairs of unlike labels. ``k``: NDCG of the first k places alone.

    Raises ``ValueError`` for k below 1, and as ``mtlkit.losses.ranking``. Sources: Burges 2010,
    From RankNet to LambdaRank to LambdaMART; that it lowers a bound of NDCG's loss: Wang et al.
    2018, CIKM (LambdaLoss).
    """
    scores, labels, numbered = checked(scores, labels, pages)
    two = pairs(labels, numbered)
    weight = swap_gains(scores, labels, numbered, two, k)
    each = weight * F.softplus(scores[two.below] - scores[two.above])
    return to_rows(each, two, len(scores))


def swap_gains(
    scores: Tensor, labels: Tensor, pages: Pages, two: Pairs, k: int | None = None
) -> Tensor:
    """|change of the page's NDCG| when the two rows of a pair swap places, (pair,).

    |G_i - G_j| |D_i - D_j| / ideal DCG, with the gain G = 2^y - 1 and the discount D = 1 / log2(1 +
    rank), 0 beyond rank k. Ranks are those of the scores as they stand. Of rows with equal scores
    it is the mean over all orders of them: between two such groups the difference of mean
    discounts, within one the mean difference of two. So it depends on no order of rows, and a model
    that scores all alike still learns. Gains are taken relative to 2^(the page's highest label):
    they do not overflow, whatever the labels.
    """
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise ValueError(f"k must be a whole number of 1 or more, or None, not {k!r}.")
    gain = relative_gains(labels, pages)
    ideal_order = by_label(labels, pages)
    ideal = torch.zeros_like(gain)
    ideal[ideal_order] = gain[ideal_order] * discounts(places(pages, ideal_order), gain.dtype, k)
    best = sums(ideal, pages)

    order = by_label(scores, pages)  # page by page, from the highest score down
    score, page = scores[order], pages.of[order]
    discount = discounts(places(pages, order), gain.dtype, k)
    run = runs(score, page)
    size = torch.bincount(run)
    within = torch.arange(len(order), device=order.device) - (size.cumsum(0) - size)[run]
    tie = Pages(run, len(size))
    mean = sums(discount, tie) / size
    spread = sums((size[run] - 1 - 2 * within) * discount, tie)  # sum of D_a - D_b over a above b
    spread = spread * 2 / (size * (size - 1)).clamp(min=1)
    tie_of = torch.empty_like(run)
    tie_of[order] = run
    first, second = tie_of[two.above], tie_of[two.below]
    moved = torch.where(first == second, spread[first], (mean[first] - mean[second]).abs())
    change = (gain[two.above] - gain[two.below]) * moved
    return change / best[pages.of[two.above]]


def relative_gains(labels: Tensor, pages: Pages) -> Tensor:
    """(2^y - 1) / 2^m, (row,), with m the highest label of the row's page."""
    top = highest(labels, pages)[pages.of]
    return torch.exp2(labels - top) * -torch.expm1(-labels * math.log(2))


def discounts(place: Tensor, dtype: torch.dtype, k: int | None) -> Tensor:
    """1 / log2(2 + place), with places from 0; 0 from place k on."""
    found = 1 / torch.log2(place.to(dtype) + 2)
    return found if k is None else torch.where(place < k, found, 0.0)
