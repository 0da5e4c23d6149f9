"""Few cases in which every two values of different lists meet, in place of the full product."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any


def pairs(case: tuple[Any, ...]) -> set[Any]:
    """The pairs of values in a case, each as ((place, value), (place, value))."""
    return set(itertools.combinations(enumerate(case), 2))


def covering(
    *values: Sequence[Any], allowed: Callable[..., bool] = lambda *case: True
) -> list[tuple[Any, ...]]:
    """Cases (a value of each of two lists or more) that meet every pair of the allowed product.

    Greedy: the next case is the first in the order of the product that meets the most new pairs, so
    the same lists always give the same cases. Values are hashable and differ within a list.
    """
    product = [case for case in itertools.product(*values) if allowed(*case)]
    missing = {case: pairs(case) for case in product}
    cases = []
    while missing:
        best = max(missing, key=lambda case: len(missing[case]))  # of equals the first
        met = missing.pop(best)
        cases.append(best)
        for case, left in list(missing.items()):
            left -= met
            if not left:
                del missing[case]
    return cases
