"""Paired comparisons over seeds, with intervals and costs, and the search for a rate."""

from mtlkit.comparison.interval import Interval, paired_interval, verdict
from mtlkit.comparison.runs import compare
from mtlkit.comparison.search import RateSearch, search_rate
from mtlkit.comparison.table import Comparison

__all__ = [
    "Comparison",
    "Interval",
    "RateSearch",
    "compare",
    "paired_interval",
    "search_rate",
    "verdict",
]
