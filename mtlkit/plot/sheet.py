"""The sheet that a figure is drawn on: a page's, or that of a slide, where the type is larger.

A slide of 1280 x 720 leaves a figure 1136 x 490. On its sheet, 7 by at most 3 inches, 9.5 points
of type are 16 points of the slide: a smaller sheet than a page's with the type a little larger.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib.figure import Figure
from matplotlib.text import Text

from mtlkit.files import write_bytes

SLIDE = (1136.0, 490.0)  # pixels that a slide's text column and heading leave
SLIDE_SHEET = (7.0, 3.0)  # inches, the height at most
SLIDE_DPI = 180  # pixels an inch in the file: no smaller than it is shown
SLIDE_TYPE = 9.5  # points, the smallest on that sheet
LEAST = 16.0  # points on the slide, to be read from the last row
FOLDER_VARIABLE = "MTLKIT_SLIDE_FIGURES"
POINTS = 0.75  # points in a pixel of a slide

_large: ContextVar[bool] = ContextVar("large", default=False)
P = ParamSpec("P")
R = TypeVar("R")


def large() -> bool:
    """Whether figures are drawn for a slide now."""
    return _large.get()


@contextmanager
def for_slides() -> Iterator[None]:
    """Draw figures for slides inside the block."""
    token = _large.set(True)
    try:
        yield
    finally:
        _large.reset(token)


def redrawn(draw: Callable[P, R]) -> Callable[P, R]:
    """A helper whose pictures know how they were drawn, so that they can be drawn for a slide."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        picture: Any = draw(*args, **kwargs)
        picture.again = lambda: draw(*args, **kwargs)
        return picture

    return drawn


def fingerprint(png: bytes) -> str:
    """What tells a picture's file from others: a picture for a slide says whose it is."""
    return hashlib.sha256(png).hexdigest()[:16]


def keep(picture: Any) -> None:
    """Store a picture that is shown for slides, too, in the folder that FOLDER_VARIABLE names."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        write_bytes(Path(folder) / f"{fingerprint(picture.png)}.png", picture.for_slide().png)


def size(width: float, height: float) -> tuple[float, float]:
    """Width and height in inches of a figure that wants these on a page."""
    return (SLIDE_SHEET[0], min(height, SLIDE_SHEET[1])) if large() else (width, height)


def texts(figure: Figure) -> list[Text]:
    """All that is written in a figure and can be seen, tick labels and legends too."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def enlarge(figure: Figure) -> None:
    """Give every text of a figure at least the smallest type of a slide."""
    for text in texts(figure):
        if float(text.get_fontsize()) < SLIDE_TYPE:
            text.set_fontsize(SLIDE_TYPE)


def shown_points(
    points: float, inches: tuple[float, float], box: tuple[float, float] = SLIDE
) -> float:
    """How large type of so many points is on a slide that gives the figure `box` pixels."""
    pixels_an_inch = min(box[0] / inches[0], box[1] / inches[1])
    return points / 72 * pixels_an_inch * POINTS


def smallest(figure: Figure) -> float:
    """The smallest type of a figure, in points on its own sheet."""
    return min((float(text.get_fontsize()) for text in texts(figure)), default=SLIDE_TYPE)
