"""Checkers of notebook 04: ESMM's loss in log space, the weighted loss, the leaking column."""

import numpy as np
import torch
import torch.nn.functional as F

from mtlkit import metrics
from mtlkit.course.learner.checker import (
    checker,
    require,
    require_close,
    require_gradient,
)
from mtlkit.losses.chain import log1mexp


def esmm(a, b, clicked, bought):
    log_p = F.logsigmoid(a) + F.logsigmoid(b)
    log_q = log1mexp(log_p)
    loss = -torch.where(bought == 1, log_p, log_q).mean()
    return F.binary_cross_entropy_with_logits(a, clicked) + loss


def esmm_stub(a, b, clicked, bought):
    return ...


def multiplies_first(a, b, clicked, bought):
    """Multiplies the sigmoids and takes the log afterwards."""
    p = a.sigmoid() * b.sigmoid()
    loss = -torch.where(bought == 1, p.log(), (1 - p).log()).mean()
    return F.binary_cross_entropy_with_logits(a, clicked) + loss


def clicked_rows_only(a, b, clicked, bought):
    """Takes the purchase's loss over clicked rows, as the naive training does."""
    on = clicked == 1
    naive = F.binary_cross_entropy_with_logits(b[on], bought[on])
    return F.binary_cross_entropy_with_logits(a, clicked) + naive


def purchase_alone(a, b, clicked, bought):
    """Compares the purchase's own logit with the label on all rows, without the click."""
    own = F.binary_cross_entropy_with_logits(b, bought)
    return F.binary_cross_entropy_with_logits(a, clicked) + own


def both_fail(a, b, clicked, bought):
    """Takes "neither clicked nor bought" for the complement of "clicked and bought"."""
    log_p = F.logsigmoid(a) + F.logsigmoid(b)
    log_q = F.logsigmoid(-a) + F.logsigmoid(-b)
    loss = -torch.where(bought == 1, log_p, log_q).mean()
    return F.binary_cross_entropy_with_logits(a, clicked) + loss


def forgets_the_click(a, b, clicked, bought):
    """Returns the loss of the joint event alone."""
    return esmm(a, b, clicked, bought) - F.binary_cross_entropy_with_logits(a, clicked)


def no_complement(a, b, clicked, bought):
    """Takes log P on every row, bought or not."""
    log_p = F.logsigmoid(a) + F.logsigmoid(b)
    return F.binary_cross_entropy_with_logits(a, clicked) - log_p.mean()


def clamped(a, b, clicked, bought):
    """Multiplies, and lets PyTorch's cross-entropy cut the logs off at -100."""
    loss = F.binary_cross_entropy(a.sigmoid() * b.sigmoid(), bought)
    return F.binary_cross_entropy_with_logits(a, clicked) + loss


def wrong_sign(a, b, clicked, bought):
    """Forgets the minus before the mean of the logs."""
    click = F.binary_cross_entropy_with_logits(a, clicked)
    return 2 * click - esmm(a, b, clicked, bought)


def detached_click(a, b, clicked, bought):
    """Lets no gradient of the joint loss reach the click."""
    log_p = F.logsigmoid(a.detach()) + F.logsigmoid(b)
    loss = -torch.where(bought == 1, log_p, log1mexp(log_p)).mean()
    return F.binary_cross_entropy_with_logits(a, clicked) + loss


def slow_esmm(a, b, clicked, bought):
    """Row by row with plain chances in double precision."""
    rows = []
    for x, y, c, k in zip(a.double(), b.double(), clicked.double(), bought.double(), strict=True):
        p, q = 1 / (1 + torch.exp(-x)), 1 / (1 + torch.exp(-y))
        rows.append(-c * p.log() - (1 - c) * (1 - p).log())
        rows[-1] = rows[-1] - k * (p * q).log() - (1 - k) * (1 - p * q).log()
    return torch.stack(rows).mean()


def _log(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, generator=generator)
    clicked = (torch.rand(rows, generator=generator) < 0.5).float()
    bought = clicked * (torch.rand(rows, generator=generator) < 0.5).float()
    clicked[0], bought[0] = 1.0, 1.0  # one row of each kind at least
    clicked[1], bought[1] = 1.0, 0.0
    clicked[2], bought[2] = 0.0, 0.0
    return a, b, clicked, bought


@checker(
    "4.1",
    solution=esmm,
    stub=esmm_stub,
    wrong=[
        (
            multiplies_first,
            "With large logits your loss is not finite: you left the logs on the way. Add "
            "log-sigmoids; do not multiply sigmoids.",
        ),
        (
            clicked_rows_only,
            "Your purchase loss looks at clicked rows only; ESMM's looks at all rows, at the joint "
            "event.",
        ),
        (
            purchase_alone,
            "Your purchase loss takes the logit b alone, without the click: the label 'clicked and "
            "bought' needs the product of both chances.",
        ),
        (
            both_fail,
            "The complement of 'clicked and bought' is not 'neither of the two': many rows are "
            "clicked and not bought. Use log1mexp.",
        ),
        (forgets_the_click, "The loss of the click is missing in your sum."),
        (
            no_complement,
            "Your loss takes log_p on every row: on a row that was not bought it needs log_q, the "
            "log of the complement.",
        ),
        (
            clamped,
            "With large logits your loss is cut off: multiplied chances are rounded to 0 or 1 "
            "there. Stay in the logs.",
        ),
        (
            wrong_sign,
            "Put a minus before the mean of the logs: logs of chances are below 0, a loss is not.",
        ),
        (
            detached_click,
            "A gradient is missing at a: both losses move the click, for a purchase is also news "
            "about the click. Detach nothing here.",
        ),
    ],
    praise="Both losses look at all rows, and no logit is too large or too small for them.",
)
def loss_in_logs(answer, seed):
    for rows, place in ((12, 1), (40, 2)):
        a, b, clicked, bought = _log(rows, place + 10 * seed)
        log = (a.requires_grad_(), b.requires_grad_(), clicked, bought)
        found = answer(*log)
        require_close(
            found, slow_esmm(*log),
            f"On {rows} rows the loss should be {{wanted}}, yours is {{found}}.",
        )  # fmt: skip
        require_gradient(found)
        whole = torch.autograd.grad(slow_esmm(*log), (a, b))
        sent = torch.autograd.grad(found, (a, b), allow_unused=True)
        for name, mine, wanted in zip("ab", sent, whole, strict=True):
            require_close(
                torch.zeros(rows) if mine is None else mine, wanted,
                f"The loss is right, but not its gradient for {name}. Detach nothing here.",
            )  # fmt: skip
    for a, b, clicked, bought in (
        (-80.0, -80.0, 1.0, 1.0), (-70.0, -60.0, 1.0, 1.0),
        (20.0, 20.0, 1.0, 0.0), (25.0, 18.0, 1.0, 0.0),
    ):  # fmt: skip
        z = [torch.tensor([value], requires_grad=True) for value in (a, b)]
        row = (*z, torch.tensor([clicked]), torch.tensor([bought]))
        found = answer(*row)
        slopes = torch.autograd.grad(found, z, allow_unused=True) if found.requires_grad else ()
        require(
            bool(torch.isfinite(found))
            and all(slope is None or bool(torch.isfinite(slope).all()) for slope in slopes),
            "With the logits {a} and {b} your loss or its gradient is not finite. In logs all of "
            "it stays finite: add log-sigmoids.",
            a=a, b=b,
        )  # fmt: skip
        require_close(
            found, slow_esmm(*row),
            f"With the logits {a:g} and {b:g} the loss should be {{wanted}}, not {{found}}.",
            tolerance=1e-3,
        )  # fmt: skip


def ipw(a, b, clicked, bought, clip=0.05):
    propensity = a.sigmoid().detach().clamp(min=clip)
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
    return (clicked * entropy / propensity).mean()


def ipw_stub(a, b, clicked, bought, clip=0.05):
    return ...


def no_detach(a, b, clicked, bought, clip=0.05):
    """Lets the gradient reach the propensity."""
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
    return (clicked * entropy / a.sigmoid().clamp(min=clip)).mean()


def no_clip(a, b, clicked, bought, clip=0.05):
    """Forgets the smallest propensity."""
    return ipw(a, b, clicked, bought, clip=0.0)


def divides_by_clicks(a, b, clicked, bought, clip=0.05):
    """Divides the sum by the number of clicks, not of rows."""
    return ipw(a, b, clicked, bought, clip) * len(a) / clicked.sum()


def multiplies(a, b, clicked, bought, clip=0.05):
    """Multiplies by the propensity instead of dividing by it."""
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
    return (clicked * entropy * a.sigmoid().detach().clamp(min=clip)).mean()


def counts_unclicked(a, b, clicked, bought, clip=0.05):
    """Takes rows without a click for rows without a purchase."""
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
    return (entropy / a.sigmoid().detach().clamp(min=clip)).mean()


def one_entropy(a, b, clicked, bought, clip=0.05):
    """Averages the cross-entropy over all rows before it weights them."""
    entropy = F.binary_cross_entropy_with_logits(b, bought)
    return (clicked * entropy / a.sigmoid().detach().clamp(min=clip)).mean()


def logit_for_propensity(a, b, clicked, bought, clip=0.05):
    """Divides by the logit instead of its sigmoid."""
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
    return (clicked * entropy / a.detach().clamp(min=clip)).mean()


def detaches_all(a, b, clicked, bought, clip=0.05):
    """Detaches the whole loss, so that nothing learns."""
    return ipw(a, b, clicked, bought, clip).detach()


def slow_ipw(a, b, clicked, bought, clip):
    total = 0.0
    for x, y, c, k in zip(*(t.double().tolist() for t in (a, b, clicked, bought)), strict=True):
        if c == 1:
            p = 1 / (1 + np.exp(-y))
            total += -(k * np.log(p) + (1 - k) * np.log(1 - p)) / max(1 / (1 + np.exp(-x)), clip)
    return total / len(a)


@checker(
    "4.2",
    solution=ipw,
    stub=ipw_stub,
    wrong=[
        (
            no_detach,
            "The gradient reaches the propensity: the network can make this loss small by calling "
            "everything clicked. Detach it.",
        ),
        (
            no_clip,
            "Your propensity may be tiny: keep it at `clip` or above, else one row outweighs all.",
        ),
        (
            divides_by_clicks,
            "You divide by the number of clicks; the mean goes over all rows.",
        ),
        (
            multiplies,
            "You multiply by the propensity: divide by it. A rare kind of click stands for many "
            "rows.",
        ),
        (
            counts_unclicked,
            "Rows without a click count in your loss; nobody knows whether they would have been "
            "bought. Multiply by `clicked`.",
        ),
        (
            one_entropy,
            "Your cross-entropy is one number, the mean of all rows: take one a row, with "
            'reduction="none", and weight each.',
        ),
        (logit_for_propensity, "You divide by the logit a; the propensity is its sigmoid."),
        (
            detaches_all,
            "Your loss has no gradient: b learns nothing. Detach the propensity only.",
        ),
    ],
    praise="Clicked rows stand for all, and the propensity is a number, not something to train.",
)
def weighted_loss(answer, seed):
    for rows, place, clip in ((20, 3, 0.05), (30, 4, 0.4)):
        a, b, clicked, bought = _log(rows, place + 10 * seed)
        a[0] = -6.0  # a clicked row with a tiny propensity
        log = (a.requires_grad_(), b.requires_grad_(), clicked, bought, clip)
        found = answer(*log)
        require_close(
            found, slow_ipw(*log),
            f"On {rows} rows the loss should be {{wanted}}, yours is {{found}}.",
            tolerance=1e-3,
        )  # fmt: skip
        require_gradient(found)
        to_a, to_b = torch.autograd.grad(found, (a, b), allow_unused=True)
        require(
            to_a is None or bool((to_a == 0).all()),
            "The loss is right, but a gradient reaches a. Only b may learn from it.",
        )
        require(
            to_b is not None and bool((to_b != 0).any()),
            "The loss is right, but no gradient arrives at b, which learns nothing.",
        )


def giveaway(columns, label, limit=0.99):
    areas = {name: metrics.auc(label, values) for name, values in columns.items()}
    return [name for name, area in areas.items() if max(area, 1 - area) >= limit]


def giveaway_stub(columns, label, limit=0.99):
    return ...


def equal_copies(columns, label, limit=0.99):
    """Finds only columns that are equal to the label."""
    return [name for name, values in columns.items() if np.array_equal(values, label)]


def one_way_round(columns, label, limit=0.99):
    """Misses a copy with its sign turned."""
    return [name for name, values in columns.items() if metrics.auc(label, values) >= limit]


def only_the_best(columns, label, limit=0.99):
    """Always accuses the best column."""
    areas = {name: metrics.auc(label, values) for name, values in columns.items()}
    return [max(areas, key=lambda name: max(areas[name], 1 - areas[name]))]


def anything_useful(columns, label, limit=0.99):
    """Accuses every column that helps."""
    return giveaway(columns, label, 0.6)


def correlated(columns, label, limit=0.99):
    """Takes correlation for order."""
    return [n for n, v in columns.items() if abs(np.corrcoef(v, label)[0, 1]) >= 0.9]


def swapped(columns, label, limit=0.99):
    """Hands the column and the label to `metrics.auc` in the wrong order."""
    areas = {name: metrics.auc(values, label) for name, values in columns.items()}
    return [name for name, area in areas.items() if max(area, 1 - area) >= limit]


def lower_limit(columns, label, limit=0.9):
    """Calls an AUC of 0.9 nearly perfect."""
    return giveaway(columns, label, limit)


def own_limit(columns, label, limit=0.99):
    """Forgets the limit that it is given."""
    return giveaway(columns, label)


@checker(
    "4.3",
    solution=giveaway,
    stub=giveaway_stub,
    wrong=[
        (
            equal_copies,
            "You find only columns that are equal to the label. You miss a copy of it on another "
            "scale: compare the order, not the values.",
        ),
        (
            one_way_round,
            "You miss a copy with its sign turned: an AUC of 0 is as telling as one of 1.",
        ),
        (only_the_best, "You always accuse the best column; in an honest log return []."),
        (
            anything_useful,
            "You accuse a column that merely helps: on its own it is far from perfect.",
        ),
        (correlated, "You take the correlation: a leak shows in the order, not the values."),
        (
            swapped,
            "The label comes first: `metrics.auc(label, values)`. A column is no label of 0 and 1.",
        ),
        (lower_limit, "Without a limit given it is 0.99; yours accuses a column of AUC 0.97."),
        (own_limit, "You forgot `limit`: with another limit your answer stays the same."),
    ],
    praise="Run it on every new log, before you train.",
)
def leaking_column(answer, seed):
    random = np.random.default_rng(4 + seed)
    for _ in range(2):
        label = (random.random(400) < 0.2).astype(float)
        honest = {
            "price": random.normal(size=400),
            "visits": random.normal(size=400) + 1.2 * label,
        }
        slip = label.copy()  # a copy with slips: its AUC is about 0.97
        slip[np.flatnonzero(label == 1)[:2]] = 0
        slip[np.flatnonzero(label == 0)[:8]] = 1
        coupon = 3 + 7 * label * np.exp(3 * random.normal(size=400))
        flags = {"paid": label.copy(), "left": 1 - label}
        for extra, limit in (
            ({"coupon": coupon}, ()),
            ({"refund": -label - 0.1 * random.random(400)}, ()),
            ({}, ()),
            ({"slip": slip}, ()),
            (flags, ()),
            ({"slip": slip}, (0.9,)),
            ({"slip": slip, **flags}, (0.999,)),
        ):  # fmt: skip
            columns = honest | extra
            _compare(answer(columns, label, *limit), columns, label, *(limit or (0.99,)))


def _compare(found, columns, label, limit):
    known = isinstance(found, list) and all(isinstance(name, str) for name in found)
    require(known, "Return a list of names, empty if no column leaks.")
    for name, values in columns.items():
        area = metrics.auc(label, values)
        told = f"{{name}}, whose AUC is {area:.2f}, with the limit {limit:g}."
        leaks = max(area, 1 - area) >= limit
        require(name not in found or leaks, f"You accuse {told}", name=name)
        require(name in found or not leaks, f"You miss {told}", name=name)
    require(
        set(found) <= set(columns) and len(found) == len(set(found)),
        "Return each name once, as it stands in `columns`.",
    )
