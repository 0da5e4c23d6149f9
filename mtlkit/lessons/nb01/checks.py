"""Checkers of notebook 01: standardising, the Poisson loss, and AUC by counting pairs."""

import math

import numpy as np
import torch

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


def in_place(train, later):
    """Overwrites the arrays it was given."""
    mean, deviation = train.mean(), train.std()
    for part in (train, later):
        part -= mean
        part /= deviation
    return train, later


@checker(
    "1.1",
    solution=scaled,
    stub=scaled_stub,
    wrong=[
        (each_by_itself, "mean of their own"),
        (all_together, "from all rows"),
        (only_shifts, "divide by the standard deviation"),
        (by_the_variance, "variance"),
        (only_divides, "subtract the mean"),
        (only_train, "two arrays"),
        (in_place, "new arrays"),
    ],
    praise="Later days are measured with the ruler of the training days.",
)
def standardise(answer):
    train = np.array([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])  # mean 5, deviation 2
    later = np.array([9.0, 13.0, 11.0])
    given = train.copy(), later.copy()
    found = answer(*given)
    require(
        isinstance(found, tuple | list) and len(found) == 2,
        "Return two arrays: the training rows, then the later rows.",
    )
    require(
        np.array_equal(given[0], train) and np.array_equal(given[1], later),
        "You changed the arrays that you were given; make new arrays instead.",
    )
    found = [np.asarray(part, dtype=float) for part in found]
    for part, rows in zip(found, (train, later), strict=True):
        require(
            part.shape == rows.shape,
            "An array of {rows} rows came back with the shape {shape}.",
            rows=len(rows),
            shape=str(part.shape),
        )

    def like(other):
        return all(
            np.allclose(part, wanted, atol=1e-4)
            for part, wanted in zip(found, other(train, later), strict=True)
        )

    require(
        not like(each_by_itself),
        "Your later rows have a mean of their own. Use mean and deviation of the training rows: "
        "here the later rows are all large, and their values should say so.",
    )
    require(
        not like(all_together),
        "Your mean and deviation come from all rows; on the training days nobody knows the later.",
    )
    require(not like(only_shifts), "The mean is gone; now divide by the standard deviation.")
    require(
        not like(by_the_variance),
        "You divide by the variance; the standard deviation is its square root.",
    )
    require(not like(only_divides), "You divide, but you do not subtract the mean of the training.")
    wanted, other = scaled(train, later), train.std(ddof=1)
    if np.allclose(found[0], (train - 5) / other) and np.allclose(found[1], (later - 5) / other):
        return  # the deviation with n - 1 is as good
    require_close(found[0], wanted[0], "The training rows should be {wanted}, yours are {found}.")
    require_close(found[1], wanted[1], "The later rows should be {wanted}, yours are {found}.")


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
        (takes_the_rate, "log of the rate"),
        (sums, "mean over the rows"),
        (upside_down, "sign"),
        (squared, "squared error"),
        (keeps_the_factorial, "without the rate"),
    ],
    praise="Value and gradient agree: rate minus count, divided by the number of rows.",
)
def poisson_loss(answer):
    z = torch.tensor([0.5, 2.0, 1.0, 0.2], dtype=torch.float64)
    y = torch.tensor([0.0, 9.0, 2.0, 1.0], dtype=torch.float64)
    wanted = sum(math.exp(a) - b * a for a, b in zip(z.tolist(), y.tolist(), strict=True)) / 4
    found = torch.as_tensor(answer(z, y))
    require(found.dim() == 0, "Return one number: the mean over the rows.")
    value = float(found)

    def like(other):
        return abs(value - float(other(z, y))) < 1e-6

    require(not like(sums), "Take the mean over the rows, not the sum.")
    require(not like(upside_down), "The sign is turned round: this would grow as the fit improves.")
    require(not like(squared), "This is the squared error of the rate, not the Poisson loss.")
    require(
        not like(takes_the_rate),
        "The output is the log of the rate: the rate itself is its exponential.",
    )
    require(
        not like(keeps_the_factorial),
        "Your loss keeps log(count!). Drop this term: without the rate in it, it has no gradient.",
    )
    require_close(found, wanted, "The mean loss of the test rows is {wanted}, yours is {found}.")
    free = z.clone().requires_grad_(True)
    answer(free, y).backward()
    require(free.grad is not None, "No gradient reaches log_rate: keep to operations of tensors.")
    require_close(
        free.grad, (z.exp() - y) / 4, "The gradient should be (rate - count) / number of rows."
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
        (ties_are_lost, "a tie counts one half"),
        (ties_are_won, "a tie counts one half"),
        (other_way_round, "the positive has the higher score"),
        (share_of_right_answers, "accuracy"),
        (all_pairs, "one positive and one negative"),
        (row_by_row, "every positive with every negative"),
    ],
    praise="This is AUC: no threshold, no unit, only the order.",
)
def auc_of_pairs(answer):
    generator = np.random.default_rng(3)
    label = (generator.random(60) < 0.3).astype(np.float32)
    score = np.round(0.6 * generator.random(60) + 0.25 * label, 1)  # rounded: there are ties
    level = np.array([0.0, 1.0, 0.0, 0.0, 1.0]), np.full(5, 0.2)
    try:
        ties = float(answer(*level))
    except Exception as error:
        if "broadcast" not in str(error) and "boolean index" not in str(error):
            raise
        raise Mistake(
            "The arrays do not fit: there are 2 positives and 3 negatives. Compare every positive "
            "with every negative, in a table with a row for each positive."
        ) from error
    require(
        abs(ties - share_of_right_answers(*level)) > 1e-9
        or abs(float(answer(label, score)) - share_of_right_answers(label, score)) > 1e-9,
        "This is the accuracy at threshold 0.5; AUC needs no threshold.",
    )
    require(
        ties not in (0.0, 1.0),
        "With equal scores everywhere the AUC is 0.5: a tie counts one half; yours is {found}.",
        found=ties,
    )
    perfect = float(answer(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.8, 0.3, 0.9])))
    require(
        perfect > 0.001,
        "Your result is 0 for a perfect order: count the pairs in which the positive has the "
        "higher score.",
    )
    require(
        abs(perfect - 1.0) < 1e-6,
        "Your result for a perfect order is {found}, not 1: use only pairs of one positive and "
        "one negative.",
        found=perfect,
    )
    found, wanted = float(answer(label, score)), slow_pairs(label.tolist(), score.tolist())
    require_close(found, wanted, "Over all pairs the AUC is {wanted}, yours is {found}.")
    require_close(
        float(answer(label, score**3)), wanted, "Only the order counts, but yours changes with it."
    )


def slow_pairs(label, score):
    """AUC one pair after the other."""
    positive = [s for s, y in zip(score, label, strict=True) if y == 1]
    negative = [s for s, y in zip(score, label, strict=True) if y == 0]
    right = sum((a > b) + 0.5 * (a == b) for a in positive for b in negative)
    return right / (len(positive) * len(negative))
