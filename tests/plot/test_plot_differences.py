"""Paired differences as a figure: its numbers, its mark, and what it refuses."""

import numpy as np
import pytest

from mtlkit import paired_interval, plot
from mtlkit.plot.differences import MARK
from mtlkit.plot.style import say

SCORES = {"plain": [0.5, 0.6, 0.7], "high": [0.6, 0.68, 0.82], "low": [0.4, 0.5, 0.6]}
WORDS = {"title": "Who wins?", "label": "mean AUC"}


def test_the_description_tells_each_paired_difference_with_its_interval():
    picture = plot.differences(SCORES, "plain", **WORDS)
    gap = paired_interval(np.subtract(SCORES["high"], SCORES["plain"]))
    assert f"high {say(gap.mean)} ({say(gap.low)} to {say(gap.high)})" in picture.alt
    assert "low −0.1 (−0.1 to −0.1)" in picture.alt
    assert "mean AUC minus that of plain" in picture.alt
    assert len(picture.png) <= 80_000


def test_the_guess_is_marked_also_where_it_is_the_reference():
    for name in SCORES:
        assert f"{name}{MARK}".lower().split() == _after(
            plot.differences(SCORES, "plain", marked=name, **WORDS).alt.lower(), name
        )
    assert MARK.strip() not in plot.differences(SCORES, "plain", marked="nobody", **WORDS).alt


def _after(alt, name):
    """The words of the description from the marked name to the end of the mark."""
    end = alt.index(MARK.strip()) + len(MARK.strip())
    return alt[alt.rindex(name, 0, end) : end].split()


@pytest.mark.parametrize(
    "scores, told",
    [
        ({"high": [1.0, 2.0]}, "not one of high"),
        ({"plain": [1.0, 2.0]}, "only the reference"),
        ({"plain": [1.0, 2.0], "high": [1.0]}, "scores\\['high'\\]"),
    ],
)
def test_scores_that_cannot_be_paired_are_refused(scores, told):
    with pytest.raises(ValueError, match=told):
        plot.differences(scores, "plain", **WORDS)
