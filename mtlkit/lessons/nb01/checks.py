"""Checkers of notebook 01: standardising, the Poisson loss, and AUC by counting pairs."""

import math

import numpy as np
import torch

from mtlkit.course.learner.calls import LearnerError
from mtlkit.course.learner.checker import Mistake, checker, require, require_close


def scaled(train, later):
    mean, deviation = train.mean(), train.std()
    return (train - mean) / deviation, (later - mean) / deviation


def scaled_stub(train, later):
    return ...


def each_by_itself(train, later):
    """Standardises the later days with their own mean and deviation."""
    return scaled(train, train)[0], scaled(later, later)[0]


def all_together(train, later):
    """Takes mean and deviation from all rows, later ones included."""
    whole = np.concatenate([train, later])
    return scaled(whole, train)[1], scaled(whole, later)[1]


def only_shifts(train, later):
    """Subtracts the mean and does not divide."""
    return train - train.mean(), later - train.mean()


def by_the_variance(train, later):
    """Divides by the variance."""
    return tuple((part - train.mean()) / train.var() for part in (train, later))


def only_divides(train, later):
    """Divides and does not subtract the mean."""
    return train / train.std(), later / train.std()


def only_train(train, later):
    """Returns the training rows alone."""
    return scaled(train, later)[0]


@checker(
    "1.1",
    solution=scaled,
    stub=scaled_stub,
    wrong=[
        (
            each_by_itself,
            "Your later rows have a mean of their own. Use mean and deviation of the training "
            "rows: if the later rows are all large, their values should say so.",
        ),
        (
            all_together,
            "Your mean and deviation come from all rows; on the training days nobody knows the "
            "later.",
        ),
        (only_shifts, "The mean is gone; now divide by the standard deviation."),
        (by_the_variance, "You divide by the variance; the standard deviation is its square root."),
        (only_divides, "You divide, but you do not subtract the mean of the training."),
        (only_train, "Return two arrays: the training rows, then the later rows."),
    ],
    praise="Later days are measured with the ruler of the training days.",
)
def standardise(answer, seed):
    random = np.random.default_rng(seed)
    cases = [(np.array([2.0, 4, 4, 4, 5, 5, 7, 9]), np.array([9.0, 13, 11]))]  # mean 5, deviation 2
    cases += [(random.normal(20, 3, 9), random.normal(26, 5, rows)) for rows in (4, 6)]
    for train, later in cases:
        found = answer(train, later)
        wanted, other = scaled(train, later), train.std(ddof=1)
        for name, part, good, rows in zip(
            ("training", "later"), found, wanted, (train, later), strict=True
        ):
            require(
                part.shape == rows.shape,
                "An array of {rows} rows came back with the shape {shape}.",
                rows=len(rows), shape=str(part.shape),
            )  # fmt: skip
            if np.allclose(part, (rows - train.mean()) / other, rtol=1e-5, atol=1e-5):
                continue  # the deviation with n - 1 is as good
            require_close(part, good, f"The {name} rows should be {{wanted}}, yours are {{found}}.")


def poisson(log_rate, count):
    return (log_rate.exp() - count * log_rate).mean()


def poisson_stub(log_rate, count):
    return ...


def takes_the_rate(log_rate, count):
    """Treats the output as the rate itself."""
    return (log_rate - count * log_rate.clamp(min=1e-6).log()).mean()


def sums(log_rate, count):
    """Sums over the rows."""
    return (log_rate.exp() - count * log_rate).sum()


def upside_down(log_rate, count):
    """Has the sign turned round."""
    return (count * log_rate - log_rate.exp()).mean()


def keeps_the_factorial(log_rate, count):
    """Keeps log(count!), which does not depend on the rate."""
    return poisson(log_rate, count) + torch.lgamma(count + 1).mean()


def squared(log_rate, count):
    """Is the squared error of the rate."""
    return (log_rate.exp() - count).square().mean()


@checker(
    "1.2",
    solution=poisson,
    stub=poisson_stub,
    wrong=[
        (
            takes_the_rate,
            "The output is the log of the rate: the rate itself is its exponential.",
        ),
        (sums, "Take the mean over the rows, not the sum."),
        (upside_down, "The sign is turned round: this would grow as the fit improves."),
        (squared, "This is the squared error of the rate, not the Poisson loss."),
        (
            keeps_the_factorial,
            "Your loss keeps log(count!). Drop this term: without the rate in it, it has no "
            "gradient.",
        ),
    ],
    praise="Value and gradient agree: rate minus count, divided by the number of rows.",
)
def poisson_loss(answer, seed):
    generator = torch.Generator().manual_seed(seed)
    z, y = torch.tensor([0.5, 2.0, 1.0, 0.2]), torch.tensor([0.0, 9.0, 2.0, 1.0])
    cases = [(z.double(), y.double())]
    for rows in (6, 11):
        z = torch.randn(rows, generator=generator).double()
        cases.append((z, torch.poisson(2 + z.exp(), generator=generator)))
    for z, y in cases:
        each = [math.exp(a) - b * a for a, b in zip(z.tolist(), y.tolist(), strict=True)]
        found = answer(z, y)
        require(found.dim() == 0, "Return one number: the mean over the rows.")
        require_close(
            found, sum(each) / len(each), "The mean loss should be {wanted}, yours is {found}."
        )
        free = z.clone().requires_grad_(True)
        try:
            answer(free, y).backward()
        except (LearnerError, RuntimeError):  # such as .numpy() of a tensor with a gradient
            free.grad = None
        if free.grad is None:
            raise Mistake("No gradient reaches log_rate: keep to operations of tensors.")
        require_close(
            free.grad,
            (z.exp() - y) / len(y),
            "The gradient should be (rate - count) / number of rows.",
        )


def pairs(label, score):
    gap = score[label == 1][:, None] - score[label == 0][None, :]  # (positive, negative)
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def pairs_stub(label, score):
    return ...


def ties_are_lost(label, score):
    """Counts a tie as a lost pair."""
    return float((score[label == 1][:, None] > score[label == 0][None, :]).mean())


def ties_are_won(label, score):
    """Counts a tie as a won pair."""
    return float((score[label == 1][:, None] >= score[label == 0][None, :]).mean())


def other_way_round(label, score):
    """Counts the pairs in which the negative has the higher score."""
    return pairs(1 - label, score)


def share_of_right_answers(label, score):
    """Is the accuracy at threshold 0.5."""
    return float(((score > 0.5) == (label == 1)).mean())


def row_by_row(label, score):
    """Subtracts the two arrays row by row instead of each positive with each negative."""
    return float((score[label == 1] - score[label == 0] > 0).mean())


def all_pairs(label, score):
    """Divides by the number of all pairs of rows, not of positive and negative ones."""
    won = (score[label == 1][:, None] > score[label == 0][None, :]).sum()
    won = won + 0.5 * (score[label == 1][:, None] == score[label == 0][None, :]).sum()
    return float(won / (len(label) * (len(label) - 1) / 2))


@checker(
    "1.3",
    solution=pairs,
    stub=pairs_stub,
    wrong=[
        (ties_are_lost, "A tie counts one half; in your code it counts as a lost pair."),
        (ties_are_won, "A tie counts one half; in your code it counts as a won pair."),
        (
            other_way_round,
            "Your result is 0 for a perfect order: count the pairs in which the positive has the "
            "higher score.",
        ),
        (share_of_right_answers, "This is the accuracy at threshold 0.5; AUC needs no threshold."),
        (
            all_pairs,
            "You divide by all pairs of rows: use only pairs of one positive and one negative.",
        ),
        (
            row_by_row,
            "The arrays do not fit, for there are more negatives than positives. Compare every "
            "positive with every negative, in a table with a row for each positive.",
        ),
    ],
    praise="This is AUC: no threshold, no unit, only the order.",
)
def auc_of_pairs(answer, seed):
    random = np.random.default_rng(3 + seed)
    cases = [
        (np.array([0.0, 1.0, 0.0, 0.0, 1.0]), np.full(5, 0.2)),  # all level
        (np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.8, 0.3, 0.9])),  # perfect
    ]
    for rows in (60, 35):
        label = (random.random(rows) < 0.3).astype(np.float32)
        label[:3] = 0, 1, 0
        score = np.round(0.6 * random.random(rows) + 0.25 * label, 1)  # rounded: there are ties
        cases += [(label, score), (label, score**3)]  # only the order counts
    for label, score in cases:
        require_close(
            answer(label, score),
            slow_pairs(label.tolist(), score.tolist()),
            f"Of {int(label.sum())} positives and {int((1 - label).sum())} negatives the AUC is "
            "{wanted}, yours is {found}.",
        )


def slow_pairs(label, score):
    """AUC one pair after the other."""
    positive = [s for s, y in zip(score, label, strict=True) if y == 1]
    negative = [s for s, y in zip(score, label, strict=True) if y == 0]
    right = sum((a > b) + 0.5 * (a == b) for a in positive for b in negative)
    return right / (len(positive) * len(negative))
