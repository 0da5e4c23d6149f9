"""Diagrams: how a network is wired, how work with a model goes round, and the course's map."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mtlkit.plot import sheet
from mtlkit.plot.sheet import redrawn
from mtlkit.plot.style import COLOURS, GREY, INK, Picture, canvas, ink, listed, sentence, style

FILLS = {
    "input": "#eeeeee",
    "shared": "#cfe3f2",
    "task": "#f8d9c4",
    "gate": "#cdebe0",
    "output": "#ffffff",
}


class _Board:
    """Boxes and arrows on axes that run from 0 to 1 in both directions; ``tops``: the outputs."""

    tops: Sequence[str] = ()

    def __init__(self, title: str, height: float) -> None:
        self.figure, ((self.axes,),) = canvas(title, height=height)
        self.axes.set(xlim=(0, 1), ylim=(-0.02 if sheet.large() else 0, 1))
        self.axes.set_axis_off()

    def box(
        self, x: float, y: float, text: str, kind: str, width: float, height: float = 0.11
    ) -> None:
        if sheet.large() and "\n" in text:
            height *= 1.25
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2), width, height,
                boxstyle="round,pad=0,rounding_size=0.012", facecolor=FILLS[kind],
                edgecolor=INK if kind != "output" else GREY, linewidth=1,
            )
        )  # fmt: skip
        self.axes.text(x, y, text, ha="center", va="center", fontsize=9)

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], gate: bool = False
    ) -> None:
        self.axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=9, linewidth=1.1, shrinkA=0, shrinkB=0,
                color=COLOURS[2] if gate else "#555555", linestyle="--" if gate else "-",
            )
        )  # fmt: skip

    def note(self, x: float, y: float, text: str) -> None:
        self.axes.text(x, y, text, fontsize=8.5, color="#555555", va="center", ha="left")


def _spread(number: int, low: float = 0.0, high: float = 1.0) -> list[float]:
    return [low + (high - low) * (i + 0.5) / number for i in range(number)]


@redrawn
def network(
    kind: str,
    tasks: Sequence[str] = ("click", "purchase"),
    *,
    inputs: str = "one row of the table\n(user, product, scenario, numbers)",
    shared: str = "shared layers",
    tower: str = "tower",
    experts: int = 3,
    outputs: Sequence[str] | None = None,
    title: str | None = None,
) -> Picture:
    """Diagram of an architecture, inputs at the bottom and one output a task on top.

    ``kind``: "single_task" (nothing shared), "shared_bottom" (one shared network, one tower a
    task), "mmoe" (shared experts, one gate and one tower a task) or "cgc" (as "mmoe", and an expert
    of each task's own). ``experts`` counts the shared ones. ``outputs``: one text a task for the
    boxes on top, such as its loss; by default the prediction of the task.
    """
    drawers = {"single_task": _single_task, "shared_bottom": _shared_bottom, "mmoe": _mmoe,
               "cgc": _cgc}  # fmt: skip
    if kind not in drawers:
        raise ValueError(f"kind must be one of {listed(drawers)}, not {kind!r}.")
    if not 1 <= len(tasks) <= 6 or not 1 <= experts <= 6:
        raise ValueError("A diagram shows 1 to 6 tasks and 1 to 6 experts.")
    if kind == "cgc" and len(tasks) + experts > 6:
        raise ValueError("A diagram of CGC shows at most 6 experts, own and shared together.")
    if outputs is not None and len(outputs) != len(tasks):
        raise ValueError(f"outputs: {len(outputs)} texts for {len(tasks)} tasks; give one a task.")
    heading = {
        "single_task": "One task at a time: nothing is shared",
        "shared_bottom": "Shared bottom: shared layers, then layers for each task",
        "mmoe": "MMoE: each task mixes shared experts by its own gate",
        "cgc": "CGC: each task mixes its own expert with shared ones",
    }[kind]
    board = _Board(title or heading, height=4.5 if kind in ("mmoe", "cgc") else 3.7)
    board.tops = [f"ŷ {name}" for name in tasks] if outputs is None else list(outputs)
    with style():
        alt = drawers[kind](board, tasks, inputs, shared, tower, experts)
        if outputs is not None:
            alt += f" The boxes on top read: {listed(outputs)}."
    return Picture(board.figure, f"Diagram of a network: {sentence(title or heading)} {alt}")


def _heads(
    board: _Board, tasks: Sequence[str], places: Sequence[float], y: float, tower: str, width: float
) -> None:
    """Towers at height y with an output above each; the caller draws the arrows that lead in."""
    for name, x, top in zip(tasks, places, board.tops, strict=True):
        board.box(x, y, f"{name}\n{tower}", "task", width)
        board.arrow((x, y + 0.055), (x, 0.893))
        board.box(x, 0.94, top, "output", width, 0.09)


def _single_task(
    board: _Board, tasks: Sequence[str], inputs: str, shared: str, tower: str, experts: int
) -> str:
    places, width = _spread(len(tasks)), min(0.26, 0.86 / len(tasks))
    board.box(0.5, 0.09, inputs, "input", 0.5, 0.14)
    for name, x in zip(tasks, places, strict=True):
        board.box(x, 0.42, f"{name}\nown layers", "task", width)
        board.arrow((0.5 + (x - 0.5) * 0.4, 0.16), (x, 0.365))
        board.arrow((x, 0.475), (x, 0.625))
    _heads(board, tasks, places, 0.68, tower, width)
    return (
        f"The same input row feeds {len(tasks)} separate networks, one each for {listed(tasks)}; "
        "each has its own layers, tower and output, and no parameter is shared."
    )


def _shared_bottom(
    board: _Board, tasks: Sequence[str], inputs: str, shared: str, tower: str, experts: int
) -> str:
    places, width = _spread(len(tasks)), min(0.26, 0.86 / len(tasks))
    board.box(0.5, 0.09, inputs, "input", 0.5, 0.14)
    board.arrow((0.5, 0.16), (0.5, 0.345))
    board.box(0.5, 0.40, shared, "shared", 0.56)
    for x in places:
        board.arrow((0.5 + (x - 0.5) * 0.5, 0.455), (x, 0.625))
    _heads(board, tasks, places, 0.68, tower, width)
    flat = " ".join(shared.split())
    return (
        f"The input row feeds one body ({flat}) that serves all tasks; from it {len(tasks)} towers "
        f"branch off, one each for {listed(tasks)}, each with its own output."
    )


def _mmoe(
    board: _Board, tasks: Sequence[str], inputs: str, shared: str, tower: str, experts: int
) -> str:
    _mixed(board, tasks, inputs, tower, [(f"expert {i + 1}", tasks) for i in range(experts)])
    return (
        f"The input row feeds {experts} shared experts. Each of the {len(tasks)} tasks, "
        f"{listed(tasks)}, has a gate that reads the input and weighs all experts' outputs; the "
        "weighted mix goes into the task's own tower and output."
    )


def _cgc(
    board: _Board, tasks: Sequence[str], inputs: str, shared: str, tower: str, experts: int
) -> str:
    own: list[tuple[str, Sequence[str]]] = [(f"{task}\nexpert", [task]) for task in tasks]
    middle = (len(tasks) + 1) // 2
    common = [(f"shared\nexpert {i + 1}", tasks) for i in range(experts)]
    _mixed(board, tasks, inputs, tower, [*own[:middle], *common, *own[middle:]])
    return (
        f"The input row feeds {experts} shared experts and an expert of its own for each of the "
        f"{len(tasks)} tasks, {listed(tasks)}. The gate of a task reads the input and weighs its "
        "own expert and the shared ones, no other task's; the mix goes into the task's own tower "
        "and output."
    )


def _mixed(
    board: _Board, tasks: Sequence[str], inputs: str, tower: str,
    experts: Sequence[tuple[str, Sequence[str]]],
) -> None:  # fmt: skip
    """Experts, each a text and the tasks whose gates weigh it; gates and towers above."""
    places, width = _spread(len(tasks), 0.0, 0.95), min(0.24, 0.80 / len(tasks))
    board.box(0.5, 0.06, inputs, "input", 0.5, 0.11)
    wide = min(0.18, 0.66 / len(experts))
    for x, (text, readers) in zip(_spread(len(experts), 0.12, 0.88), experts, strict=True):
        board.arrow((0.5 + (x - 0.5) * 0.5, 0.115), (x, 0.235))
        board.box(x, 0.28, text, "shared" if readers is tasks else "task", wide, 0.09)
        for task, place in zip(tasks, places, strict=True):
            if task in readers:
                board.arrow((x, 0.325), (place + (x - 0.5) * width * 0.6, 0.495))
    for name, x in zip(tasks, places, strict=True):
        board.box(x, 0.54, f"{name} gate\nmixes experts", "gate", width, 0.09)
        board.arrow((x, 0.585), (x, 0.663))
    _heads(board, tasks, places, 0.72, tower, width)
    side = 0.985
    board.axes.plot([0.75, side, side], [0.06, 0.06, 0.54], color=COLOURS[2], linestyle="--",
                    linewidth=1.1, marker="")  # fmt: skip
    board.arrow((side, 0.54), (places[-1] + width / 2, 0.54), gate=True)
    board.axes.text(side - 0.008, 0.15, "input row, also\nread by each gate", fontsize=8,
                    color=ink(COLOURS[2]), va="center", ha="right")  # fmt: skip


def flow_chart(*, title: str = "From data to decision, and back") -> Picture:
    """Flow chart of work with a model: six steps in a ring, and the three ways that feed back.

    Data input, task definition, training, prediction, evaluation, feedback, and the start again.
    Dashed arrows are feedback: of the loss into the network, of the evaluation into the definition
    of the task, of what is shown into the next data.
    """
    steps = (
        ("data input", "the log of the shop", "input", 0.17, 0.74),
        ("task definition", "the question to answer", "task", 0.5, 0.74),
        ("training", "the loss is made smaller", "shared", 0.83, 0.74),
        ("prediction", "a chance for each row", "shared", 0.83, 0.16),
        ("evaluation", "measured on later days", "gate", 0.5, 0.16),
        ("feedback", "what is shown next", "gate", 0.17, 0.16),
    )
    board = _Board(title, height=3.4)
    with style():
        for number, (name, what, kind, x, y) in enumerate(steps, start=1):
            board.box(x, y, f"{number}. {name}\n{what}", kind, 0.28, 0.2)
        for start, end in (((0.31, 0.74), (0.36, 0.74)), ((0.64, 0.74), (0.69, 0.74)),
                           ((0.83, 0.64), (0.83, 0.26)), ((0.69, 0.16), (0.64, 0.16)),
                           ((0.36, 0.16), (0.31, 0.16))):  # fmt: skip
            board.arrow(start, end)
        board.arrow((0.17, 0.26), (0.17, 0.64), gate=True)
        board.arrow((0.5, 0.26), (0.5, 0.64), gate=True)
        board.axes.add_patch(
            FancyArrowPatch(
                (0.9, 0.84), (0.76, 0.84), connectionstyle="arc3,rad=0.6", arrowstyle="-|>",
                mutation_scale=9, linewidth=1.1, linestyle="--", color=COLOURS[2],
                clip_on=False,
            )
        )  # fmt: skip
        board.note(0.185, 0.45, "new data")
        board.note(0.515, 0.45, "a better question")
        board.axes.text(0.735, 0.92, "the loss flows back", fontsize=8.5, color="#555555",
                        va="center", ha="right")  # fmt: skip
    ring = ", ".join(f"{number}. {name} ({what})" for number, (name, what, *_) in
                     enumerate(steps, start=1))  # fmt: skip
    return Picture(
        board.figure,
        f"Flow chart: {sentence(title)} Six steps in a ring: {ring}; then the start again. Three "
        "dashed arrows feed back: the loss inside training, evaluation to task definition (a "
        "better question), and feedback to data input (new data).",
    )


# Lines of the map: (name, what it asks, colour, notebooks).
MAP = (
    ("start", "Get going", COLOURS[4], (("00", "Start here"), ("01", "One task\nat a time"))),
    ("share", "What do tasks share?", COLOURS[0],
     (("02", "Share the\nbottom"), ("07", "Experts and\ngates"))),
    ("link", "How are outputs linked?", COLOURS[1], (("04", "Link the\ntasks"),)),
    ("balance", "How are losses balanced?", COLOURS[2],
     (("03", "Weigh the\nlosses"), ("05", "Let the losses\nadapt"),
      ("06", "When gradients\ndisagree"))),
    ("adapt", "What does a scenario change?", COLOURS[3],
     (("08", "Many\nscenarios"), ("12", "The whole\nshop"))),
    ("apply", "What is it good for?", COLOURS[6],
     (("09", "Read the\nshopper"), ("10", "Recommend,\nclassify, rank"),
      ("11", "Stock and\ndeliver"),
      ("13", "Offline to\nonline"))),
    ("answer for it", "Can we trust and run it?", COLOURS[5],
     (("14", "Look\ninside"), ("15", "Keep it\nprivate"), ("16", "Small, fast,\neverywhere"),
      ("17", "Real\ndata"), ("18", "The bug\nmuseum"))),
)  # fmt: skip


@redrawn
def course_map(
    highlight: str | None = None,
    ready: Collection[str] | None = None,
    *,
    title: str = "The course: four questions, nineteen notebooks",
) -> Picture:
    """Map of the course: one line a question, one station a notebook.

    ``highlight`` is the number of the notebook you are in ("02"); ``ready`` the numbers that exist
    already, without it those that this mtlkit has a lesson for. The others are dashed and grey:
    they are to come. On a slide the stations have no names. Notebooks are read in the order of
    their numbers. Raises ``ValueError`` for a number that is not on the map.
    """
    numbers = [number for *_, stations in MAP for number, _ in stations]
    for number in (*(ready or ()), *([highlight] if highlight else [])):
        if number not in numbers:
            raise ValueError(f"There is no notebook {number!r}; numbers run from 00 to 18.")
    built = set(_built() if ready is None else ready) & set(numbers)
    figure, ((axes,),) = canvas(title, height=6.0)
    with style():
        axes.set(xlim=(0, 7), ylim=(len(MAP) - 0.35, -0.45))
        axes.set_axis_off()
        for y, (name, asks, colour, stations) in enumerate(MAP):
            up, down = (0.26, 0.2) if sheet.large() else (0.08, 0.16)
            axes.text(0.0, y - up, name, va="center" if sheet.large() else "baseline",
                      fontsize=11.5, fontweight="bold", color=ink(colour))  # fmt: skip
            axes.text(0.0, y + down, asks, fontsize=8.5, va="center")  # fmt: skip
            xs = [2.3 + 1.02 * i for i in range(len(stations))]
            axes.plot([xs[0], xs[-1]], [y, y], color=colour, linewidth=4, marker="", zorder=1)
            for x, (number, topic) in zip(xs, stations, strict=True):
                _station(axes, x, y, number, topic, colour, number == highlight,
                         number in built or number == highlight)  # fmt: skip
        if set(numbers) - built:
            axes.text(6.9, -0.35, "dashed: to come", fontsize=8.5, color="#767676",
                      ha="right", va="bottom")  # fmt: skip
    told = [
        f"{name} ({asks}): " + listed(f"{n} {t}".replace("\n", " ") for n, t in stations)
        for name, asks, _, stations in MAP
    ]
    alt = f"Map of the course. {'; '.join(told)}."
    if highlight:
        alt += f" You are in notebook {highlight}."
    coming = [number for number in numbers if number not in built]
    if coming:
        alt += f" Ready: {listed(sorted(built))}; the others are to come."
    return Picture(figure, alt)


def _built() -> set[str]:
    """The numbers of the notebooks whose lesson is in this mtlkit, by their files alone."""
    lessons = Path(__file__).resolve().parents[1] / "lessons"
    return {path.parent.name[2:] for path in lessons.glob("nb*/cards.json")}


def _station(
    axes: Any, x: float, y: float, number: str, topic: str, colour: str, here: bool, ready: bool
) -> None:
    axes.plot(x, y, marker="o", markersize=21, markeredgewidth=3 if here else 1.8, zorder=2,
              markerfacecolor=INK if here else "white",
              markeredgecolor=colour if ready else "white")  # fmt: skip
    if not ready:  # a marker's own edge cannot be dashed
        axes.scatter(x, y, s=19**2, facecolor="white", edgecolor="#888888", linewidth=1.3,
                     linestyle=(0, (2.5, 2)), zorder=2.5)  # fmt: skip
    text = "white" if here else INK if ready else GREY
    axes.text(x, y, number, ha="center", va="center_baseline", fontsize=9.5, fontweight="bold",
              color=text, zorder=3)  # fmt: skip
    if sheet.large():
        return  # no room for the topics
    axes.text(x, y + 0.27, topic, ha="center", va="top", fontsize=8, linespacing=1.05,
              color=INK if ready else "#767676")  # fmt: skip
