"""The two sizes of the course, smoke and full; each lesson's own stand in its `sizes.py`."""

import os
from types import SimpleNamespace

from mtlkit.course.learner import lesson

MODES = ("smoke", "full")


def mode() -> str:
    """The mode the course runs in: "full" unless the environment variable MTLKIT_MODE says "smoke".

    Raises ValueError if MTLKIT_MODE holds anything else.
    """
    value = os.environ.get("MTLKIT_MODE", "").strip().lower() or "full"
    return _known(value, "MTLKIT_MODE")


def sizes(notebook: str, mode_name: str | None = None) -> SimpleNamespace:
    """The sizes of one notebook in a mode, as a namespace: `sizes("02").rows`.

    They stand in `mtlkit/lessons/nb02/sizes.py` as `SIZES = {"rows": (smoke, full), ...}`.
    `mode_name` is "smoke" or "full"; without it `mode()` decides. Raises KeyError for a notebook
    without such a file, ValueError for an unknown mode.
    """
    known = lesson.numbers("sizes.py")
    table = lesson.module(notebook, "sizes") if notebook in known else None
    if table is None:
        raise KeyError(
            f"no sizes for notebook {notebook!r}: write them into "
            f"mtlkit/lessons/nb{notebook}/sizes.py (known: {', '.join(known)})"
        )
    chosen = MODES.index(_known(mode_name, "mode") if mode_name is not None else mode())
    return SimpleNamespace(**{name: pair[chosen] for name, pair in table.SIZES.items()})


def _known(value: str, what: str) -> str:
    if value not in MODES:
        raise ValueError(f'{what} must be "smoke" or "full", found {value!r}')
    return value
