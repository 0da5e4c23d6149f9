"""An exception out of the learner's code in one sentence, with its type and their own line."""

import linecache
import os
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from mtlkit.course.learner.guard import Ended
from mtlkit.course.learner.values import cut

LONGEST_TEXT, LONGEST_LINE = 300, 100  # characters of an exception's text, of a line of code
_ELSEWHERE = tuple(
    os.path.join(str(place), "")  # noqa: PTH118 - a prefix that ends in a separator
    for place in (
        Path(__file__).resolve().parents[2],
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)
_Place = tuple[FrameType, int]


def error_sentence(error: BaseException, answer: Any) -> str:
    """What stopped the learner's code, and where: "Line 3 of your code (`x / 0`) stopped with".

    The text of the exception stands in one line; of a long one both ends are kept, since libraries
    put what they found at the beginning and what they wanted at the end.
    """
    text = cut(text_of(error), LONGEST_TEXT).rstrip(". ")  # the sentence brings its own full stop
    detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = _own(traceback.walk_tb(error.__traceback__), answer)
    if place is None:
        return f"Calling your answer stopped with {detail}."
    return f"{_line(*place)} stopped with {detail}."


def time_sentence(ended: Ended, answer: Any, seconds: float) -> str:
    """What to say of code that did not come to its end within the time."""
    error = ended.error
    steps = traceback.walk_tb(error.__traceback__) if error is not None else iter(())
    frame = ended.frame
    place = _own(steps if frame is None else reversed(list(traceback.walk_stack(frame))), answer)
    where = "Your code" if place is None else _line(*place)
    said = f"{where} was still running after {seconds:g} seconds: is there a loop without an end?"
    if ended.alive:
        said += " It cannot be stopped and goes on in the background; restart the kernel to end it."
    return said


def text_of(error: BaseException) -> str:
    """The text of an exception, empty if it has none or cannot make it."""
    try:
        return str(error)
    except Exception:  # an exception of the learner's own whose text cannot be made
        return ""


def _own(steps: Iterable[_Place], answer: Any) -> _Place | None:
    """The innermost step in the learner's own code; `steps` go inwards."""
    code = getattr(answer, "__code__", None)
    file = code.co_filename if code is not None else None
    own = [step for step in steps if _is_own(step[0].f_code.co_filename, file)]
    return own[-1] if own else None


def _is_own(name: str, file: str | None) -> bool:
    return name == file or not (name.startswith((*_ELSEWHERE, "<frozen")) or "-packages" in name)


def _line(frame: FrameType, line: int) -> str:
    shown = cut(linecache.getline(frame.f_code.co_filename, line).strip(), LONGEST_LINE)
    return f"Line {line} of your code" + (f" (`{shown}`)" if shown else "")
