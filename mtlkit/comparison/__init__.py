"""Paired comparisons over seeds, with intervals and costs, and the search for a rate."""

from mtlkit.comparison.runs import Comparison, Interval, compare, paired_interval, verdict
from mtlkit.comparison.search import RateSearch, search_rate

__all__ = [
    "Comparison",
    "Interval",
    "RateSearch",
    "compare",
    "paired_interval",
    "search_rate",
    "verdict",
]
