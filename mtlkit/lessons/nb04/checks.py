"""Checkers of notebook 04: ESMM's loss in log space, the loss of IPW, a test of its gradient."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

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
    """Averages the cross-entropy over all rows before it divides by the propensity."""
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
            'reduction="none", and divide each.',
        ),
        (logit_for_propensity, "You divide by the logit a; the propensity is its sigmoid."),
        (
            detaches_all,
            "Your loss has no gradient: b learns nothing. Detach the propensity only.",
        ),
    ],
    praise="Clicked rows stand for all, and the propensity is a number, not something to train.",
)
def ipw_of_all_rows(answer, seed):
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


def reaches(loss):
    a, b = (torch.zeros(4, requires_grad=True) for _ in range(2))
    clicked, bought = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    slope = torch.autograd.grad(loss(a, b, clicked, bought), a, allow_unused=True)[0]
    return slope is not None


def reaches_stub(loss):
    return ...


def asks_the_value(loss):
    """Compares the values of the loss for two `a`, not its gradient."""
    b, clicked, bought = torch.zeros(4), torch.ones(4), torch.ones(4)
    first, second = (loss(a, b, clicked, bought) for a in (torch.zeros(4), torch.arange(4.0)))
    return bool((first - second).abs() > 1e-9)


def accuses_everybody(loss):
    """Finds a gradient in every loss, for example because it asks for that of `b`."""
    return True


def trusts_everybody(loss):
    """Never finds a gradient."""
    return False


def wrong_way_round(loss):
    """Returns true where no gradient arrives."""
    return not reaches(loss)


def adds_slopes(loss):
    """Adds up the slopes of all rows, which may cancel."""
    a, b = (torch.zeros(4, requires_grad=True) for _ in range(2))
    clicked, bought = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    slope = torch.autograd.grad(loss(a, b, clicked, bought), a, allow_unused=True)[0]
    return slope is not None and bool(slope.sum().abs() > 1e-6)


def _naive(a, b, clicked, bought):
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
    return (clicked * entropy).mean()


LOSSES = (  # (name, loss, whether its gradient reaches a)
    ("the loss of 4.2", ipw, False),
    ("the loss of 4.2 without the detach", no_detach, True),
    ("a loss without the logit a", _naive, False),
    ("the loss of 4.1", esmm, True),
    ("the loss of 4.2 with a clip of 0.3", partial(ipw, clip=0.3), False),
    ("a loss of the click and of clicked rows", clicked_rows_only, True),
    ("a loss with a detached logit a", lambda a, *row: _naive(a, *row) + a.detach().sum(), False),
    (
        "a loss with the first a minus the last",
        lambda a, *row: _naive(a, *row) + a[0] - a[-1],
        True,
    ),
    (
        "a loss with the last a minus the first",
        lambda a, *row: _naive(a, *row) - a[0] + a[-1],
        True,
    ),
)


@checker(
    "4.3",
    solution=reaches,
    stub=reaches_stub,
    wrong=[
        (
            asks_the_value,
            "Your test rejects the right loss of 4.2: its value depends on a, but no gradient "
            "reaches a. Ask for the gradient.",
        ),
        (
            wrong_way_round,
            "It is the other way round: true means that a gradient reaches a.",
        ),
        (
            accuses_everybody,
            "Your test says true of every loss, also of one that does not use a at all.",
        ),
        (
            trusts_everybody,
            "Your test says false of every loss, also where the detach is missing.",
        ),
        (
            adds_slopes,
            "You add the slopes of all rows: they may cancel, although each of them arrives at a.",
        ),
    ],
    praise="Four made-up rows find the slip that no error message told.",
)
def gradient_test(answer):
    for name, given, arrives in LOSSES:

        def loss(a, b, clicked, bought, given=given):
            return given(*(torch.as_tensor(x).float() for x in (a, b, clicked, bought)))

        loss.__name__ = name
        if answer(loss) == arrives:
            continue
        if arrives:
            require(False, "Your test says false of {name}, whose gradient reaches a.", name=name)
        require(False, "Your test says true of {name}, whose gradient does not reach a.", name=name)
