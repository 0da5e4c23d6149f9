"""Paired comparisons over seeds and shops, with intervals and costs, and the search for a rate.

Each name is loaded when it is first used: the processes that ``compare`` starts need no intervals,
and scipy's statistics take as long to load as torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlkit.comparison.front import pareto_front
    from mtlkit.comparison.interval import Interval, paired_interval, verdict
    from mtlkit.comparison.pairs import Paired, paired
    from mtlkit.comparison.runs import compare
    from mtlkit.comparison.search import RateSearch, search_rate
    from mtlkit.comparison.shops import AcrossShops, across_shops
    from mtlkit.comparison.table import Comparison
    from mtlkit.comparison.tuning import Tuned, tune

_HOME = {
    "AcrossShops": "shops",
    "Comparison": "table",
    "Interval": "interval",
    "Paired": "pairs",
    "RateSearch": "search",
    "Tuned": "tuning",
    "across_shops": "shops",
    "compare": "runs",
    "paired": "pairs",
    "paired_interval": "interval",
    "pareto_front": "front",
    "search_rate": "search",
    "tune": "tuning",
    "verdict": "interval",
}

__all__ = [
    "AcrossShops",
    "Comparison",
    "Interval",
    "Paired",
    "RateSearch",
    "Tuned",
    "across_shops",
    "compare",
    "paired",
    "paired_interval",
    "pareto_front",
    "search_rate",
    "tune",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mtlkit.comparison' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mtlkit.comparison.{_HOME[name]}"), name)
    globals()[name] = value
    return value
