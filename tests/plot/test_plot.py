"""Figures: every helper tells its numbers in words, labels its axes, stays small and repeatable."""

import base64
import io
import itertools
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from PIL import Image

from mtlkit import plot
from mtlkit.comparison import Comparison
from mtlkit.plot.style import RULES, Picture, canvas, listed, say, spread_out, style


def comparison():
    """Two rivals of a reference, on two tasks and two scenarios: one better, one not told apart."""
    random = np.random.default_rng(0)
    gain = {"single-task": 0.0, "shared": 0.02, "mmoe": 0.0}
    runs = []
    for seed in range(5):
        luck = random.normal(0, 0.01)
        for name, plus in gain.items():
            for place in ("all", "search", "feed"):
                noise = random.normal(0, 0.001)
                runs.append((name, seed, "click", place, "auc", 0.7 + luck + plus + noise))
                runs.append(
                    (name, seed, "units", place, "poisson_deviance", 1 + luck - plus + noise)
                )
    names = ["candidate", "seed", "task", "scenario", "metric", "value"]
    costs = [(name, s, 100, 1.0, 10, 10) for name in gain for s in range(5)]
    cost_names = ["candidate", "seed", "parameters", "seconds", "steps", "backward_passes"]
    return Comparison(
        runs=pl.DataFrame(runs, schema=names, orient="row"),
        costs=pl.DataFrame(costs, schema=cost_names, orient="row"),
        candidates=tuple(gain), reference="single-task", seeds=tuple(range(5)),
        tasks={"click": ("auc", 1), "units": ("poisson_deviance", -1)},
        on="validation", confidence=0.95, oracle={},
    )  # fmt: skip


def scenario_table(gain=0.0):
    """One model's numbers by scenario and task; a purchase gains twice as much as a click."""
    nan = float("nan")
    cells = {
        ("all", "click"): (0.755, 1.01, None), ("all", "purchase"): (0.68, 0.9, None),
        ("all", "dwell"): (None, None, 0.2), ("search", "click"): (0.7, 0.8, None),
        ("search", "purchase"): (0.61, 1.5, None), ("search", "dwell"): (None, None, -0.1),
        ("unknown", "click"): (0.81, 1.1, None), ("unknown", "purchase"): (nan, nan, None),
        ("unknown", "dwell"): (None, None, 0.3),
    }  # fmt: skip
    rows = []
    for (place, task), (auc, pcoc, r2) in cells.items():
        row = {"scenario": place, "task": task, "rows": 90, "observed": 80}
        row |= {"positives": 9 if r2 is None else None, "pcoc": pcoc, "r2": r2, "rmse": r2}
        plus = gain * (2 if task == "purchase" else 1)
        rows.append(row | {"auc": None if auc is None else auc + plus})
    return pl.DataFrame(rows, infer_schema_length=None)


def history(tasks=("click", "dwell")):
    rows = [
        {
            "epoch": e,
            "train": {"click": 0.7 * 0.8**e, "dwell": 1.5 * 0.9**e},
            "validation": {
                "click": {"auc": 0.75 - 0.2 * 0.6**e, "log_loss": 0.72 * 0.85**e},
                "dwell": {"r2": 0.31 - 0.3 * 0.5**e, "rmse": 3.0},
            },
        }
        for e in range(6)
    ]
    return SimpleNamespace(rows=rows, best_epoch=3)


def probabilities():
    random = np.random.default_rng(1)
    p = random.uniform(0, 0.4, 800)
    return (random.uniform(size=800) < p).astype(int), p


LABEL, PROBABILITY = probabilities()
RANDOM = np.random.default_rng(2)
RANDOM_MATRIX = RANDOM.dirichlet(np.ones(8), 6)
IMAGES = RANDOM.uniform(size=(9, 784))
DWELL = RANDOM.lognormal(3, 1, 400)

# name: (a call, words and numbers that its description must hold)
HELPERS = {
    "lines": (
        lambda: plot.lines([1, 2, 3], {"loss": [0.9, 0.35, 0.5]}, title="Loss", xlabel="epoch",
                           ylabel="loss (nats)", bands={"loss": ([0.8, 0.3, 0.4], [1, 0.4, 0.6])},
                           levels={"oracle": 0.25}),
        ["epoch from 1 to 3", "from 0.9 to 0.5", "lowest 0.35 at 2", "oracle at 0.25"],
    ),
    "learning_curves": (
        lambda: plot.learning_curves(history()),
        ["6 epoch(s)", "training loss from 0.7 to 0.229", "validation AUC from 0.55 to",
         "validation R² from 0.01", "best epoch is 4"],
    ),
    "bars_with_intervals": (
        lambda: plot.bars_with_intervals(comparison()),
        ["shared on click: AUC 0.7", "difference 0.0", "better", "no difference seen", "95 %",
         "5 paired seeds", "validation rows"],
    ),
    "trade_off": (
        lambda: plot.trade_off({"a": (0.7, 0.6), "b": (0.72, 0.58), "c": (0.69, 0.57)},
                               title="Trade", xlabel="click AUC", ylabel="purchase AUC"),
        ["a at click AUC 0.7, purchase AUC 0.6", "Not beaten in both aims: a and b."],
    ),
    "calibration": (
        lambda: plot.calibration(LABEL, {"plain": PROBABILITY, "doubled": 2 * PROBABILITY}),
        ["800 rows", "plain: ECE 0.0", "doubled: ECE 0.", "predicted over observed"],
    ),
    "roc": (
        lambda: plot.roc(LABEL, PROBABILITY),
        ["model has AUC 0.", "% of the positives at 10 % false alarms"],
    ),
    "rates_by": (
        lambda: plot.rates_by(["search", "feed"], [0.05, 0.12], [(0.04, 0.06), (0.11, 0.13)],
                              title="Clicks", label="click rate", category_label="scenario",
                              overall=0.08),
        ["feed 0.12 (0.11 to 0.13), search 0.05", "Over all: 0.08"],
    ),
    "points": (
        lambda: plot.points([[0, 1], [2, 3], [5, 6]], ["a", "a", "b"], title="Z", xlabel="first",
                            ylabel="second"),
        ["2 of a around 1 and 2", "1 of b around 5 and 6"],
    ),
    "paths": (
        lambda: plot.paths(dict.fromkeys("abcdefg", WALKS), lambda x: (x**2).sum(1), title="Down",
                           xlabel="east", ylabel="north", goal=((-1, 0), (1, 0)), columns=4),
        ["a: (0, 0), (1, −2); b:", "Ends (east, north)"],
    ),
    "distribution": (
        lambda: plot.distribution({"feed": DWELL, "ads": DWELL + 5}, title="Dwell", unit="seconds",
                                  label="dwell time", log_x=True),
        ["feed: 400 rows", "median", "80 % lie between", "dwell time (seconds)"],
    ),
    "gate_heatmap": (
        lambda: plot.gate_heatmap([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]], ["click", "dwell"]),
        ["click weighs expert 1 most (0.7)", "dwell 3 of 3"],
    ),
    "gate_map": (
        lambda: plot.gate_map(GATES),
        ["Level 1: click weighs expert 2 (shared) most, 0.7, and its own 0.3", "Level 2: click"],
    ),
    "gate_map by scenario": (
        lambda: plot.gate_map(GATES_BY_SCENARIO),
        ["click in search weighs expert 1 (shared) most, 0.6; click in ads weighs"],
    ),
    "scenario_task_grid": (
        lambda: plot.scenario_task_grid({"search": {"click": 0.71}, "ads": {"click": 0.64}},
                                        label="AUC"),
        ["search: click 0.71; ads: click 0.64"],
    ),
    "scenario_task_grid of a comparison": (
        lambda: plot.scenario_task_grid(comparison(), candidate="shared"),
        ["6 better of 6 cells", "click in search better (0.0"],
    ),
    "scenario_task_grid of a table": (
        lambda: plot.scenario_task_grid(scenario_table()),
        ["AUC by scenario and task.", "all: click 0.755, purchase 0.68; search: click 0.7,",
         "unknown: click 0.81, purchase undefined"],
    ),
    "scenario_task_grid of two tables": (
        lambda: plot.scenario_task_grid(scenario_table(0.01), minus=scenario_table(),
                                        title="Shared minus alone"),
        ["Shared minus alone. all: click 0.01, purchase 0.02;"],
    ),
    "scenario_task_grid of two candidates": (
        lambda: plot.scenario_task_grid(comparison(), candidate="mmoe", minus="shared"),
        ["Grid of mmoe against shared", "6 worse of 6 cells"],
    ),
    "guess_against_truth": (
        lambda: plot.guess_against_truth(40, 12.3, "saved", unit="%"),
        ["the truth is 12.3", "your guess was 40", "3.3 times too high"],
    ),
    "guess_against_truth of several": (
        lambda: plot.guess_against_truth({"click": 0.7}, {"click": 0.73, "cart": 0.6}, "AUC"),
        ["click 0.73 (your guess 0.7, 0.03 too low)", "cart 0.6"],
    ),
    "guess_against_truth of a ranking": (
        lambda: plot.guess_against_truth(["a", "c", "b"], {"a": 3, "b": 2, "c": 1}, "rate"),
        ["true order: a, b, c", "a 3, b 2, c 1", "1 of 3 places are right"],
    ),
}  # fmt: skip
GATE_COLUMNS = ["level", "reader", "expert", "owner", "weight"]
GATES = pl.DataFrame(
    [
        (level, task, n, owner, weight)
        for level in (1, 2)
        for k, task in enumerate(("click", "purchase"))
        for n, owner, weight in ((k, task, 0.3), (2, "shared", 0.7))
    ],
    schema=GATE_COLUMNS, orient="row",
)  # fmt: skip
GATES_BY_SCENARIO = pl.DataFrame(
    [
        (1, task, place, n, "shared", 0.4 + 0.2 * n)
        for task in ("click", "purchase")
        for place in ("search", "ads")
        for n in (0, 1)
    ],
    schema=[*GATE_COLUMNS[:2], "scenario", *GATE_COLUMNS[2:]], orient="row",
)  # fmt: skip
WALKS = [[[9, 9], [4, 5], [0, 0]], [[-8, 7], [-3, 1], [1, -2]]]
CROWDED = [f"a model with a long name {i}" for i in range(6)]
DIAGRAMS = {
    "a crowded ranking": (
        lambda: plot.guess_against_truth(CROWDED[::-1], dict.fromkeys(CROWDED, 1.5), "AUC"),
        ["0 of 6 places are right", "a model with a long name 5 1.5"],
    ),
    "a crowded calibration": (
        lambda: plot.calibration(LABEL, dict.fromkeys(CROWDED, PROBABILITY)),
        ["a model with a long name 5: ECE"],
    ),
    "a crowded grid": (
        lambda: plot.gate_heatmap(
            RANDOM_MATRIX,
            CROWDED,
            title="A title so long that it has to go "
            "on for a second line, or it would leave the picture",
        ),
        ["effective number of experts used"],
    ),
    "picture_grid": (
        lambda: plot.picture_grid(IMAGES, ["shoe"] * 5 + ["shirt"] * 4, title="Nine products"),
        ["9 pictures of 28 x 28 pixels", "5 x shoe and 4 x shirt"],
    ),
    "panels": (
        lambda: plot.panels(
            [0, 10, 20],
            {
                "p = 0": {"a": [3, 2, 1], "b": [9, 4, 5]},
                "p = 1": {"a": [2, 1, 0.5], "b": [8, 8, 8]},
            },
            title="Two dials",
            xlabel="step",
            ylabel="loss",
            log_y=True,
        ),
        ["loss against step", "p = 0, b goes from 9 to 5, lowest 4 at 10", "p = 1, a goes from 2"],
    ),
    "single_task": (
        lambda: plot.network("single_task", ("click", "cart", "purchase")),
        ["3 separate networks", "click, cart and purchase", "no parameter is shared"],
    ),
    "shared_bottom": (
        lambda: plot.network("shared_bottom", inputs="784 pixels", shared="shared layer\nof 128"),
        ["one body (shared layer of 128)", "2 towers"],
    ),
    "six losses": (
        lambda: plot.network(
            "shared_bottom",
            [f"task {k}" for k in range(6)],
            outputs=[f"λ{k} L{k}" for k in "₁₂₃₄₅₆"],
            title="One network, six losses",
        ),
        ["6 towers", "The boxes on top read: λ₁ L₁, λ₂ L₂", "and λ₆ L₆."],
    ),
    "mmoe": (lambda: plot.network("mmoe", experts=5), ["5 shared experts", "2 tasks", "gate"]),
    "cgc": (
        lambda: plot.network("cgc", experts=2),
        ["2 shared experts and an expert of its own", "click and purchase", "no other task's"],
    ),
    "flow_chart": (
        plot.flow_chart,
        [
            "1. data input",
            "2. task definition",
            "3. training",
            "4. prediction",
            "5. evaluation",
            "6. feedback",
            "the start again",
            "Three dashed arrows",
        ],
    ),
    "course_map": (
        lambda: plot.course_map("02", {"00", "01", "02"}),
        ["02 Share the bottom", "18 The bug museum", "You are in notebook 02", "to come"],
    ),
}
EVERYTHING = HELPERS | DIAGRAMS
MADE, DRAWN = {}, {}


def made(name):
    """The picture of one helper, made once; the texts it draws and where are kept in DRAWN."""
    if name not in MADE:
        draw, last = Text.draw, {}  # the layout draws once, the file a second time

        def watched(text, renderer, *rest):
            draw(text, renderer, *rest)
            if text.get_visible() and text.get_text().strip():
                last[text] = (text.get_text(), Text.get_window_extent(text, renderer))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Text, "draw", watched)
            MADE[name] = EVERYTHING[name][0]()
            assert MADE[name].png
        DRAWN[name] = list(last.values())
    return MADE[name]


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_description_states_the_numbers(name):
    alt = made(name).alt
    for words in EVERYTHING[name][1]:
        assert words in alt
    assert alt.endswith((".", "?")) and "nan" not in alt and "\n" not in alt


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_figure_has_a_title_and_charts_label_both_axes(name):
    figure = made(name).figure
    assert figure.get_suptitle().strip()
    if name in HELPERS:
        panels = [axes for axes in figure.axes if axes.get_visible() and axes.axison]
        assert panels
        assert any(axes.get_xlabel().strip() for axes in panels)
        assert any(axes.get_ylabel().strip() for axes in panels)


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_png_is_small_and_the_same_every_time(name):
    first, second = made(name).png, EVERYTHING[name][0]().png
    assert first == second
    assert len(first) <= 80 * 1024
    image = Image.open(io.BytesIO(first))
    assert image.format == "PNG" and image.text["Description"] == made(name).alt


@pytest.mark.parametrize("name", EVERYTHING)
def test_all_text_lies_inside_the_picture(name):
    made(name)
    assert DRAWN[name]
    width, height = Image.open(io.BytesIO(made(name).png)).size
    for text, box in DRAWN[name]:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, text


def test_the_boxes_on_top_of_a_network_hold_the_prediction_or_what_was_asked_for():
    for name, told in (("six losses", [f"λ{k} L{k}" for k in "₁₂₃₄₅₆"]), ("mmoe", ["ŷ click"])):
        made(name)
        drawn = [text for text, _ in DRAWN[name]]
        assert all(text in drawn for text in told)
        assert any(text.startswith("ŷ") for text in drawn) == (name == "mmoe")


def test_no_gate_of_cgc_reads_another_tasks_expert():
    def arrows(picture):
        return sum(isinstance(p, FancyArrowPatch) for p in picture.figure.axes[0].patches)

    own, shared = plot.network("cgc", experts=2), plot.network("mmoe", experts=4)
    assert arrows(shared) - arrows(own) == 2


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_text_lies_on_another(name):
    made(name)
    for (first, a), (second, b) in itertools.combinations(DRAWN[name], 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 3 or down <= 3, (first, second)


# --- the picture ------------------------------------------------------------------------------


def test_a_picture_without_words_is_refused():
    figure, _ = canvas("Empty")
    with pytest.raises(ValueError, match="needs a description"):
        Picture(figure, "  ")


def test_a_notebook_output_carries_png_html_and_the_description_in_each():
    from IPython.core.formatters import DisplayFormatter

    picture = plot.rates_by(["a<b", 'c"d'], [1, 2], title="T", label="x", category_label="y")
    data, metadata = DisplayFormatter().format(picture)
    assert set(data) == {"image/png", "text/html", "text/plain"}
    assert base64.b64decode(data["image/png"]) == picture.png
    assert metadata["image/png"]["alt"] == picture.alt == data["text/plain"]
    assert 'alt="T. x by y: c&quot;d 2, a&lt;b 1."' in data["text/html"]
    assert data["image/png"] in data["text/html"]
    assert metadata["image/png"]["width"] == 700


def test_nbconverts_lab_page_keeps_the_description():
    import nbformat
    from IPython.core.formatters import DisplayFormatter
    from nbconvert import HTMLExporter

    picture = made("rates_by")
    data, metadata = DisplayFormatter().format(picture)
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("picture", outputs=[output])
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert f'alt="{picture.alt}"' in page
    assert "No description has been provided for this image" not in page


def test_figures_do_not_load_or_use_pyplot():
    script = (
        "import sys; from mtlkit import plot; plot.network('mmoe').png; "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


def test_saving_writes_the_same_bytes(tmp_path):
    path = made("mmoe").save(tmp_path / "net.png")
    assert path.read_bytes() == made("mmoe").png


def test_the_house_style_ignores_and_restores_settings_outside():
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "savefig.dpi": 30}):
        loud = HELPERS["rates_by"][0]().png
        with style():
            assert matplotlib.rcParams["font.size"] == RULES["font.size"]
        assert matplotlib.rcParams["font.size"] == 30
    assert loud == made("rates_by").png


def test_series_differ_by_colour_and_by_marker():
    ((axes,),) = [plot.lines([1, 2], {str(i): [i, i + 1] for i in range(7)}, title="T", xlabel="x",
                             ylabel="y").figure.axes]  # fmt: skip
    drawn = axes.get_lines()
    assert len({line.get_color() for line in drawn}) == 7
    assert len({line.get_marker() for line in drawn}) == 7


def test_names_at_line_ends_never_overlap():
    picture = plot.lines([0, 1], {f"model {i}": [0, 0.001 * i] for i in range(6)}, title="T",
                         xlabel="x", ylabel="y")  # fmt: skip
    _ = picture.png
    renderer = picture.figure.canvas.get_renderer()
    names = [t for t in picture.figure.axes[0].texts if t.get_text().startswith("model")]
    # The text alone: an annotation's own extent would include its leader line.
    boxes = [Text.get_window_extent(t, renderer) for t in names]
    boxes.sort(key=lambda box: box.y0)
    assert len(boxes) == 6
    for below, above in itertools.pairwise(boxes):
        assert above.y0 >= below.y1 - 1


def test_numbers_are_spread_around_their_middle_and_keep_their_order():
    assert spread_out([0.5, 0.1, 0.9], 0.1) == [0.5, 0.1, 0.9]
    assert spread_out([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    moved = spread_out([0.30, 0.31, 0.32, 0.9], 0.1)
    assert moved == pytest.approx([0.21, 0.31, 0.41, 0.9])
    assert min(np.diff(sorted(spread_out(list(RANDOM.uniform(size=9)), 0.2)))) >= 0.2 - 1e-9


def test_a_lower_deviance_is_drawn_to_the_right():
    panels = made("bars_with_intervals").figure.axes
    by_task = {axes.get_title(loc="left"): axes for axes in panels}
    assert by_task["click"].get_xlim()[0] < by_task["click"].get_xlim()[1]
    assert by_task["units"].get_xlim()[0] > by_task["units"].get_xlim()[1]


# --- what stands in the pictures ----------------------------------------------------------------


def test_a_guess_is_optional_and_can_be_a_choice():
    alone = plot.guess_against_truth(None, 12.3, "saved", unit="%")
    assert "No guess was given" in alone.alt and "12.3" in alone.alt
    wrong = plot.guess_against_truth("ads", {"search": 0.12, "ads": 0.02}, "click rate")
    assert "You chose ads, but search is the largest" in wrong.alt
    right = plot.guess_against_truth("search", {"search": 0.12, "ads": 0.02}, "click rate")
    assert "You chose search, which is the largest" in right.alt
    exact = plot.guess_against_truth(5, 5.0, "seconds")
    assert "exactly right" in exact.alt
    unranked = plot.guess_against_truth(None, ["b", "a"], "rate")
    assert "true order: b, a" in unranked.alt and "No guess was given" in unranked.alt


def test_the_pareto_front_follows_the_better_directions():
    points = {"a": (1.0, 1.0), "b": (2.0, 2.0), "c": (3.0, 0.5)}
    labels = {"title": "T", "xlabel": "cost", "ylabel": "gain"}
    up = plot.trade_off(points, **labels)
    assert "Not beaten in both aims: b and c." in up.alt
    cheap = plot.trade_off(points, better=(-1, 1), **labels)
    assert "Not beaten in both aims: a and b." in cheap.alt


def test_learning_curves_work_without_validation_and_for_one_epoch():
    rows = [{"epoch": 0, "train": {"click": 0.5}, "validation": None}]
    picture = plot.learning_curves(SimpleNamespace(rows=rows, best_epoch=None))
    assert "training loss from 0.5 to 0.5" in picture.alt and picture.png


def test_a_real_history_is_drawn():
    from mtlkit.train import History

    picture = plot.learning_curves(History(rows=history().rows, best_epoch=1), metric="auc",
                                   tasks=["click"])  # fmt: skip
    assert "best epoch is 2" in picture.alt


def test_networks_that_stop_apart_have_a_line_each_at_their_own_epoch():
    from mtlkit.train import History

    own = {"click": 1, "dwell": 4}
    picture = plot.learning_curves(History(rows=history().rows, best_epoch=4, best_epochs=own))
    assert picture.alt.endswith("Best epochs: click 2, dwell 5.")
    dashed = [
        {line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"}
        for axes in picture.figure.axes[:4]
    ]
    assert dashed == [{2}, {5}, {2}, {5}]


def test_undefined_values_are_told_and_drawn_as_gaps():
    picture = plot.lines([1, 2, 3], {"auc": [np.nan, 0.6, 0.7], "r2": [np.nan] * 3}, title="T",
                         xlabel="x", ylabel="y")  # fmt: skip
    assert "auc goes from 0.6 to 0.7" in picture.alt and "r2 is undefined throughout" in picture.alt
    assert picture.png


def test_a_histogram_over_little_more_than_a_decade_has_plain_numbers_and_says_what_it_counts():
    losses = np.geomspace(0.014, 0.6, 50)
    picture = plot.distribution(losses, title="T", label="loss", log_x=True, what="seeds")
    (axes,) = picture.figure.axes
    picture.figure.canvas.draw()
    low, high = axes.get_xlim()
    told = [t.get_text() for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert told == ["0.02", "0.05", "0.1", "0.2", "0.5"]
    assert axes.get_ylabel() == "share of seeds"
    assert "50 seeds" in picture.alt


def test_whole_numbers_get_one_bar_each():
    axes = plot.distribution([0, 0, 1, 2], title="T", label="units").figure.axes[0]
    edges = axes.patches[0].get_data().edges
    assert list(edges) == [-0.5, 0.5, 1.5, 2.5]
    assert list(axes.patches[0].get_data().values) == [0.5, 0.25, 0.25]


AXES = {"title": "T", "xlabel": "x", "ylabel": "y"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot.lines([1, 2], {"a": [1]}, **AXES), "'a' has 1 values"),
        (lambda: plot.lines([], {}, **AXES), "at least one series"),
        (lambda: plot.learning_curves(SimpleNamespace(rows=[])), "train first"),
        (lambda: plot.learning_curves(SimpleNamespace(rows=[{"train": {}}])), "trees are not"),
        (lambda: plot.learning_curves(history(), tasks=["x"]), "no task 'x'"),
        (lambda: plot.learning_curves(history(), metric="ndcg"), "no metric 'ndcg'"),
        (lambda: plot.trade_off({}, **AXES), "at least one point"),
        (lambda: plot.trade_off({"a": (1, 1)}, **AXES, better=(0, 1)), "better must hold"),
        (lambda: plot.roc([1, 1], [0.1, 0.2]), "both classes"),
        (lambda: plot.calibration([], []), "at least one row"),
        (lambda: plot.rates_by("a", [1, 2], title="T", label="x", category_label="y"), "one entry"),
        (lambda: plot.distribution([], title="", label=""), "one or more values"),
        (lambda: plot.distribution([0.0], title="", label="", log_x=True), "above 0"),
        (lambda: plot.gate_heatmap([[1.0]], ["a", "b"]), "matrix has shape"),
        (lambda: plot.scenario_task_grid(comparison(), candidate="x"), "shared and mmoe, not 'x'"),
        (lambda: plot.scenario_task_grid(comparison(), minus="x"), "mmoe, not 'x'"),
        (lambda: plot.scenario_task_grid(comparison(), candidate="mmoe", minus="mmoe"),
         "single-task and shared, not 'mmoe'"),
        (lambda: plot.scenario_task_grid(scenario_table(), metric="gauc"),
         "no 'gauc': metric must be one of pcoc, r2, rmse and auc"),
        (lambda: plot.scenario_task_grid(scenario_table().drop("task")), "no column 'task'"),
        (lambda: plot.scenario_task_grid(pl.concat([scenario_table()] * 2)), "two rows of one"),
        (lambda: plot.scenario_task_grid(scenario_table(), minus="alone"), "not a str"),
        (lambda: plot.scenario_task_grid(scenario_table(), minus=scenario_table().with_columns(
            positives=pl.col("positives") + 1)), "differ in their numbers of positives"),
        (lambda: plot.picture_grid(np.zeros((2, 5)), title=""), "images must be"),
        (lambda: plot.picture_grid(IMAGES, ["a"], title=""), "1 titles for 9 images"),
        (lambda: plot.guess_against_truth({"x": 1}, {"a": 1}, "n"), "names 'x'"),
        (lambda: plot.guess_against_truth(["a"], ["a", "b"], "n"), "each once"),
        (lambda: plot.paths({}, sum, **AXES), "at least one route"),
        (lambda: plot.paths({"a": [[1, 2]]}, sum, **AXES), "must be .walk, step, 2."),
        (lambda: plot.network("ple"), "kind must be one of"),
        (lambda: plot.panels([], {}, title="T", xlabel="x", ylabel="y"), "at least one panel"),
        (
            lambda: plot.panels([1], {"p": {"a": [1]}, "q": {"b": [1]}}, title="T", xlabel="x",
                                ylabel="y"),
            "Panel 'q' has the lines",
        ),
        (
            lambda: plot.panels([1], {"p": {"a": [1, 2]}}, title="T", xlabel="x", ylabel="y"),
            "'a' in panel 'p' has 2 values",
        ),
        (lambda: plot.panels([1], {"p": {}}, title="T", xlabel="x", ylabel="y"), "1 to 7 lines"),
        (lambda: plot.network("mmoe", experts=0), "1 to 6 experts"),
        (lambda: plot.network("cgc", experts=5), "at most 6 experts"),
        (lambda: plot.network("mmoe", outputs=["one"]), "outputs: 1 texts for 2 tasks"),
        (lambda: plot.course_map("19"), "no notebook '19'"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_with_the_reason(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_numbers_and_lists_read_well():
    assert say(0.12345) == "0.123" and say(12345.6) == "12,346" and say(-0.5) == "−0.5"
    assert say(float("nan")) == "undefined" and say(0.71234, 4) == "0.7123"
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_the_level_line_of_rates_by_can_be_named():
    rates = {"title": "Gains", "label": "gain", "category_label": "case", "overall": 0.0}
    picture = plot.rates_by(["a"], [0.1], overall_label="no gain", **rates)
    assert "No gain: 0." in picture.alt


@pytest.mark.parametrize(
    ("places", "groups", "message"),
    [([[1, 2, 3]], ["a"], "places"), ([[1, 2]], ["a", "b"], "one a row"),
     ([[i, i] for i in range(8)], list("abcdefgh"), "at most 7")],
)  # fmt: skip
def test_points_that_cannot_be_drawn_are_refused(places, groups, message):
    with pytest.raises(ValueError, match=message):
        plot.points(places, groups, title="t", xlabel="x", ylabel="y")


def test_a_guess_of_a_share_is_seen_on_the_whole_scale():
    axes = plot.guess_against_truth(None, 0.2, "found", limits=(0, 100)).figure.axes[0]
    low, high = axes.get_xlim()
    assert -5 < low <= 0 and 100 <= high < 105
    axes = plot.guess_against_truth(None, 99, "found", limits=(0, 100)).figure.axes[0]
    assert axes.get_xlim()[1] > 115  # room for the number beside the dot
    with pytest.raises(ValueError, match="single number"):
        plot.guess_against_truth(None, {"a": 1.0}, "found", limits=(0, 1))


def test_the_map_shows_what_is_built_and_what_is_to_come():
    from mtlkit.course.learner import cards
    from mtlkit.plot.style import listed

    assert f"Ready: {listed(cards.numbers())}; the others are to come." in plot.course_map().alt
    assert "to come" not in plot.course_map(ready=[f"{n:02d}" for n in range(19)]).alt
    axes = plot.course_map("00", ["00", "01"]).figure.axes[0]
    assert len(axes.collections) == 17 and "dashed: to come" in [t.get_text() for t in axes.texts]


def cells_of(picture):
    """{(scenario, task): text} of a grid, and its image."""
    axes = picture.figure.axes[0]
    places = [t.get_text() for t in axes.get_yticklabels()]
    tasks = [t.get_text() for t in axes.get_xticklabels()]
    texts = {tuple(map(round, t.get_position())): t.get_text() for t in axes.texts}
    return {(places[y], tasks[x]): text for (x, y), text in texts.items()}, axes.images[0]


def test_a_table_by_scenario_shows_one_metric_of_the_tasks_that_have_it():
    found, _ = cells_of(plot.scenario_task_grid(scenario_table()))
    assert found == {
        ("all", "click"): "0.755", ("all", "purchase"): "0.680", ("search", "click"): "0.700",
        ("search", "purchase"): "0.610", ("unknown", "click"): "0.810",
        ("unknown", "purchase"): "–",
    }  # fmt: skip
    found, _ = cells_of(plot.scenario_task_grid(scenario_table(), metric="r2"))
    assert found == {("all", "dwell"): "0.200", ("search", "dwell"): "−0.100",
                     ("unknown", "dwell"): "0.300"}  # fmt: skip


def test_two_models_differ_around_0_and_calibration_is_coloured_around_1():
    found, image = cells_of(plot.scenario_task_grid(scenario_table(0.01), minus=scenario_table()))
    assert found["search", "click"] == "+0.0100" and found["search", "purchase"] == "+0.0200"
    assert found["unknown", "purchase"] == "–"
    assert image.norm.vcenter == 0 and image.norm.vmax == pytest.approx(0.02)
    backwards, _ = cells_of(plot.scenario_task_grid(scenario_table(), minus=scenario_table(0.01)))
    assert backwards["search", "click"] == "−0.0100"
    _, image = cells_of(plot.scenario_task_grid(scenario_table(), metric="pcoc"))
    assert (image.norm.vmin, image.norm.vcenter, image.norm.vmax) == (0.5, 1, 1.5)


def test_better_is_blue_also_where_lower_is_better():
    def colours(metric, **more):
        return cells_of(plot.scenario_task_grid(scenario_table(), metric=metric, **more))[1].cmap

    assert (colours("auc").name, colours("rmse").name) == ("Blues", "Blues_r")
    assert colours("auc", minus=scenario_table(0.1)).name == "RdBu"
    assert colours("rmse", minus=scenario_table(0.1)).name == "RdBu_r"


def test_an_undefined_cell_is_a_dark_dash_on_white():
    axes = plot.scenario_task_grid(scenario_table()).figure.axes[0]
    (dash,) = [text for text in axes.texts if text.get_text() == "–"]
    assert dash.get_color() == RULES["text.color"]


def test_all_rows_stand_above_a_line_and_nothing_defined_is_no_crash():
    assert len(plot.scenario_task_grid(scenario_table()).figure.axes[0].lines) == 1
    empty = {"search": {"click": float("nan")}, "ads": {"click": float("nan")}}
    picture = plot.scenario_task_grid(empty)
    assert len(picture.figure.axes[0].lines) == 0 and "click undefined" in picture.alt
    assert picture.png


def test_a_comparisons_grid_takes_any_two_candidates_and_any_metric():
    both = comparison()
    gap = both.difference("mmoe", "shared", task="click", scenario="feed")
    found, _ = cells_of(plot.scenario_task_grid(both, candidate="mmoe", minus="shared"))
    text = next(v for (place, task), v in found.items() if place == "feed" and "click" in task)
    assert text == f"−{abs(gap.headline.mean):.4f} ▼"
    only, _ = cells_of(plot.scenario_task_grid(both, candidate="shared", metric="auc"))
    assert {task.split("\n")[0] for _, task in only} == {"click"}
