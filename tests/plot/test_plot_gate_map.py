"""Gate maps as figures: each weight in its cell, owners named once, own experts boxed."""

import polars as pl
import pytest
from matplotlib.patches import Rectangle

from mtlkit import plot

NAMES = ["level", "reader", "expert", "owner", "weight"]
LEVELS = [
    (1, "click", 0, "click", 0.25), (1, "click", 2, "shared", 0.75),
    (1, "cart", 1, "cart", 0.9), (1, "cart", 2, "shared", 0.1),
    (1, "shared", 0, "click", 0.5), (1, "shared", 1, "cart", 0.2), (1, "shared", 2, "shared", 0.3),
    (2, "click", 0, "click", 0.55), (2, "click", 2, "shared", 0.45),
    (2, "cart", 1, "cart", 0.35), (2, "cart", 2, "shared", 0.65),
]  # fmt: skip


def frame(rows=LEVELS, names=NAMES):
    return pl.DataFrame(rows, schema=list(names), orient="row")


def by_scenario():
    rows = [
        (1, reader, place, n, "shared", (0.3 if place == "ads" else 0.6) + (n - 0.5) / 10)
        for reader in ("click", "cart")
        for place in ("ads", "search")
        for n in range(2)
    ]
    return frame(rows, ["level", "reader", "scenario", *NAMES[2:]])


def cells(axes):
    """{(row, column): text} of a panel."""
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
            for t in axes.texts}  # fmt: skip


def boxes(axes):
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return sorted((round(p.get_y() + 0.44), round(p.get_x() + 0.46)) for p in found)


def test_every_weight_stands_in_its_cell_and_what_nobody_reads_stays_empty():
    first, second = plot.gate_map(frame()).figure.axes
    assert cells(first) == {
        (0, 0): "0.25", (0, 2): "0.75", (1, 1): "0.90", (1, 2): "0.10",
        (2, 0): "0.50", (2, 1): "0.20", (2, 2): "0.30",
    }  # fmt: skip
    assert cells(second) == {(0, 0): "0.55", (0, 2): "0.45", (1, 1): "0.35", (1, 2): "0.65"}
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["level 1", "level 2"]
    assert [t.get_text() for t in first.get_yticklabels()] == ["click", "cart", "shared"]
    assert [t.get_text() for t in first.get_xticklabels()] == ["0", "1", "2"]
    owners = [t.get_text() for t in first.get_xticklabels(minor=True)]
    assert owners == ["click", "cart", "shared"]


def test_a_reader_s_own_experts_are_boxed():
    first, second = plot.gate_map(frame()).figure.axes
    assert boxes(first) == [(0, 0), (1, 1), (2, 2)] and boxes(second) == [(0, 0), (1, 1)]
    ((only,), picture) = plot.gate_map(by_scenario()).figure.axes, plot.gate_map(by_scenario())
    assert boxes(only) == [] and picture.figure.get_supxlabel() == ""
    assert plot.gate_map(frame()).figure.get_supxlabel() == "boxed: the reader's own"


def test_scenarios_are_rows_with_a_line_between_readers_and_an_owner_stands_once():
    (axes,) = plot.gate_map(by_scenario()).figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "click in ads", "click in search", "cart in ads", "cart in search",
    ]  # fmt: skip
    assert [line.get_ydata()[0] for line in axes.lines] == [1.5]
    owners = axes.get_xticklabels(minor=True)
    assert [t.get_text() for t in owners] == ["shared"] and owners[0].get_position()[0] == 0.5
    assert cells(axes)[1, 1] == "0.65"


def test_the_description_names_the_heaviest_expert_and_the_own_ones():
    alt = plot.gate_map(frame(), title="Who reads whom?").alt
    assert alt.startswith("Who reads whom? Mean gate weight")
    assert "Level 1: click weighs expert 2 (shared) most, 0.75, and its own 0.25; cart" in alt
    assert "cart weighs expert 1 (cart) most, 0.9; shared weighs" in alt
    assert "Level 2:" in alt and alt.count("shared weighs") == 1


def test_negative_numbers_have_a_scale_around_0():
    rows = [(1, "a", 0, "a", 1.5), (1, "a", 1, "b", -0.5)]
    (axes,) = plot.gate_map(frame(rows)).figure.axes
    (image,) = axes.images
    assert (image.norm.vmin, image.norm.vcenter, image.norm.vmax) == (-1.5, 0, 1.5)
    assert cells(axes)[0, 1] == "−0.50"


def test_many_levels_go_on_below():
    rows = [(level, "a", n, "a", 0.125) for level in (1, 2, 3) for n in range(8)]
    axes = plot.gate_map(frame(rows)).figure.axes
    assert [a.get_visible() for a in axes] == [True, True, True, False]
    assert axes[2].get_position().y1 <= axes[0].get_position().y0


@pytest.mark.parametrize(
    "made, words",
    [
        (lambda: frame().drop("owner"), "has no column 'owner'"),
        (lambda: frame().with_columns(a=1, b=2), "not a and b"),
        (lambda: frame([]), "has no rows"),
        (lambda: frame(LEVELS + LEVELS[:1]), "two rows of the same level, reader and expert"),
    ],
)
def test_another_frame_is_refused(made, words):
    with pytest.raises(ValueError, match=words):
        plot.gate_map(made())
