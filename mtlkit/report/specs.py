"""What stands in one cell of a table or one line of a list: a mean or a difference, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mtlkit.comparison.interval import Interval
from mtlkit.comparison.shops import AcrossShops
from mtlkit.report.source import Gap, Source, without_sign

OWN = ("candidate", "minus", "times", "digits", "show")
SHOWS = ("mean", "interval", "short", "sentence", "counts", "gap")


def cell(read: Source, spec: Mapping[str, Any], digits: int) -> Any:
    """The value of a spec: a number for "mean" and "gap", otherwise a text.

    Keys of a spec: ``candidate``; ``minus``, the reference of a difference; ``times``, a factor;
    ``digits``; ``show``: "mean" (default without ``minus``) or "interval", "short" (default with
    ``minus``), "sentence", "counts" or "gap". All others go to the source.
    """
    if "candidate" not in spec:
        raise ValueError(f"a cell needs a candidate; its spec is {dict(spec)}.")
    where = {key: value for key, value in spec.items() if key not in OWN}
    minus, times = spec.get("minus"), spec.get("times", 1)
    digits, show = spec.get("digits", digits), spec.get("show", "short" if minus else "mean")
    wanted = SHOWS[2:] if minus else SHOWS[:2]
    if show not in wanted:
        kind = "a difference" if minus else "a mean (no minus is named)"
        raise ValueError(f"show={show!r} does not fit {kind}: use one of {', '.join(wanted)}.")
    if minus is None:
        mean = _times(read.interval(spec["candidate"], **without_sign(where)), times)
        return mean.mean if show == "mean" else f"{mean:.{digits}f}"
    if minus == spec["candidate"]:
        return None if show == "gap" else ""
    gap = scaled(read.difference(spec["candidate"], minus, **where), times)
    return gap.headline.mean if show == "gap" else _text(gap, show, digits)


def scaled(gap: Gap, times: float) -> Gap:
    """A difference in another unit: 100 for per cent. Raises ``ValueError`` for a factor <= 0."""
    if times <= 0:
        raise ValueError(f"times must be above 0, not {times}.")
    if isinstance(gap, AcrossShops):
        shops = {shop: _times(interval, times) for shop, interval in gap.shops.items()}
        return replace(gap, headline=_times(gap.headline, times), shops=shops)
    return replace(gap, headline=_times(gap.headline, times))


def _text(gap: Gap, show: str, digits: int) -> str:
    if show == "counts":
        return gap.counts()
    return gap.short(digits) if show == "short" else gap.sentence(digits)


def _times(interval: Interval, times: float) -> Interval:
    return Interval(*(times * value for value in interval))
