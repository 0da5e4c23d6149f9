"""House style, and the picture that every helper returns."""

from __future__ import annotations

import base64
import copy
import html
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mtlkit.files import write_bytes
from mtlkit.plot import sheet

WIDTH = 7.0  # inches
DPI = 144  # pixels an inch in the file, sharp on dense screens
SCREEN_DPI = 100  # pixels an inch on the page

# The Okabe-Ito palette without its yellow, which white paper swallows; markers differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#333333", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one a line, so that colour is never all there is
GREY = "#8a8a8a"
INK = "#222222"

RULES: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(marker=MARKERS),
    "axes.unicode_minus": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.cmap": "Blues",
}

LARGER = {name: max(RULES[name], sheet.SLIDE_TYPE) for name in RULES if name.endswith("labelsize")}


@contextmanager
def style() -> Iterator[None]:
    """Use the house style inside the block, whatever the settings outside, and leave them alone."""
    rules = [RULES, LARGER] if sheet.large() else [RULES]
    with matplotlib.style.context(["default", *rules]):
        yield


class Picture:
    """A finished figure with its description in words.

    As the last line of a notebook cell it shows itself. ``alt`` is the description, ``png`` the
    file's bytes (the same for the same input), ``save(path)`` writes it, ``figure`` is the
    matplotlib figure. The figure is not known to pyplot, so nothing is shown twice.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        if not alt.strip():
            raise ValueError("A picture needs a description in words: alt must not be empty.")
        self.figure = figure
        self.alt = " ".join(alt.split())
        self.again: Callable[[], Picture] | None = None
        self._png: bytes | None = None

    @property
    def png(self) -> bytes:
        """The picture as a PNG file with at most 256 colours, its description inside."""
        if self._png is None:
            self._png = _as_png(self.figure, {"Description": self.alt}, DPI)
        return self._png

    def for_slide(self) -> Picture:
        """The same picture with type that is read from the last row, for a slide of 1280 x 720.

        A picture of a helper is drawn again from the same data; one that was drawn by hand is laid
        out anew, with its text enlarged.
        """
        notes = {"Description": self.alt, "Of": sheet.fingerprint(self.png)}
        with sheet.for_slides(), style():
            if self.again is None:
                copied = copy.deepcopy(self.figure)
                copied.set_size_inches(sheet.size(*copied.get_size_inches()))
                picture = Picture(copied, self.alt)
            else:
                picture = self.again()
            sheet.enlarge(picture.figure)
            notes["Type"] = f"{sheet.smallest(picture.figure):.2f}"
            picture._png = _as_png(picture.figure, notes, sheet.SLIDE_DPI)
        return picture

    def save(self, path: str | Path) -> Path:
        """Write the PNG file and return its path."""
        write_bytes(path, self.png)
        return Path(path)

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        # JupyterLab 4.6 and nbconvert's lab template drop the alt text of a bare image/png output
        # and prefer text/html where it is present; other tools read the PNG and its metadata.
        sheet.keep(self)
        coded = base64.b64encode(self.png).decode("ascii")
        width, height = (round(inches * SCREEN_DPI) for inches in self.figure.get_size_inches())
        alt = html.escape(self.alt, quote=True)
        page = f'<img alt="{alt}" width="{width}" src="data:image/png;base64,{coded}">'
        data = {"image/png": coded, "text/html": page, "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt, "width": width, "height": height}}

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"


def _as_png(figure: Figure, notes: Mapping[str, str], dpi: int) -> bytes:
    raw = io.BytesIO()
    with style():
        FigureCanvasAgg(figure)
        figure.savefig(raw, format="png", dpi=dpi)
    image = Image.open(raw).convert("RGB")
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    info = PngInfo()
    for name, text in notes.items():
        info.add_itxt(name, text)
    out = io.BytesIO()
    few.save(out, format="png", optimize=True, pnginfo=info, dpi=(dpi, dpi))
    return out.getvalue()


def canvas(
    title: str,
    rows: int = 1,
    columns: int = 1,
    height: float = 3.6,
    width: float = WIDTH,
    **subplots: Any,
) -> tuple[Figure, np.ndarray]:
    """Start a figure in house style: (figure, axes as an array (rows, columns)).

    ``height`` and ``width`` in inches, ``subplots`` as in matplotlib's ``Figure.subplots``. Draw
    inside ``with style():`` and finish with ``Picture(figure, alt)``.
    """
    with style():
        width, height = sheet.size(width, height)
        figure = Figure(figsize=(width, height), layout="constrained")
        padding(figure, 0.08, 0.06)
        wrapped = textwrap.fill(title, int(width * 10))
        figure.suptitle(wrapped, x=0.01, ha="left", fontsize=12, fontweight="bold")
        axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    return figure, axes


def padding(figure: Figure, width: float, height: float) -> None:
    """Set the space around every axes, in inches."""
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=width, h_pad=height)


def ink(colour: str) -> str:
    """The colour, dark enough for text on white."""
    red, green, blue = to_rgb(colour)
    return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))


def say(value: float, digits: int = 3) -> str:
    """A number for readers: 3 significant digits, thousands with commas, "undefined" for NaN."""
    if not math.isfinite(value):
        return "undefined"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):g}".replace("-", "−")


def listed(parts: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *most, last = list(parts) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def with_unit(label: str, unit: str) -> str:
    """An axis label: "dwell time (seconds)"."""
    return f"{label} ({unit})" if unit else label


def sentence(text: str) -> str:
    """The text with an end mark."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def key(axes: Axes, names: Sequence[str], right: bool = False, top: bool = True) -> None:
    """Name the series inside the axes, each with its marker in its colour, one line each."""
    glyphs = "●■▲◆▼✚✖"
    for i, name in enumerate(names):
        line = i if top else len(names) - 1 - i
        step = 0.2 / _axes_inches(axes)
        axes.text(
            0.98 if right else 0.02,
            0.97 - step * line if top else 0.03 + step * line,
            f"{glyphs[i % len(glyphs)]} {name}",
            transform=axes.transAxes,
            ha="right" if right else "left",
            va="top" if top else "bottom",
            fontsize=8.5,
            color=ink(COLOURS[i % len(COLOURS)]),
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
        )


def _axes_inches(axes: Axes) -> float:
    """Height of the axes in inches, before the layout has shrunk it: a little is taken off."""
    figure: Any = axes.figure
    return 0.8 * float(axes.get_position().height * figure.get_size_inches()[1])


def label_points(axes: Axes, points: Mapping[str, tuple[float, float, str]]) -> None:
    """Write each name beside its point {name: (x, y, colour)}, on the first free side.

    Call it after the limits are final.
    """
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    figure: Any = axes.figure
    in_points = 72 / figure.dpi
    places = {
        name: axes.transData.transform((x, y)) * in_points for name, (x, y, _) in points.items()
    }
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in places.values()]
    for name, (x, y, colour) in points.items():
        px, py = places[name]
        width = 5.6 * len(name)  # points, for text of size 9
        sides = [(7, 5), (7, -14), (-7 - width, 5), (-7 - width, -14), (-width / 2, 12)]
        boxes = [(px + dx, py + dy, px + dx + width, py + dy + 10) for dx, dy in sides]
        free = [i for i, box in enumerate(boxes) if not any(_overlap(box, t) for t in taken)]
        side = free[0] if free else 0
        taken.append(boxes[side])
        axes.annotate(name, (x, y), xytext=sides[side], textcoords="offset points", fontsize=9,
                      color=ink(colour))  # fmt: skip


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def end_labels(axes: Axes, entries: Sequence[tuple[float, str, str]]) -> None:
    """Name each line at the right edge: (y, text, colour), moved apart where they would overlap.

    Call it after the limits are final.
    """
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    to_axes = axes.transAxes.inverted()
    x = axes.get_xlim()[1]
    places = [float(to_axes.transform(axes.transData.transform((x, y)))[1]) for y, *_ in entries]
    for i, shown in enumerate(spread_out(places, gap=0.17 / _axes_inches(axes))):
        _, text, colour = entries[i]
        axes.annotate(
            text,
            (1.005, places[i]),
            xytext=(1.04, shown),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=ink(colour),
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colour, "lw": 0.9, "shrinkA": 1, "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )  # fmt: skip


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Move numbers apart to at least ``gap``, each crowd around its own middle, order kept."""
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    crowds: list[list[int]] = []  # members in order
    middles: list[float] = []
    for i in order:
        crowds.append([i])
        middles.append(places[i])
        while len(crowds) > 1:
            room = gap * (len(crowds[-1]) + len(crowds[-2])) / 2
            if middles[-1] - middles[-2] >= room - 1e-12:
                break
            merged = crowds[-2] + crowds[-1]
            crowds[-2:] = [merged]
            middles[-2:] = [sum(places[j] for j in merged) / len(merged)]
    shown = [0.0] * len(places)
    for crowd, middle in zip(crowds, middles, strict=True):
        for place, i in enumerate(crowd):
            shown[i] = middle + gap * (place - (len(crowd) - 1) / 2)
    return shown
