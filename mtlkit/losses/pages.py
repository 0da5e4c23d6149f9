"""Rows in pages: what is shown together is ranked together, whatever the order of the rows.

A page is all rows with one number. Pages are ragged: sums, log-sum-exps and pairs are taken within
each, in memory that grows with the rows, or with the pairs that there are, never with rows squared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mtlkit.losses.chain import precise


class Pages(NamedTuple):
    """``of`` int64 (row,): the place of each row's page among the ``many`` pages in order."""

    of: Tensor
    many: int


class Pairs(NamedTuple):
    """Rows of one page with unlike labels: ``above`` and ``below`` int64 (pair,), by label."""

    above: Tensor
    below: Tensor


def number_pages(pages: Tensor) -> Pages:
    """Pages numbered 0, 1, ... by their ids, int64 (row,) of any values."""
    ids, of = torch.unique(pages, return_inverse=True)
    return Pages(of, len(ids))


def checked(
    scores: Tensor, labels: Tensor, pages: Tensor, logits: int = 1
) -> tuple[Tensor, Tensor, Pages]:
    """The arguments of a page loss: scores in float32 at least, labels of their type, pages.

    Raises ``ValueError`` naming the argument for scores that are not (row,), or (row, logits);
    labels or pages of another length; labels below 0 or not finite; page ids that are not whole.
    """
    wanted = "(row,)" if logits == 1 else f"(row, {logits})"
    shape = tuple(scores.shape)
    if len(shape) != (1 if logits == 1 else 2) or (logits > 1 and shape[1] != logits):
        raise ValueError(f"scores must have shape {wanted}, not {shape}.")
    if not scores.is_floating_point():
        raise ValueError(f"scores must be floating-point numbers, not {scores.dtype}.")
    for name, column in (("labels", labels), ("pages", pages)):
        if tuple(column.shape) != shape[:1]:
            raise ValueError(
                f"{name} has shape {tuple(column.shape)}, scores have {shape[0]} rows: give one "
                "number a row."
            )
    if pages.is_floating_point() or pages.is_complex() or pages.dtype == torch.bool:
        raise ValueError(f"pages must be whole numbers, one id a row, not {pages.dtype}.")
    scores = precise(scores)
    labels = labels.detach().to(scores.dtype)
    if not bool((torch.isfinite(labels) & (labels >= 0)).all()):
        raise ValueError("labels must be finite and 0 or more: leave out rows without a label.")
    return scores, labels, number_pages(pages)


def sums(values: Tensor, pages: Pages) -> Tensor:
    """Sum of each page, (page,), from values (row,)."""
    return values.new_zeros(pages.many).index_add(0, pages.of, values)


def highest(values: Tensor, pages: Pages) -> Tensor:
    """Largest value of each page, (page,), without a gradient; -inf for a page without rows."""
    lowest = values.new_full((pages.many,), -torch.inf)
    return lowest.scatter_reduce(0, pages.of, values.detach(), "amax")


def log_sum_exp(scores: Tensor, pages: Pages, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """log of the sum of e^score over the rows of each page that are ``among`` (bool (row,)).

    Returns the logarithms (page,), 0 for a page without such a row, and whether there is one. The
    largest score is taken out first, so nothing overflows; no gradient is ever NaN.
    """
    if among is None:
        among = torch.ones_like(scores, dtype=torch.bool)
    most = highest(torch.where(among, scores, -torch.inf), pages)
    there = sums(among.to(scores.dtype), pages) > 0
    most = torch.where(there, most, 0.0)
    shifted = torch.where(among, scores - most[pages.of], 0.0)
    total = sums(torch.where(among, shifted.exp(), 0.0), pages)
    return most + torch.where(there, total, 1.0).log(), there


def mixed(labels: Tensor, pages: Pages) -> Tensor:
    """Which pages have unlike labels, bool (page,): all others have nothing to rank."""
    return highest(labels, pages) > -highest(-labels, pages)


def by_label(labels: Tensor, pages: Pages) -> Tensor:
    """Row numbers, page by page and within each from the highest label down, int64 (row,)."""
    order = labels.argsort(descending=True, stable=True)
    return order[pages.of[order].argsort(stable=True)]


def places(pages: Pages, order: Tensor) -> Tensor:
    """Place within its page, 0 for the first, of the rows ``order``, which come page by page."""
    size = torch.bincount(pages.of, minlength=pages.many)
    first = size.cumsum(0) - size
    return torch.arange(len(order), device=order.device) - first[pages.of[order]]


def runs(values: Tensor, page: Tensor) -> Tensor:
    """Runs of equal values within a page numbered 0, 1, ... down the rows, int64 (row,)."""
    changes = (values[1:] != values[:-1]) | (page[1:] != page[:-1])
    return torch.cat([changes.new_zeros(min(len(values), 1)), changes]).cumsum(0)


def pairs(labels: Tensor, pages: Pages) -> Pairs:
    """Every two rows of one page with unlike labels, once, the higher label ``above``."""
    order = by_label(labels, pages)
    label, page = labels[order], pages.of[order]
    size = torch.bincount(pages.of, minlength=pages.many)
    end = size.cumsum(0)[page]  # where each row's page ends, in this order
    run = runs(label, page)
    lower = torch.bincount(run).cumsum(0)[run]  # where rows of a lower label (or page) begin
    many = end - lower
    above = torch.repeat_interleave(torch.arange(len(order), device=order.device), many)
    start = many.cumsum(0) - many
    below = lower[above] + torch.arange(len(above), device=order.device) - start[above]
    return Pairs(order[above], order[below])


def to_rows(values: Tensor, of_pairs: Pairs, rows: int) -> Tensor:
    """Values (pair,) shared out to the two rows of each pair, half and half: (row,)."""
    half = values / 2
    out = values.new_zeros(rows).index_add(0, of_pairs.above, half)
    return out.index_add(0, of_pairs.below, half)
