"""Checkers of notebook 00: rates with the right rows above and below the line."""

import math

import torch

from mtlkit.course.learner.checker import Mistake, checker, require, require_close


def share_of_each(happened, group):
    return {value: happened[group == value].mean().item() for value in group.unique().tolist()}


def share_stub(happened, group):
    return dict.fromkeys(group.unique().tolist(), ...)


def share_of_all_rows(happened, group):
    """Divides by all rows, not by the rows of the group."""
    return {
        value: (happened * (group == value)).sum().item() / len(happened)
        for value in group.unique().tolist()
    }


def counts(happened, group):
    """Counts what happened and forgets to divide."""
    return {value: happened[group == value].sum().item() for value in group.unique().tolist()}


def same_for_all(happened, group):
    """Takes the mean of all rows for every group."""
    return {value: happened.mean().item() for value in group.unique().tolist()}


@checker(
    "0.1",
    solution=share_of_each,
    stub=share_stub,
    wrong=[
        (share_of_all_rows, "divides by all rows"),
        (counts, "a count, not a share"),
        (same_for_all, "the same rate for every group"),
    ],
    praise="Each group is divided by its own number of rows.",
)
def rates(answer):
    happened = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    group = torch.tensor([0, 0, 0, 0, 2, 2, 7, 7])
    found = answer(happened, group)
    require(
        isinstance(found, dict) and set(found) == {0, 2, 7},
        "A dictionary with one rate for each of the groups 0, 2 and 7 is asked for.",
    )
    found = {value: float(rate) for value, rate in found.items()}
    require(
        found != {0: 2.0, 2: 1.0, 7: 0.0},
        "You return a count, not a share: divide it by the number of rows in the group.",
    )
    require(
        found != {0: 2 / 8, 2: 1 / 8, 7: 0.0},
        "Your code divides by all rows: divide by the rows of the group alone.",
    )
    require(
        len(set(found.values())) > 1,
        "You give the same rate for every group: take only the rows where `group == value`.",
    )
    for value, rate in {0: 0.5, 2: 0.5, 7: 0.0}.items():
        require_close(
            found[value], rate, f"The rate of group {value} is {rate}, yours is {{found}}."
        )
    generator = torch.Generator().manual_seed(0)
    happened = (torch.rand(500, generator=generator) < 0.3).float()
    group = torch.randint(0, 5, (500,), generator=generator)
    found = answer(happened, group)
    for value in range(5):
        rows = [h for h, g in zip(happened.tolist(), group.tolist(), strict=True) if g == value]
        require_close(found[value], sum(rows) / len(rows), tolerance=1e-4)


def conversion(click, purchase):
    clicks = click.sum().item()
    if clicks == 0:
        return math.nan
    return (purchase * click).sum().item() / clicks


def conversion_stub(click, purchase):
    return ...


def per_impression(click, purchase):
    """Divides by all products shown instead of the clicked ones."""
    return purchase.mean().item()


def divides_by_zero(click, purchase):
    """Forgets that nobody may have clicked."""
    return sum(purchase.tolist()) / sum(int(c) for c in click.tolist())


def invents_zero(click, purchase):
    """Says 0 where nothing was clicked, as if people had looked and not bought."""
    clicks = click.sum().item()
    return purchase.sum().item() / clicks if clicks else 0.0


def upside_down(click, purchase):
    """Divides clicks by purchases."""
    return click.sum().item() / purchase.sum().item()


@checker(
    "0.2",
    solution=conversion,
    stub=conversion_stub,
    wrong=[
        (per_impression, "divides by all products shown"),
        (divides_by_zero, "nobody clicked"),
        (invents_zero, "not a number"),
        (upside_down, "upside down"),
    ],
    praise="Only clicked products count, and no clicks give NaN instead of an invented rate.",
)
def conversion_rate(answer):
    click = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    purchase = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = float(answer(click, purchase))
    require(
        abs(found - 1 / 8) > 1e-9,
        "Your rate divides by all products shown. A product that nobody clicked could not be "
        "bought: divide by the clicks.",
    )
    require(
        abs(found - 4) > 1e-9,
        "Your rate is upside down: it is purchases divided by clicks.",
    )
    require_close(found, 0.25, "1 purchase from 4 clicks is a rate of 0.25, yours is {found}.")
    more = torch.zeros(92)
    longer = float(answer(torch.cat([click, more]), torch.cat([purchase, more])))
    require_close(
        longer,
        0.25,
        "92 more products that nobody clicked must not change the rate; yours becomes {found}.",
    )
    none = torch.zeros(5)
    try:
        empty = float(answer(none, none))
    except Exception as error:
        if "ZeroDivision" not in repr(error):
            raise
        raise Mistake(
            "When nobody clicked, your code divides by zero: look at that case first."
        ) from None
    require(
        math.isnan(empty),
        "When nobody clicked, there is no rate: return math.nan (not a number), not {found}.",
        found=empty,
    )
