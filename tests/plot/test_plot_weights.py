"""Loss weights by epoch as a figure: its numbers and what it refuses."""

import math

import pytest

from mtlkit import plot
from mtlkit.train import History


def history(*weights, tasks=("click", "return")):
    rows = [
        {"epoch": i, "weights": None if w is None else dict(zip(tasks, w, strict=True))}
        for i, w in enumerate(weights)
    ]
    return History(rows)


def test_every_run_gets_a_panel_and_the_description_its_last_weights():
    runs = {name: history((1.0, 1.0), (k + 0.5, 0.25)) for k, name in enumerate("ABCD")}
    picture = plot.loss_weights(runs, title="Weights move")
    panels = [axes for axes in picture.figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == list("ABCD")
    assert "A: click 0.5, return 0.25; B: click 1.5, return 0.25" in picture.alt
    assert all(axes.get_yscale() == "log" for axes in panels)
    assert list(panels[1].lines[0].get_ydata()) == [1.0, 1.5]
    assert len(picture.png) <= 80_000


def test_a_weight_of_zero_keeps_the_axis_linear_and_an_unlabelled_epoch_leaves_a_gap():
    picture = plot.loss_weights({"late": history((1.0, 0.0), (1.0, math.nan))}, title="Late")
    assert picture.figure.axes[0].get_yscale() == "linear"
    assert "return undefined" in picture.alt


@pytest.mark.parametrize(
    "runs, told",
    [
        ({}, "at least one history"),
        ({"UW": history()}, "'UW' has no epochs yet"),
        ({"PCGrad": history(None)}, "'PCGrad' has no weights"),
        ({"a": history((1, 1)), "b": history((1, 1), tasks=("click", "cart"))}, "click and cart"),
        ({"a": history(range(8), tasks="abcdefgh")}, "At most 7 tasks"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(runs, told):
    with pytest.raises(ValueError, match=told):
        plot.loss_weights(runs, title="No")
