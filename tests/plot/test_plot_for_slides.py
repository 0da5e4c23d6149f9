"""A figure on a slide is read from the last row: every text has 16 points, none meets another."""

import io
import itertools
import math

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from mtlkit import plot
from mtlkit.comparison import across_shops
from mtlkit.comparison.interval import Interval
from mtlkit.plot import sheet
from mtlkit.train import History
from tests.plot.test_plot import EVERYTHING

ROWS = ["equal weights", "by rows", "uncertainty", "DWA", "GradNorm", "IMTL-L", "STCH", "trees"]
LUCK = np.random.default_rng(0).normal(0, 0.01, (8, 5, 4))
CLEAR, UNCLEAR = Interval(0.04, 0.03, 0.05), Interval(0.01, -0.01, 0.03)
EPOCHS = [
    {"epoch": e, "weights": {t: math.exp((k - 1) * e / 3) for k, t in enumerate("abc")}}
    for e in range(6)
]
TITLE = "Which rule for the weights is ahead on five shops?"
EIGHT = {  # eight rows, which is as much as a slide should hold
    "shops": lambda: plot.shops(
        {name: across_shops(dict(enumerate(LUCK[n] + n / 90))) for n, name in enumerate(ROWS)},
        "separate networks", title=TITLE, label="mean AUC", marked="DWA",
    ),
    "gains": lambda: plot.gains(
        {panel: {line: [CLEAR, UNCLEAR, CLEAR] for line in ("0.95", "0.5", "0")}
         for panel in ("purchase", "click")},
        ["29", "72", "215"], title=TITLE, xlabel="purchases", label="AUC", reference="separate",
    ),
    "differences": lambda: plot.differences(
        {name: (LUCK[n].ravel() + n / 40).tolist() for n, name in enumerate(ROWS)}, "by rows",
        title=TITLE, label="mean AUC", marked="trees",
    ),
    "loss_weights": lambda: plot.loss_weights(
        {name: History(EPOCHS) for name in ROWS[:6]}, title="Weights move"
    ),
    "rates_by": lambda: plot.rates_by(
        ROWS, range(8), [(n - 0.5, n + 0.5) for n in range(8)], title=TITLE, label="rate",
        category_label="rule", overall=3.2,
    ),
    "guesses": lambda: plot.guess_against_truth(
        dict.fromkeys(ROWS, 0.5), {name: n / 9 for n, name in enumerate(ROWS)}, "AUC"
    ),
    "ranking": lambda: plot.guess_against_truth(ROWS, dict.fromkeys(ROWS[::-1], 1.5), "AUC"),
    "grid": lambda: plot.scenario_task_grid(
        {name: {"click": 0.7, "purchase": 0.6, "dwell": 0.2} for name in ROWS}
    ),
    "routes": lambda: plot.paths(
        {name: LUCK[n][:3, :, None][..., [0, 0]] * 100 for n, name in enumerate(ROWS)},
        lambda x: (x**2).sum(1), title="Down", xlabel="x", ylabel="y",
    ),
}  # fmt: skip
FIGURES = {name: call for name, (call, _) in EVERYTHING.items()} | {
    f"eight rows: {name}": call for name, call in EIGHT.items()
}
MADE = {}


def by_hand():
    figure, ((axes,),) = plot.canvas("By hand", height=4.4)
    with plot.style():
        axes.plot([1, 2], [3, 4])
        axes.set_xlabel("x", fontsize=6)
    return plot.Picture(figure, "A line.")


FIGURES["by hand"] = by_hand


def made(name):
    """(picture for a page, the same for a slide, {text: (size in points, box)} of the latter)."""
    if name not in MADE:
        page, drawn, draw = FIGURES[name](), {}, Text.draw
        assert page.png

        def watched(text, renderer, *rest):
            draw(text, renderer, *rest)
            if text.get_visible() and text.get_text().strip():
                box = Text.get_window_extent(text, renderer)
                drawn[text] = (text.get_text(), text.get_fontsize(), box)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Text, "draw", watched)
            slide = page.for_slide()
            image = Image.open(io.BytesIO(slide.png))
        MADE[name] = page, slide, image, list(drawn.values())
    return MADE[name]


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_has_the_size_that_the_last_row_needs(name):
    _, slide, _, drawn = made(name)
    inches = tuple(slide.figure.get_size_inches())
    assert drawn
    for text, points, _ in drawn:
        assert sheet.shown_points(points, inches) >= sheet.LEAST, text


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_picture(name):
    _, _, image, drawn = made(name)
    width, height = image.size
    for text, _, box in drawn:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, text


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another(name):
    for (first, _, a), (second, _, b) in itertools.combinations(made(name)[3], 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 4 or down <= 4, (first, second)


@pytest.mark.parametrize("name", FIGURES)
def test_data_and_words_are_the_same(name):
    page, slide, image, _ = made(name)
    assert slide.alt == page.alt == image.text["Description"]
    assert image.text["Of"] == sheet.fingerprint(page.png)
    for one, other in zip(page.figure.axes, slide.figure.axes, strict=True):
        assert len(one.lines) == len(other.lines)
        for a, b in zip(one.lines, other.lines, strict=True):
            np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())


@pytest.mark.parametrize("name", ["gate_heatmap", "eight rows: shops", "by hand"])
def test_the_page_keeps_its_picture(name):
    page = made(name)[0]
    assert page.png == FIGURES[name]().png
    assert {text.get_fontsize() for text in page.figure.axes[0].get_xticklabels()} == {9}
    assert not sheet.large()
