"""What the mean over all rows would be, when only some rows show their value.

A row's loss is seen only where the shopper clicked (o = 1), and clicked rows are not like the
others. With the propensity e = P(o = 1 | row) the mean over all rows can still be estimated; the
functions below take tensors (row,) and return one number, differentiable in ``values``; those that
end in ``_rows`` stop before the mean.
"""

from __future__ import annotations

from torch import Tensor

from mtlkit.losses.tasks import masked_mean


def seen_mean(values: Tensor, seen: Tensor) -> Tensor:
    """The mean over the rows that show their value: biased wherever clicking and value go together.

    values float (row,), read only where seen, bool (row,).
    """
    return masked_mean(values, seen)


def inverse_propensity(
    values: Tensor, seen: Tensor, propensity: Tensor, rows: Tensor | None = None
) -> Tensor:
    """mean of o v / e: each seen row stands for 1/e rows like it (Horvitz and Thompson 1952).

    Unbiased when the propensity (row,) is right and above 0. ``rows``, bool (row,), says over which
    rows the mean goes (all by default); no row gives 0.
    """
    return _mean(inverse_propensity_rows(values, seen, propensity), rows)


def inverse_propensity_rows(values: Tensor, seen: Tensor, propensity: Tensor) -> Tensor:
    """o v / e of every row, (row,), of which ``inverse_propensity`` is the mean."""
    return values.where(seen, 0.0) / propensity.where(seen, 1.0)


def doubly_robust(
    values: Tensor,
    seen: Tensor,
    propensity: Tensor,
    imputed: Tensor,
    rows: Tensor | None = None,
) -> Tensor:
    """mean of v^ + o (v - v^) / e: guess every value, and mend the guess where the value is seen.

    Unbiased when the propensity is right or the guesses ``imputed`` (row,) are right on average
    given the row; both need not be (Wang X. et al. 2019, ICML; for conversions Wang H. et al. 2022,
    SIGIR). Can be negative. ``rows`` as in ``inverse_propensity``.
    """
    return _mean(doubly_robust_rows(values, seen, propensity, imputed), rows)


def doubly_robust_rows(values: Tensor, seen: Tensor, propensity: Tensor, imputed: Tensor) -> Tensor:
    """v^ + o (v - v^) / e of every row, (row,), of which ``doubly_robust`` is the mean."""
    error = values.where(seen, 0.0) - imputed.where(seen, 0.0)
    return imputed + error / propensity.where(seen, 1.0)


def _mean(values: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return values.sum() / max(len(values), 1)
    return masked_mean(values, rows)
