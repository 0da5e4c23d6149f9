"""Metrics of one task, and of a model against a yardstick: plain functions of numpy arrays.

Every function takes whole columns (a metric is never a mean over batches), computes in float64 and
does not depend on the order of the rows. Where a value is undefined (no rows, one class only, a
constant label) the answer is NaN, never an invented number. Columns of different lengths, NaN in a
column and a probability outside 0 .. 1 raise ``MetricError``, which names the column and the row.

``weight`` (row,), 0 or more, says for how many rows like it each row stands: whole weights give the
value of a table in which each row stands so many times, and only their ratios matter. None: 1 each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from mtlkit.schema import Task

NAN = float("nan")

# +1: higher is better, -1: lower is better, 0: a target in between (PCOC should be 1).
METRIC_SIGNS = {
    "auc": 1,
    "auc_within": 1,
    "auc_between": 1,
    "gauc": 1,
    "accuracy": 1,
    "recall": 1,
    "precision": 1,
    "r2": 1,
    "r2_log": 1,
    "ndcg": 1,
    "log_loss": -1,
    "normalized_entropy": -1,
    "ece": -1,
    "rmse": -1,
    "mae": -1,
    "rmse_uncensored": -1,
    "mae_uncensored": -1,
    "poisson_deviance": -1,
    "pcoc": 0,
    "gauc_skipped": 0,
    "pairs_within": 0,
    "censored_share": 0,
}
METRIC_SIGNS |= {f"joint_{name}": sign for name, sign in METRIC_SIGNS.items()}  # of joint events

# As tables and axes write them.
METRIC_NAMES = {
    "auc": "AUC",
    "auc_within": "AUC within scenarios",
    "auc_between": "AUC between scenarios",
    "pairs_within": "share of pairs within scenarios",
    "gauc": "GAUC",
    "gauc_skipped": "share skipped by GAUC",
    "ndcg": "NDCG",
    "r2": "R²",
    "r2_log": "R² of log(1 + y)",
    "ece": "ECE",
    "pcoc": "predicted / observed",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "rmse_uncensored": "RMSE (not censored)",
    "mae_uncensored": "mean absolute error (not censored)",
    "log_loss": "log-loss",
    "poisson_deviance": "Poisson deviance",
}


def metric_name(name: str) -> str:
    """A metric's name for readers: "AUC" for "auc"; an unknown name loses its underscores."""
    if name.startswith("joint_"):
        return f"joint {metric_name(name.removeprefix('joint_'))}"
    return METRIC_NAMES.get(name, name.replace("_", " "))


class MetricError(ValueError):
    """A column cannot be measured; the message names the column, the row and what to do."""


class GroupedAuc(NamedTuple):
    """Impression-weighted mean AUC of the groups, and what had to be left out of it."""

    value: float
    skipped_groups: float  # share of groups (users) with one class only
    skipped_rows: float  # share of rows (impressions) that belong to them


class AucGain(NamedTuple):
    """A difference of two pooled AUCs, and what each kind of pairs adds to it."""

    pooled: float  # within + between
    within: float
    between: float


class AucParts(NamedTuple):
    """AUC of all pairs, of those within one group and of those between two; ``auc_parts``.

    pooled = share within + (1 - share) between, where a kind of which there are no pairs adds 0.
    """

    pooled: float
    within: float  # NaN without such pairs
    between: float  # NaN without such pairs
    share: float  # of the pairs, or of what they weigh, that lie within one group

    def minus(self, reference: AucParts) -> AucGain:
        """How much each kind of pairs adds to this pooled AUC minus that of ``reference``.

        The AUC of a kind times its share of the pairs, less the same of the reference. Both must be
        of the same rows: raises ``MetricError`` where the shares differ.
        """
        same = math.isclose(self.share, reference.share, rel_tol=1e-9)
        if not same and not (math.isnan(self.share) and math.isnan(reference.share)):
            raise MetricError(
                f"The shares of pairs within groups differ ({self.share:.6g} and "
                f"{reference.share:.6g}): both models must score the same rows in the same groups."
            )
        within = _times(self.share, self.within - reference.within)
        between = _times(1 - self.share, self.between - reference.between)
        return AucGain(within + between, within, between)


class CalibrationCurve(NamedTuple):
    """Bins of equal mass, every field (bin,); ``low`` and ``high`` are a 95 % Wilson interval."""

    prediction: np.ndarray
    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray


# --- columns ----------------------------------------------------------------------------------


def _column(name: str, values: Any, rows: int | None = None, dimensions: int = 1) -> np.ndarray:
    column = np.asarray(values)
    if column.dtype.kind not in "biuf":
        raise MetricError(f"{name} must hold numbers, not {column.dtype}.")
    if column.ndim != dimensions:
        raise MetricError(f"{name} must have {dimensions} dimension(s), not shape {column.shape}.")
    if rows is not None and len(column) != rows:
        raise MetricError(
            f"{name} has {len(column)} rows and label has {rows}: pass columns of one table."
        )
    column = column.astype(np.float64)
    bad = ~np.isfinite(column)
    if bad.any():
        row = int(np.argwhere(bad)[0, 0])
        raise MetricError(
            f"{name}, row {row}: {column[row]} is not a finite number; "
            "leave out rows without a label and look for the step where the model broke."
        )
    return column


def _refuse(name: str, column: np.ndarray, bad: np.ndarray, reason: str) -> None:
    if bad.any():
        row = int(np.argwhere(bad)[0, 0])
        raise MetricError(f"{name}, row {row}: {column[row]} {reason}.")


def _binary(label: Any) -> np.ndarray:
    y = _column("label", label)
    _refuse("label", y, (y != 0) & (y != 1), "is not 0 or 1")
    return y


def _probability(prediction: Any, rows: int) -> np.ndarray:
    p = _column("prediction", prediction, rows)
    _refuse("prediction", p, (p < 0) | (p > 1), "is no probability (0 .. 1); pass no logits")
    return p


def _class_probability(label: Any, prediction: Any) -> tuple[np.ndarray, np.ndarray]:
    y = _column("label", label)
    p = _column("prediction", prediction, len(y), dimensions=2)  # (row, class)
    outside = np.asarray(((p < 0) | (p > 1)).any(axis=1))
    _refuse("prediction", p, outside, "is no row of probabilities (0 .. 1)")
    off = np.abs(p.sum(1) - 1) > 1e-3
    _refuse("prediction", p, off, "does not sum to 1 over the classes")
    bad = (y < 0) | (y >= p.shape[1]) | (y != np.round(y))
    _refuse("label", y, bad, f"is no class in 0 .. {p.shape[1] - 1}")
    return y.astype(np.int64), p


def _nonnegative(name: str, values: Any, rows: int | None = None) -> np.ndarray:
    column = _column(name, values, rows)
    _refuse(name, column, column < 0, "is below 0")
    return column


def _weight(weight: Any, rows: int) -> np.ndarray | None:
    return None if weight is None else _nonnegative("weight", weight, rows)


def _kept(weight: np.ndarray | None, *columns: np.ndarray) -> tuple[Any, ...]:
    """The weights and columns without the rows that weigh 0: they are not there."""
    if weight is None or weight.all():
        return weight, *columns
    there = weight > 0
    return weight[there], *(column[there] for column in columns)


def _times(share: float, value: float) -> float:
    """The product; 0 where there is nothing to have a value."""
    return share * value if share else 0.0


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else NAN


def _mean(values: np.ndarray, weight: np.ndarray | None = None) -> float:
    if weight is None:
        return float(values.mean()) if values.size else NAN
    return _ratio(float((values * weight).sum()), float(weight.sum()))


def _sum(values: np.ndarray, weight: np.ndarray | None) -> float:
    return float((values if weight is None else values * weight).sum())


# --- ranking ----------------------------------------------------------------------------------


def auc(label: Any, score: Any, weight: Any = None) -> float:
    """Probability that a random positive row scores above a random negative one; ties count half.

    AUC = (number of pairs won + half the pairs tied) / (positives x negatives), counted through one
    sort; a pair weighs the product of its rows' weights. label: 0 or 1, (row,); score: any finite
    number, (row,); weight: (row,). NaN with one class only.
    Source: Hanley and McNeil, Radiology 1982.
    """
    y = _binary(label)
    s = _column("score", score, len(y))
    w, y, s = _kept(_weight(weight, len(y)), y, s)
    order = np.argsort(s)
    y, s, w = y[order], s[order], None if w is None else w[order]
    del order  # a column of millions of rows is large, and the next step makes a dozen
    return _mean_auc(*_wins(y, s, np.zeros(len(y), dtype=np.int8), w)).value


def gauc(label: Any, score: Any, group: Any, weight: Any = None) -> GroupedAuc:
    """AUC inside each group (user), averaged with the groups' rows (impressions) as weights.

    GAUC = sum_g n_g AUC_g / sum_g n_g over the groups g that have both classes, n_g the rows or
    what they weigh. The groups left out are reported as a share of groups and as a share of rows.
    label: 0 or 1, (row,); score, weight: (row,); group: any whole number, (row,). The value is NaN
    when no group has both classes.
    Source: Zhou et al., KDD 2018 (Deep Interest Network), section 6.
    """
    w, y, s, g = _grouped(label, score, group, weight)
    return _mean_auc(*_wins_in_order(y, s, g, w, np.lexsort((s, g))))


def auc_parts(label: Any, score: Any, group: Any, weight: Any = None) -> AucParts:
    """AUC split into its pairs within one group (scenario) and its pairs between two groups.

    Each pair, a positive and a negative row, lies in one group or in two, so with P_s positives and
    N_s negatives in group s the pooled AUC is sum_st P_s N_t AUC_st / sum_st P_s N_t, AUC_st that
    of the positives of s against the negatives of t. ``within`` is the mean over s = t: the groups'
    own AUCs, weighted by their pairs (``gauc`` weighs them by their rows). ``between`` is the mean
    over all others, and ``share`` is what the first are of all pairs. A group in which all scores
    are moved by one number keeps its part of ``within``: such a change of calibration moves the
    pooled AUC through ``between`` alone. ``minus`` splits the difference of two models.

    label: 0 or 1, (row,); score, weight: (row,); group: any whole number, (row,). Ties count half.
    ``pooled`` and ``share`` are NaN with one class only; ``within`` where no group has both
    classes, ``between`` with one group only. Two sorts, whatever the number of groups.
    Source: Kallus and Zhou, NeurIPS 2019 (AUC_st, s != t, is their xAUC).
    """
    w, y, s, g = _grouped(label, score, group, weight)
    if not len(y):
        return AucParts(NAN, NAN, NAN, NAN)
    whole = _wins_in_order(y, s, np.zeros(len(y), dtype=np.int8), w, np.argsort(s))
    won, positives, negatives = _wins_in_order(y, s, g, w, np.lexsort((s, g)))
    pairs = float((positives * negatives).sum())
    others = float(positives.sum() * negatives.sum()) - pairs
    within = float(won.sum())
    between = min(max(float(whole[0][0]) - within, 0.0), others)  # weights can leave - 1e-16
    share = _ratio(pairs, pairs + others)
    pooled = _mean_auc(*whole).value
    return AucParts(pooled, _ratio(within, pairs), _ratio(between, others), share)


def _grouped(
    label: Any, score: Any, group: Any, weight: Any
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
    """Weights, labels, scores and groups of the rows that count, checked."""
    y = _binary(label)
    s = _column("score", score, len(y))
    g = np.asarray(group)
    if g.shape != y.shape or g.dtype.kind not in "iub":
        raise MetricError(f"group must be whole numbers (row,), not {g.dtype} {g.shape}.")
    w, y, s, g = _kept(_weight(weight, len(y)), y, s, g)
    return w, y, s, g


def _mean_auc(won: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> GroupedAuc:
    """GAUC of the groups' pairs won, positives and negatives, (group,) each."""
    if not len(won):
        return GroupedAuc(NAN, NAN, NAN)
    pairs = positives * negatives
    rows = positives + negatives
    both = pairs > 0
    weighted = np.sum(rows[both] * won[both] / pairs[both])
    value = _ratio(weighted, float(rows[both].sum()))
    return GroupedAuc(value, 1 - float(both.mean()), 1 - float(rows[both].sum() / rows.sum()))


def _wins_in_order(
    y: np.ndarray, s: np.ndarray, g: np.ndarray, w: np.ndarray | None, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _wins(y[order], s[order], g[order], None if w is None else w[order])


def _wins(
    y: np.ndarray, s: np.ndarray, g: np.ndarray, w: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs won (a tie is half a win), positives and negatives of each group, (group,) each.

    Rows (row,) sorted by group, then by score; w: their weights, above 0.
    """
    if not len(y):
        return np.empty(0), np.empty(0), np.empty(0)
    new_group = np.r_[True, g[1:] != g[:-1]]
    new_tie = new_group | np.r_[True, s[1:] != s[:-1]]
    tie_start = np.flatnonzero(new_tie)
    group_of_tie = np.cumsum(new_group, dtype=np.int32)[tie_start] - 1  # (tie,)
    del new_group, new_tie, s, g
    if w is None:
        rows_of_tie = np.diff(np.r_[tie_start, len(y)])
        positives = np.add.reduceat(y, tie_start)  # (tie,)
        negatives = rows_of_tie - positives
    else:  # summed apart: a difference would round a tie of positives away from 0 negatives
        positives = np.add.reduceat(np.where(y == 1, w, 0.0), tie_start)
        negatives = np.add.reduceat(np.where(y == 1, 0.0, w), tie_start)
    del y, w, tie_start
    groups = int(group_of_tie[-1]) + 1
    total_positives = np.bincount(group_of_tie, positives, groups)  # (group,)
    total_negatives = np.bincount(group_of_tie, negatives, groups)
    # Negatives of the same group that score lower: a running sum, less what earlier groups held.
    below = np.cumsum(negatives) - negatives
    below -= (np.cumsum(total_negatives) - total_negatives)[group_of_tie]
    negatives /= 2
    below += negatives
    below *= positives
    return np.bincount(group_of_tie, below, groups), total_positives, total_negatives


def ndcg(label: Any, score: Any, group: Any, k: int | None = None) -> float:
    """Mean over groups of the discounted gain of the first ``k`` places, relative to the best.

    DCG = sum_r gain_r / log2(r + 1) over ranks r = 1 .. k; NDCG = DCG / DCG of the ideal order. The
    gains are the labels themselves (pass 2**grade - 1 for that convention). Rows with equal scores
    share their places' discounts evenly. Groups without any gain have no ideal order and are left
    out; NaN when that leaves none. label: gains of 0 or more, (row,); score, group: (row,).
    Source: Jarvelin and Kekalainen, ACM TOIS 2002; ties: McSherry and Najork, ECIR 2008.
    """
    if k is not None and k < 1:
        raise MetricError(f"k must be 1 or more, not {k}.")
    gains = _nonnegative("label", label)
    s = _column("score", score, len(gains))
    g = np.asarray(group)
    if g.shape != gains.shape:
        raise MetricError(f"group has shape {g.shape} and label {gains.shape}.")
    if not len(gains):
        return NAN
    _, g = np.unique(g, return_inverse=True)
    groups = int(g.max()) + 1
    dcg = _dcg(gains, s, g, groups, k)
    ideal = _dcg(gains, gains, g, groups, k)
    kept = ideal > 0
    return _mean(dcg[kept] / ideal[kept])


def _dcg(
    gains: np.ndarray, score: np.ndarray, group: np.ndarray, groups: int, k: int | None
) -> np.ndarray:
    order = np.lexsort((-score, group))
    gains, score, group = gains[order], score[order], group[order]
    new_group = np.r_[True, group[1:] != group[:-1]]
    first = np.flatnonzero(new_group)[np.cumsum(new_group) - 1]
    place = np.arange(len(gains)) - first  # 0 for the top of each group
    discount = 1 / np.log2(place + 2)
    if k is not None:
        discount[place >= k] = 0
    tie_start = np.flatnonzero(new_group | np.r_[True, score[1:] != score[:-1]])
    rows = np.diff(np.r_[tie_start, len(gains)])
    mean_gain = np.add.reduceat(gains, tie_start) / rows
    earned = mean_gain * np.add.reduceat(discount, tie_start)
    return np.bincount(group[tie_start], earned, groups)  # (group,)


# --- probabilities ----------------------------------------------------------------------------


def _clip(prediction: Any, p: np.ndarray) -> np.ndarray:
    # A float32 sigmoid reaches exactly 0 and 1; the nearest number of its own type stands in.
    kind = np.asarray(prediction).dtype
    epsilon = np.finfo(kind if kind.kind == "f" else np.float64).eps
    return np.clip(p, epsilon, 1 - epsilon)


def log_loss(label: Any, prediction: Any, weight: Any = None) -> float:
    """Mean negative log-likelihood in nats: - mean(y log p + (1 - y) log(1 - p)).

    prediction: probabilities (row,), or (row, class) with labels 0 .. class - 1. Probabilities are
    kept one machine epsilon of their own type away from 0 and 1. NaN without rows.
    """
    if np.ndim(prediction) == 2:
        classes, rows = _class_probability(label, prediction)
        loss = -np.log(_clip(prediction, rows)[np.arange(len(classes)), classes])
        return _mean(loss, _weight(weight, len(classes)))
    y = _binary(label)
    p = _clip(prediction, _probability(prediction, len(y)))
    loss = np.log(p)  # in place from here on: columns of millions of rows are large
    loss *= y
    rest = np.log1p(np.negative(p, out=p), out=p)
    rest *= 1 - y
    loss += rest
    return _mean(np.negative(loss, out=loss), _weight(weight, len(y)))


def normalized_entropy(label: Any, prediction: Any, weight: Any = None) -> float:
    """Log-loss divided by the entropy of the labels' own rates: 1 = no better than the base rate.

    The entropy is that of these labels; NaN when they hold one class only.
    Source: He et al., ADKDD 2014, section 3.
    """
    loss = log_loss(label, prediction, weight)
    w, y = _kept(_weight(weight, len(np.asarray(label))), np.asarray(label))
    if w is None:
        counts: Any = np.unique(y, return_counts=True)[1]
    else:
        values, place = np.unique(y, return_inverse=True)
        counts = np.bincount(place.reshape(-1), w, len(values))
    rates = counts / (max(1, counts.sum()) if w is None else counts.sum() or 1)
    return _ratio(loss, float(-(rates * np.log(rates)).sum()) if len(rates) > 1 else 0.0)


def accuracy(label: Any, prediction: Any, threshold: float = 0.5, *, weight: Any = None) -> float:
    """Share of rows whose decision is right; NaN without rows.

    The decision is prediction >= threshold for (row,), the most probable class for (row, class).
    """
    if np.ndim(prediction) == 2:
        classes, rows = _class_probability(label, prediction)
        right = rows.argmax(1) == classes
        return _mean(right, _weight(weight, len(classes))) if len(classes) else NAN
    y = _binary(label)
    right = (_probability(prediction, len(y)) >= threshold) == (y == 1)
    return _mean(right, _weight(weight, len(y)))


def recall(label: Any, prediction: Any, threshold: float = 0.5, *, weight: Any = None) -> float:
    """Share of the positive rows with prediction >= threshold; NaN without positive rows."""
    y = _binary(label)
    chosen = _probability(prediction, len(y)) >= threshold
    w = _weight(weight, len(y))
    return _mean(chosen[y == 1], w if w is None else w[y == 1])


def precision(label: Any, prediction: Any, threshold: float = 0.5, *, weight: Any = None) -> float:
    """Share of positives among rows with prediction >= threshold; NaN when no row reaches it."""
    y = _binary(label)
    chosen = _probability(prediction, len(y)) >= threshold
    w = _weight(weight, len(y))
    return _mean(y[chosen], w if w is None else w[chosen])


def _equal_mass_bins(p: np.ndarray, bins: int, w: np.ndarray | None = None) -> np.ndarray:
    """Bin number of every row; rows with equal predictions stay together, whatever their order."""
    if bins < 1:
        raise MetricError(f"bins must be 1 or more, not {bins}.")
    if w is not None:
        _, place = np.unique(p, return_inverse=True)
        mass = np.bincount(place.reshape(-1), w)  # of each prediction, in order
        upto = np.cumsum(mass)
        # as in a sum of counts: whole weights stay whole numbers
        middle = ((upto - mass + upto) / 2)[place.reshape(-1)]
        total = upto[-1] if len(upto) else 1.0
        return np.minimum((middle * bins / total).astype(np.int64), bins - 1)
    ordered = np.sort(p)
    middle = (np.searchsorted(ordered, p, "left") + np.searchsorted(ordered, p, "right")) / 2
    return np.minimum((middle * bins / max(1, len(p))).astype(np.int64), bins - 1)


def ece(label: Any, prediction: Any, bins: int = 10, *, weight: Any = None) -> float:
    """Expected calibration error: sum over bins of (rows in bin / rows) |mean p - mean y|.

    Bins hold equal numbers of rows (or weigh the same); equal predictions share a bin, so a bin can
    be larger. NaN without rows. Source: Naeini et al., AAAI 2015; equal-mass bins: Nixon et al.,
    CVPRW 2019.
    """
    y = _binary(label)
    p = _probability(prediction, len(y))
    w, y, p = _kept(_weight(weight, len(y)), y, p)
    apart = p - y if w is None else w * (p - y)
    gap = np.bincount(_equal_mass_bins(p, bins, w), apart, bins)  # (bin,)
    return _ratio(float(np.abs(gap).sum()), float(len(y) if w is None else w.sum()))


def calibration_curve(
    label: Any, prediction: Any, bins: int = 10, *, weight: Any = None
) -> CalibrationCurve:
    """Mean prediction and observed rate in bins of equal mass, with a 95 % Wilson interval.

    Empty bins are left out. With weights ``rows`` holds what the rows weigh, which the interval
    takes for their number. Source of the interval: Wilson, JASA 1927.
    """
    y = _binary(label)
    p = _probability(prediction, len(y))
    w, y, p = _kept(_weight(weight, len(y)), y, p)
    bin_of_row = _equal_mass_bins(p, bins, w)
    n = np.bincount(bin_of_row, w, minlength=bins)
    used = n > 0
    n = n[used]
    mean = np.bincount(bin_of_row, p if w is None else w * p, bins)[used] / n
    rate = np.bincount(bin_of_row, y if w is None else w * y, bins)[used] / n
    z = float(special.ndtri(0.975))
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return CalibrationCurve(mean, rate, centre - half, centre + half, n)


def pcoc(label: Any, prediction: Any, weight: Any = None) -> float:
    """Predicted over observed: sum of predictions / sum of labels; 1 is calibrated on average.

    Works for probabilities and for counts. NaN when the labels sum to 0.
    """
    y = _nonnegative("label", label)
    w = _weight(weight, len(y))
    return _ratio(_sum(_nonnegative("prediction", prediction, len(y)), w), _sum(y, w))


# --- amounts and counts -----------------------------------------------------------------------


def r2(label: Any, prediction: Any, weight: Any = None) -> float:
    """Share of the labels' variance explained: 1 - sum (y - p)^2 / sum (y - mean y)^2.

    NaN when the labels are constant. Below 0: worse than predicting the mean.
    """
    y = _column("label", label)
    p = _column("prediction", prediction, len(y))
    w, y, p = _kept(_weight(weight, len(y)), y, p)
    if not len(y) or np.ptp(y) == 0:
        return NAN
    mean = y.mean() if w is None else _mean(y, w)
    return 1 - _ratio(_sum((y - p) ** 2, w), _sum((y - mean) ** 2, w))


def r2_log(label: Any, prediction: Any, weight: Any = None) -> float:
    """``r2`` on the log scale: of log(1 + prediction) against log(1 + label).

    The scale on which a ``log1p`` task is trained: a model that says the mean of log(1 + y) is at
    its best here, though too low in the label's unit. Labels must be above -1. Predictions at or
    below -1, which have no logarithm, count as -1 + 2^-24, the nearest float32 above it.
    """
    y = _column("label", label)
    _refuse("label", y, y <= -1, "is not above -1, so log(1 + label) does not exist")
    p = _column("prediction", prediction, len(y))
    return r2(np.log1p(y), np.log1p(np.maximum(p, 2.0**-24 - 1)), weight)


def rmse(label: Any, prediction: Any, weight: Any = None) -> float:
    """Root of the mean squared error, in the label's unit; NaN without rows."""
    y = _column("label", label)
    squares = (y - _column("prediction", prediction, len(y))) ** 2
    return math.sqrt(_mean(squares, _weight(weight, len(y))))


def mae(label: Any, prediction: Any, weight: Any = None) -> float:
    """Mean absolute error, in the label's unit; NaN without rows."""
    y = _column("label", label)
    errors = np.abs(y - _column("prediction", prediction, len(y)))
    return _mean(errors, _weight(weight, len(y)))


def poisson_deviance(
    label: Any, prediction: Any, censored: Any | None = None, *, weight: Any = None
) -> float:
    """Mean Poisson deviance of a predicted rate: 2 mean(y log(y / rate) - y + rate); 0 is perfect.

    On rows where ``censored`` is true the count is a lower bound; they add - 2 log P(Y >= y), whose
    best value is 0 too. label: counts, (row,); prediction: rates above 0, (row,); censored: bool
    (row,). A rate of 0 where y is above 0 gives infinity. NaN without rows.
    """
    y = _nonnegative("label", label)
    rate = _nonnegative("prediction", prediction, len(y))
    with np.errstate(divide="ignore"):
        deviance = 2 * (special.xlogy(y, y) - special.xlogy(y, rate) - y + rate)
    if censored is not None:
        bound = _flags(censored, len(y))
        deviance = np.where(bound, -2 * _log_at_least(y, rate), deviance)
    w, deviance = _kept(_weight(weight, len(y)), deviance)  # it may be infinite
    return _mean(np.maximum(deviance, 0.0), w)  # rounding can leave - 1e-16


def _flags(censored: Any, rows: int) -> np.ndarray:
    flags = np.asarray(censored)
    if flags.dtype != bool or flags.shape != (rows,):
        raise MetricError(f"censored must be bool ({rows},), not {flags.dtype} {flags.shape}.")
    return flags


def _log_at_least(count: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """log P(Y >= count) for Poisson rates (row,), also where the probability underflows."""
    with np.errstate(divide="ignore"):
        direct = np.log(special.gammainc(np.maximum(count, 1), rate))
        # P(Y >= y) = P(Y = y) (1 + rate / (y + 1) + rate^2 / ((y + 1)(y + 2)) + ...)
        first = special.xlogy(count, rate) - rate - special.gammaln(count + 1)
        series = first + np.log(special.hyp1f1(1, count + 1, np.minimum(rate, count)))
    return np.where(count == 0, 0.0, np.where(rate < count, series, direct))


# --- a model against a yardstick --------------------------------------------------------------


def delta_m(
    model: Mapping[str, float], single_task: Mapping[str, float], signs: Mapping[str, int]
) -> float:
    """Mean relative improvement over single-task models: mean_t sign_t (M_t - S_t) / |S_t|.

    ``signs`` is +1 where higher is better and -1 where lower is. The yardstick is a trained
    single-task model with the same budget. Multiply by 100 for per cent. NaN when a value is NaN or
    a single-task value is 0. Source: Maninis, Radosavovic and Kokkinos, CVPR 2019, section 4.
    """
    if set(model) != set(single_task) or not set(model) <= set(signs) or not model:
        raise MetricError(
            f"delta_m needs the same tasks everywhere: model has {sorted(model)}, single_task "
            f"{sorted(single_task)}, signs {sorted(signs)}."
        )
    odd = sorted(name for name in model if signs[name] not in (-1, 1))
    if odd:
        raise MetricError(f"delta_m: the sign of {odd[0]!r} must be +1 or -1.")
    parts = [
        signs[name] * _ratio(model[name] - single_task[name], abs(single_task[name]))
        for name in model
    ]
    return float(np.mean(parts))


def oracle_distance(
    model: float, oracle: float, reference: float | None = None, sign: int = 1
) -> float:
    """How far a metric still is from the best any model could reach; 0 means it is there.

    Without a reference: sign (oracle - model), in the metric's unit (sign -1 where lower is
    better). With one: the share of the gap still open, (oracle - model) / (oracle - reference); 1
    means no better than the reference; NaN when oracle and reference agree. On a finite sample a
    model can pass the oracle by chance: the distance is then a little below 0.
    """
    if reference is None:
        return float(sign * (oracle - model))
    return _ratio(oracle - model, oracle - reference)


def task_metrics(
    task: Task, label: Any, prediction: Any, censored: Any | None = None, *, weight: Any = None
) -> dict[str, float]:
    """All metrics that suit the task's kind, as {metric: value}.

    label: (row,), observed rows only. prediction in natural units, (row,): a probability, an amount
    or a rate; (row, class) for a multiclass task. censored: bool (row,), for a censored count.
    weight: (row,). A ``log1p`` task is also scored on its log scale ("r2_log"), which selects
    models.

    Where a count is censored only the deviance uses all rows; the ``_uncensored`` errors describe
    the rows that did not run out of stock, which sell less than the rest: never compare them with
    errors on full demand.
    """
    try:
        return _task_metrics(task, label, prediction, censored, weight)
    except MetricError as error:
        raise MetricError(f"Task {task.name!r}: {error}") from None


def _task_metrics(
    task: Task, label: Any, prediction: Any, censored: Any, weight: Any
) -> dict[str, float]:
    if censored is not None and task.kind != "censored_count":
        raise MetricError(f"censored rows belong to censored_count tasks; this one is {task.kind}.")
    names: tuple[str, ...]
    if task.kind == "binary":
        names = ("auc", "log_loss", "normalized_entropy", "accuracy", "recall", "precision")
        names += ("ece", "pcoc")
    elif task.kind == "multiclass":
        if np.ndim(prediction) != 2 or np.shape(prediction)[1] != task.classes:
            raise MetricError(
                f"prediction must be (row, {task.classes}), not {np.shape(prediction)}."
            )
        names = ("accuracy", "log_loss", "normalized_entropy")
    elif task.kind == "regression":
        names = ("r2", "r2_log", "rmse", "mae") if task.log1p else ("r2", "rmse", "mae")
    elif task.kind == "count":
        names = ("poisson_deviance", "rmse", "mae", "pcoc")
    else:
        y = _column("label", label)
        p = _column("prediction", prediction, len(y))
        bound = np.zeros(len(y), bool) if censored is None else _flags(censored, len(y))
        w = _weight(weight, len(y))
        whole = None if w is None else w[~bound]
        return {
            "poisson_deviance": poisson_deviance(y, p, bound, weight=w),
            "rmse_uncensored": rmse(y[~bound], p[~bound], whole),
            "mae_uncensored": mae(y[~bound], p[~bound], whole),
            "censored_share": _mean(bound, w),
        }
    return {name: METRICS[name](label, prediction, weight=weight) for name in names}


# Every metric of a label and a prediction, by its name; all take ``weight=``.
METRICS: dict[str, Callable[..., float]] = {
    "auc": auc,
    "log_loss": log_loss,
    "normalized_entropy": normalized_entropy,
    "accuracy": accuracy,
    "recall": recall,
    "precision": precision,
    "ece": ece,
    "pcoc": pcoc,
    "r2": r2,
    "r2_log": r2_log,
    "rmse": rmse,
    "mae": mae,
    "poisson_deviance": poisson_deviance,
}
