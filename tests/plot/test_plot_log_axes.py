"""Logarithmic axes carry plain numbers."""

from matplotlib.backends.backend_agg import FigureCanvasAgg

from mtlkit import plot


def labels(axis):
    return [tick.get_text() for tick in axis.get_ticklabels() if tick.get_text()]


def drawn(x, y):
    words = {"title": "Loss", "xlabel": "rows", "ylabel": "loss"}
    picture = plot.lines(x, {"loss": y}, log_x=True, log_y=True, **words)
    FigureCanvasAgg(picture.figure).draw()
    return picture.figure.axes[0]


def test_few_values_well_apart_are_the_ticks():
    axes = drawn([64, 512, 4096], [0.3, 2.0, 5.0])
    assert labels(axes.xaxis) == ["64", "512", "4,096"]
    assert {"0.5", "1", "2", "5"} <= set(labels(axes.yaxis))
    assert not any("10^" in label for label in labels(axes.yaxis))


def test_many_or_crowded_values_get_round_ticks():
    axes = drawn([1.0, 1.1, 90.0], [1.0, 2.0, 3.0])
    assert {"1", "10", "50"} <= set(labels(axes.xaxis))
    assert "1.1" not in labels(axes.xaxis)
