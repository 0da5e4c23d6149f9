"""Several shops as a figure: which marks are filled, its order and words, and what it refuses."""

import math

import pytest
from matplotlib.colors import to_hex

from mtlkit import plot
from mtlkit.comparison import across_shops
from mtlkit.plot.differences import MARK

FOUND = {
    "low": across_shops({0: [-0.3, -0.31], 1: [-0.29, -0.3], 2: [-0.1, 0.3]}),
    "high": across_shops({0: [0.1, 0.11], 1: [0.12, 0.13], 2: [0.2, 0.21]}),
    "unknown": across_shops({0: [math.nan], 1: [], 2: []}),
}
WORDS = {"title": "Who wins on three shops?", "label": "mean AUC"}


def marks(picture, kind):
    """(x, filled) of every mark of one kind, in the order drawn."""
    (axes,) = picture.figure.axes
    lines = [line for line in axes.lines if line.get_marker() == kind]
    return [
        (float(line.get_xdata()[0]), to_hex(line.get_markerfacecolor()) != "#ffffff")
        for line in lines
    ]


def test_a_shop_is_filled_where_its_interval_leaves_out_0_and_the_mean_alike():
    picture = plot.shops({"low": FOUND["low"], "high": FOUND["high"]}, "plain", **WORDS)
    circles = marks(picture, "o")
    assert [x for x, _ in circles] == pytest.approx([0.105, 0.125, 0.205, -0.305, -0.295, 0.1])
    assert [filled for _, filled in circles] == [True, True, True, True, True, False]
    assert [filled for _, filled in marks(picture, "D")] == [True, False]
    assert len(marks(picture, "|")) == 2


def test_the_best_stands_on_top_and_what_has_no_number_at_the_bottom():
    rows = [label.get_text() for label in plot.shops(FOUND, "plain", **WORDS).figure.axes[0]
            .get_yticklabels()]  # fmt: skip
    assert rows == ["high", "low", "unknown"]
    given = plot.shops(FOUND, "plain", ordered=False, **WORDS)
    assert [t.get_text() for t in given.figure.axes[0].get_yticklabels()] == list(FOUND)


def test_where_lower_is_better_the_lowest_stands_on_top_and_the_axis_is_turned():
    falls = {
        name: across_shops({0: [x, x + 0.01], 1: [x, x - 0.01]}, sign=-1)
        for name, x in {"up": 0.1, "down": -0.2}.items()
    }
    picture = plot.shops(falls, "plain", **WORDS)
    (axes,) = picture.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["down", "up"]
    assert axes.xaxis_inverted() and "right is better" in axes.get_xlabel()
    assert not plot.shops(FOUND, "plain", **WORDS).figure.axes[0].xaxis_inverted()


def test_the_description_states_every_finding_and_the_line_names_the_reference():
    picture = plot.shops(FOUND, "plain", **WORDS)
    assert "mean AUC minus that of plain, mean over 3 shops with 95 % interval" in picture.alt
    for name, found in FOUND.items():
        assert f"{name} {found.sentence()}" in picture.alt
    assert "+0.1450 (" in plot.shops(FOUND, "plain", digits=4, **WORDS).alt
    texts = [text.get_text() for text in picture.figure.axes[0].texts]
    assert texts == ["as good as plain"]


def test_the_guess_is_marked_also_where_it_is_the_reference():
    assert f"high {MARK.strip()} +0.1" in plot.shops(FOUND, "plain", marked="high", **WORDS).alt
    reference = plot.shops(FOUND, "plain", marked="plain", **WORDS)
    assert f"minus that of plain {MARK.strip()}, mean" in reference.alt
    assert MARK.strip() in reference.figure.axes[0].texts[0].get_text()
    assert MARK.strip() not in plot.shops(FOUND, "plain", marked="nobody", **WORDS).alt


def test_twelve_candidates_fit_into_a_small_file_and_are_drawn_alike_twice():
    many = {f"candidate {i} with a long name": FOUND["high"] for i in range(12)}
    first, second = (plot.shops(many, "plain", **WORDS) for _ in range(2))
    assert first.png == second.png
    assert len(first.png) <= 80_000


def test_one_shop_with_one_seed_is_drawn_hollow_without_an_interval():
    picture = plot.shops({"new": across_shops({0: [0.1]})}, "plain", **WORDS)
    assert marks(picture, "o") == marks(picture, "D") == [(0.1, False)]
    assert marks(picture, "|") == []
    assert "one shop: no interval over shops" in picture.alt


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, "at least one candidate"),
        ({"a": FOUND["low"], "b": across_shops({0: [1.0]})}, "'b' and 'a' must have the same"),
        (
            {"a": FOUND["low"], "b": across_shops({s: [1.0] for s in range(3)}, sign=-1)},
            "sign -1, and 0, 1 and 2 with 1",
        ),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(found, told):
    with pytest.raises(ValueError, match=told):
        plot.shops(found, "plain", **WORDS)
