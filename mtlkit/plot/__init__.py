"""Figures in one style. Every helper returns a ``Picture``: a figure and its description in words.

>>> from mtlkit import plot
>>> plot.lines([1, 2], {"loss": [0.9, 0.5]}, title="Loss falls", xlabel="epoch", ylabel="loss")

The description (alt text) is made from the data and states the finding with numbers; it travels
with the picture.
"""

from mtlkit.plot.charts import distribution, learning_curves, lines, rates_by
from mtlkit.plot.comparisons import bars_with_intervals, trade_off
from mtlkit.plot.diagrams import course_map, flow_chart, network
from mtlkit.plot.differences import differences
from mtlkit.plot.gains import gains
from mtlkit.plot.gate_maps import gate_map
from mtlkit.plot.grids import gate_heatmap, picture_grid, scenario_task_grid
from mtlkit.plot.guesses import guess_against_truth
from mtlkit.plot.panels import panels
from mtlkit.plot.paths import paths
from mtlkit.plot.points import points
from mtlkit.plot.probabilities import calibration, roc
from mtlkit.plot.shops import shops
from mtlkit.plot.style import COLOURS, MARKERS, Picture, canvas, style
from mtlkit.plot.weights import loss_weights

__all__ = [
    "COLOURS",
    "MARKERS",
    "Picture",
    "bars_with_intervals",
    "calibration",
    "canvas",
    "course_map",
    "differences",
    "distribution",
    "flow_chart",
    "gains",
    "gate_heatmap",
    "gate_map",
    "guess_against_truth",
    "learning_curves",
    "lines",
    "loss_weights",
    "network",
    "panels",
    "paths",
    "picture_grid",
    "points",
    "rates_by",
    "roc",
    "scenario_task_grid",
    "shops",
    "style",
    "trade_off",
]
