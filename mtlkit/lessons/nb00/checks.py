"""Checkers of notebook 00: shares and a conversion rate with the right denominators."""

import math

import torch

from mtlkit.course.learner.checker import checker, require, require_close


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
        (
            share_of_all_rows,
            "Your code divides by all rows: divide by the rows of the group alone.",
        ),
        (counts, "You return a count, not a share: divide it by the number of rows in the group."),
        (
            same_for_all,
            "You give the same share for every group: take only the rows where `group == value`.",
        ),
    ],
    praise="Each group is divided by its own number of rows.",
)
def shares(answer, seed):
    generator = torch.Generator().manual_seed(seed)
    cases = [(torch.tensor([1.0, 0, 0, 1, 1, 0, 0, 0]), torch.tensor([0, 0, 0, 0, 2, 2, 7, 7]))]
    for size, groups in ((500, 5), (40, 3)):
        happened = (torch.rand(size, generator=generator) < 0.3).float()
        cases.append((happened, torch.randint(0, groups, (size,), generator=generator)))
    for happened, group in cases:
        found, values = answer(happened, group), group.unique().tolist()
        require(
            set(found) == set(values),
            "A dictionary with one share for each of the groups {groups} is asked for.",
            groups=", ".join(map(str, values)),
        )
        for value in values:
            rows = [h for h, g in zip(happened.tolist(), group.tolist(), strict=True) if g == value]
            require_close(
                found[value],
                sum(rows) / len(rows),
                f"The share of group {value} is {{wanted}}, yours is {{found}}.",
                tolerance=1e-4,
            )


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
        (
            per_impression,
            "Your rate divides by all products shown. A product that nobody clicked could not be "
            "bought: divide by the clicks.",
        ),
        (
            invents_zero,
            "When nobody clicked, there is no rate: return math.nan (not a number), not 0.",
        ),
        (upside_down, "Your rate is upside down: it is purchases divided by clicks."),
        (
            divides_by_zero,
            "When nobody clicked, your code divides by zero: look at that case first.",
        ),
    ],
    praise="Only clicked products count, and no clicks give NaN instead of an invented rate.",
)
def conversion_rate(answer, seed):
    generator = torch.Generator().manual_seed(seed)
    click = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    purchase = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = answer(click, purchase)
    require_close(found, 0.25, "1 purchase from 4 clicks is a rate of 0.25, yours is {found}.")
    more = torch.zeros(92)
    longer = answer(torch.cat([click, more]), torch.cat([purchase, more]))
    require_close(
        longer,
        0.25,
        "92 more products that nobody clicked must not change the rate; yours becomes {found}.",
    )
    for _ in range(2):
        click = (torch.rand(60, generator=generator) < 0.4).float()
        purchase = click * (torch.rand(60, generator=generator) < 0.5).float()
        clicks, purchases = int(click.sum()), int(purchase.sum())
        require_close(
            answer(click, purchase),
            purchases / clicks,
            f"{purchases} purchases from {clicks} clicks are a rate of {{wanted}}, "
            "yours is {found}.",
        )
    for shown in (5, 3):
        none = torch.zeros(shown)
        require(
            math.isnan(found := answer(none, none)),
            "When nobody clicked, there is no rate: return math.nan (not a number), not {found}.",
            found=found,
        )
