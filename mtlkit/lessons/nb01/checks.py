"""Checkers of notebook 01: the six-step training loop, and AUC by counting pairs."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from mtlkit import Market, SingleTask
from mtlkit.course.learner.checker import checker, require, require_close, require_shape
from mtlkit.train import seeded


def row_loss(z, batch, reduction="mean"):
    return F.binary_cross_entropy_with_logits(z, batch.labels[:, 0], reduction=reduction)


def loop(start, batches):
    model, optimizer = start()
    for batch in batches:  # 1. batch
        z = model(batch)["click"]  # 2. forward
        loss = row_loss(z, batch)  # 3. task losses
        total = loss  # 4. combine: one task
        optimizer.zero_grad()
        total.backward()  # 5. backward
        optimizer.step()  # 6. step
    return model.state_dict()


def loop_stub(start, batches):
    return ...


def never_clears(start, batches):
    """Never clears the slopes, so that each step also takes those of all earlier batches."""
    model, optimizer = start()
    for batch in batches:
        row_loss(model(batch)["click"], batch).backward()
        optimizer.step()
    return model.state_dict()


def never_moves(start, batches):
    """Steps while there are no slopes: before `backward`, or after they were cleared."""
    model, optimizer = start()
    for batch in batches:
        optimizer.zero_grad()
        optimizer.step()
        row_loss(model(batch)["click"], batch).backward()
    return model.state_dict()


def first_batch_only(start, batches):
    """Returns inside the loop, after the first batch."""
    return loop(start, batches[:1])


def last_batch_only(start, batches):
    """Takes its step after the loop, on the last batch alone."""
    return loop(start, batches[-1:])


def same_batch(start, batches):
    """Trains on the first batch again and again."""
    return loop(start, batches[:1] * len(batches))


def lags_behind(start, batches):
    """Steps before `backward`, with the slopes of the batch before."""
    model, optimizer = start()
    for batch in batches:
        optimizer.step()
        optimizer.zero_grad()
        row_loss(model(batch)["click"], batch).backward()
    return model.state_dict()


def detached(start, batches):
    """Cuts the loss off the network before `backward`."""
    model, optimizer = start()
    for batch in batches:
        optimizer.zero_grad()
        row_loss(model(batch)["click"], batch).detach().backward()
        optimizer.step()
    return model.state_dict()


def sums_rows(start, batches):
    """Adds the losses of the rows in place of their mean."""
    model, optimizer = start()
    for batch in batches:
        optimizer.zero_grad()
        row_loss(model(batch)["click"], batch, "sum").backward()
        optimizer.step()
    return model.state_dict()


def sigmoid_twice(start, batches):
    """Hands chances to a loss that takes z and applies the sigmoid itself."""
    model, optimizer = start()
    for batch in batches:
        optimizer.zero_grad()
        row_loss(model(batch)["click"].sigmoid(), batch).backward()
        optimizer.step()
    return model.state_dict()


def one_step_in_all(start, batches):
    """Adds up the losses of all batches and takes a single step."""
    model, optimizer = start()
    sum(row_loss(model(batch)["click"], batch) for batch in batches).backward()
    optimizer.step()
    return model.state_dict()


def squared(start, batches):
    """Takes the squared error of the chances."""
    model, optimizer = start()
    for batch in batches:
        optimizer.zero_grad()
        F.mse_loss(model(batch)["click"].sigmoid(), batch.labels[:, 0]).backward()
        optimizer.step()
    return model.state_dict()


@cache
def click_batches(seed, rows):
    table = Market("tiny", seed=seed).impressions(rows).select_tasks(["click"])
    return table.schema, list(table.batches(rows // 4))


def starter(schema, seed):
    """A function that gives a small new network for clicks, and plain descent for its numbers."""

    def start():
        with seeded(seed):
            model = SingleTask(schema, embedding_dim=2, hidden=(4,), tower=())
        return model, torch.optim.SGD(model.parameters(), lr=0.5)

    return start


@checker(
    "1.1",
    solution=loop,
    stub=loop_stub,
    wrong=[
        (
            never_clears,
            "Your steps also take the slopes of earlier batches: PyTorch adds new slopes to old "
            "ones. Call optimizer.zero_grad() for each batch, before backward.",
        ),
        (
            never_moves,
            "Your network comes back as it started: no step has moved it. For each batch, call "
            "optimizer.zero_grad() before backward, and optimizer.step() after it.",
        ),
        (
            lags_behind,
            "Your step takes the slopes of the batch before. Call backward first, then step.",
        ),
        (first_batch_only, "Your network has seen one batch only: return after the loop."),
        (
            last_batch_only,
            "Your network has learned from the last batch only: all steps, the sixth one too, "
            "belong inside the loop, and start() before it.",
        ),
        (same_batch, "Your network has seen the first batch again and again."),
        (one_step_in_all, "You take a single step in all: take one for each batch."),
        (squared, "This is the squared error of the chances; clicks need the cross-entropy."),
        (
            detached,
            "No slope reaches the network: the loss was cut off from it. Leave .detach(), .item() "
            "and no_grad out of the loop.",
        ),
        (sums_rows, "Take the mean of the loss over the rows of a batch, not the sum."),
        (
            sigmoid_twice,
            "You apply the sigmoid twice: binary_cross_entropy_with_logits takes z itself.",
        ),
    ],
    praise="Your loop gives the very numbers that ours gives. `fit` does nothing else at heart.",
)
def training_loop(answer, seed):
    for draw, rows in ((seed, 48), (seed + 10, 64), (seed + 20, 48)):
        schema, batches = click_batches(draw, rows)
        start = starter(schema, draw)
        wanted, found = loop(start, batches), answer(start, batches)
        require(
            list(found) == list(wanted),
            "Return model.state_dict(), the numbers of the network by name.",
        )
        for name in wanted:
            require_shape(found[name], wanted[name].shape)
        name, place = furthest(found, wanted)
        require_close(
            found[name].flatten()[place],
            wanted[name].flatten()[place],
            f"After {len(batches)} batches, one number of {name} should be {{wanted}}, yours is "
            "{found}.",
            tolerance=1e-4,
        )


def furthest(found, wanted):
    """(name, place) of the number that is furthest from the one wanted."""
    gaps = {name: (found[name] - wanted[name]).abs().flatten() for name in wanted}
    gaps = {name: gap.nan_to_num(nan=torch.inf) for name, gap in gaps.items()}
    name = max(gaps, key=lambda name: gaps[name].max().item())
    return name, int(gaps[name].argmax())


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
    "1.2",
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
    praise="This is AUC: no threshold, no scale, only the order.",
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
