"""Gains over a dial: which marks are filled, one scale, the words, and what is refused."""

import math

import pytest
from matplotlib.colors import to_hex

from mtlkit import plot
from mtlkit.comparison.interval import Interval

CLEAR, UNCLEAR = Interval(0.04, 0.03, 0.05), Interval(0.01, -0.01, 0.03)
ONE = Interval(-0.02, math.nan, math.nan)
WORDS = {"title": "Where it pays", "xlabel": "rows", "label": "AUC", "reference": "alone"}
PANELS = {
    "poor": {"related": [CLEAR, UNCLEAR], "unrelated": [UNCLEAR, ONE]},
    "rich": {"related": [UNCLEAR, UNCLEAR], "unrelated": [Interval(-0.1, -0.2, -0.05), UNCLEAR]},
}


def filled(axes):
    """Whether each mean's mark is filled, line by line."""
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    return [to_hex(line.get_markerfacecolor()) != "#ffffff" for line in marks]


def test_a_mark_is_filled_where_its_interval_leaves_out_0_on_either_side():
    poor, rich = plot.gains(PANELS, ["few", "many"], **WORDS).figure.axes
    assert filled(poor) == [True, False, False, False]
    assert filled(rich) == [False, False, True, False]


def test_brackets_hold_the_interval_and_one_value_has_none():
    poor, _ = plot.gains(PANELS, ["few", "many"], **WORDS).figure.axes
    brackets = [line for line in poor.lines if line.get_marker() == "_"]
    assert [tuple(map(float, line.get_ydata())) for line in brackets] == [
        (0.03, 0.05), (-0.01, 0.03), (-0.01, 0.03),
    ]  # fmt: skip


def test_panels_have_one_scale_and_the_places_as_ticks():
    poor, rich = plot.gains(PANELS, ["few", "many"], **WORDS).figure.axes
    assert poor.get_ylim() == rich.get_ylim()
    assert [t.get_text() for t in rich.get_xticklabels()] == ["few", "many"]


def test_the_description_states_every_number():
    alt = plot.gains(PANELS, ["few", "many"], digits=2, **WORDS).alt
    assert "poor, related: few +0.04 (+0.03 to +0.05), many +0.01 (−0.01 to +0.03)" in alt
    assert "rich, unrelated: few −0.10 (−0.20 to −0.05)" in alt
    assert "many −0.02;" in alt  # no interval


def test_lines_and_places_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="'related' in panel 'poor' has 2 intervals for 1 places"):
        plot.gains(PANELS, ["few"], **WORDS)
    with pytest.raises(ValueError, match="Panel 'rich' has the lines"):
        plot.gains({"poor": PANELS["poor"], "rich": {"related": [CLEAR] * 2}}, ["a", "b"], **WORDS)
    with pytest.raises(ValueError, match="at least one panel"):
        plot.gains({}, ["a"], **WORDS)


@pytest.mark.parametrize(
    "names",
    [
        ["target attention", "softmax attention", "SiLU attention", "GRU", "transformer"],
        ["last two", "trees", "mean", "GRU, single tasks", "GRU"],
        ["scenario feature", "STAR", "MLoRA", "embedding shift"],
        [f"candidate {i}" for i in range(7)],
        ["one"],
    ],
)
def test_the_legend_and_the_note_leave_each_other_room(names):
    panels = {"five shops": {name: [CLEAR, UNCLEAR] for name in names}}
    figure = plot.gains(panels, ["few", "many"], **WORDS).figure
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    note = figure._supxlabel.get_window_extent()
    assert legend.x1 < note.x0 or legend.y0 > note.y1
