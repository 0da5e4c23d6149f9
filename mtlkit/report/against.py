"""Every candidate against one reference: figure, table and the sentence of the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from mtlkit import plot
from mtlkit.comparison.shops import AcrossShops
from mtlkit.report.parts import Report
from mtlkit.report.source import Gap, Runs, Scores, source_of

ORDER = ("better", "worse", "no difference seen", "no interval", "no direction")


def against(
    source: Any,
    reference: str,
    *,
    title: str,
    label: str,
    task: str | None = None,
    metric: str | None = None,
    sign: int | None = None,
    names: Iterable[str] | Mapping[str, str] | None = None,
    category_label: str = "candidate",
    marked: str | None = None,
    ordered: bool = True,
    digits: int = 3,
    **where: Any,
) -> Report:
    """Compare candidates with ``reference``, paired by seed, and report it in three ways.

    ``source``: a ``Comparison``, stored ``evidence``, or {name: scores, one a seed}. ``task`` and
    ``metric`` pick the score (a comparison's default is the task's main metric, evidence's the
    AUC); ``where`` picks a group of the evidence or a ``scenario``. ``sign`` is +1 where higher is
    better, -1 or 0; by default it follows from the metric. ``names``: those to show, as a list or
    {label shown: candidate}; by default all. ``title`` and ``label`` (the score's name) are the
    figure's, as are ``marked`` (the learner's guess) and ``ordered``.

    The table has the columns candidate, mean, and the difference with its 95 % interval and the
    verdict: shops better / worse, or the word. The sentence lists candidates by the headline's
    verdict. Raises ``ValueError`` for a name, task or group that is not there.
    """
    read = source_of(source)
    where |= {k: v for k, v in {"task": task, "metric": metric}.items() if v is not None}
    shown = _shown(names, _present(source, read.candidates, reference, where), reference)
    judged = where | ({} if sign is None else {"sign": sign})
    gaps = {name: read.difference(own, reference, **judged) for name, own in shown.items()}
    rows = [
        {
            "candidate": name,
            "mean": read.interval(own, **where).mean,
            f"minus {reference}": gaps[name].short(digits) if name in gaps else "",
        }
        for name, own in {reference: reference, **shown}.items()
    ]
    style: dict[str, Any] = {"title": title, "label": label, "category_label": category_label}
    style |= {"marked": marked, "ordered": ordered}
    picture = None
    across = {name: gap for name, gap in gaps.items() if isinstance(gap, AcrossShops)}
    if across:
        picture = plot.shops(across, reference, digits=digits, **style)
    elif isinstance(read, Runs | Scores):
        scores: dict[str, Any] = {name: read.scores(own, **where) for name, own in shown.items()}
        scores[reference] = read.scores(reference, **where)
        if all(len(known) > 1 for known in scores.values()):  # one seed has no interval to draw
            picture = plot.differences(scores, reference, **style)
    return Report(pl.DataFrame(rows), verdicts(gaps, reference), picture, digits, gaps)


def verdicts(gaps: Mapping[str, Gap], reference: str) -> str:
    """ "Better than r: a, b. Worse than r: c. No difference seen: d.": candidates by verdict.

    The verdict is the headline's: over shops where there are several, else over seeds.
    """
    words = {name: gap.verdict for name, gap in gaps.items()}
    comma = "; " if any(", " in name for name in gaps) else ", "
    groups = {word: [n for n, said in words.items() if said == word] for word in ORDER}
    than = dict.fromkeys(("better", "worse"), f" than {reference}")
    told = (
        f"{word.capitalize()}{than.get(word, '')}: {comma.join(own)}."
        for word, own in groups.items()
        if own
    )
    return " ".join(told)


def _present(
    source: Any, candidates: tuple[str, ...], reference: str, where: Mapping[str, Any]
) -> list[str]:
    """All candidates with such a number: a contest may hold some in some groups only."""
    if isinstance(source, Mapping) or not hasattr(source, "against"):
        return list(candidates)
    return list(source.against(reference, **where))


def _shown(
    names: Iterable[str] | Mapping[str, str] | None, present: list[str], reference: str
) -> dict[str, str]:
    if names is None:
        names = present
    shown = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    shown = {label: name for label, name in shown.items() if name != reference}
    if not shown:
        raise ValueError(f"There is only the reference {reference!r}: nothing to compare it with.")
    return shown
