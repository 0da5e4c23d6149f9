"""What a notebook's parameters are: its sizes, smoke or full, and which shop it is about.

Each lesson's own sizes stand in its `sizes.py`.
"""

import os
import sys
from types import SimpleNamespace

from mtlkit.course.learner import lesson

MODES = ("smoke", "full")
ANSWERS = ("hold", "show")
SMOKE = "Smoke mode: the sizes are tiny, too small for the numbers that the text speaks of."

_said = False  # whether this notebook has said that it runs in smoke mode


def mode() -> str:
    """The mode the course runs in: "full" unless the environment variable MTLKIT_MODE says "smoke".

    Raises ValueError if MTLKIT_MODE holds anything else.
    """
    value = _known(os.environ.get("MTLKIT_MODE", "").strip().lower() or "full", "MTLKIT_MODE")
    if value == "smoke":
        _say_smoke()
    return value


def answers() -> str:
    """Whether answers to guesses wait: "hold" unless MTLKIT_ANSWERS says "show".

    Runs of whole notebooks (the builder, the course command, the tests) set it to "show"; so does
    MTLKIT_STRICT=1. Raises ValueError if MTLKIT_ANSWERS holds anything else.
    """
    usual = "show" if os.environ.get("MTLKIT_STRICT") == "1" else "hold"
    value = os.environ.get("MTLKIT_ANSWERS", "").strip().lower() or usual
    if value not in ANSWERS:
        raise ValueError(f'MTLKIT_ANSWERS must be "hold" or "show", found {value!r}')
    return value


def announce() -> None:
    """Let a notebook in smoke mode say so before anything else; the course's import calls this."""
    if os.environ.get("MTLKIT_MODE", "").strip().lower() == "smoke":
        _say_smoke()


def _say_smoke() -> None:
    """Print the sentence once a notebook; a program that is none stays silent."""
    global _said
    if not _said and "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        _said = True
        print(SMOKE)


def shop() -> int:
    """The seed of the shop that a notebook is about: 0 unless MTLKIT_SHOP says another.

    Raises ValueError if the environment variable MTLKIT_SHOP holds no whole number from 0.
    """
    text = os.environ.get("MTLKIT_SHOP", "").strip() or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"MTLKIT_SHOP must be a whole number from 0, found {text!r}")
    return int(text)


def sizes(
    notebook: str, mode_name: str | None = None, *, of_contest: bool = False
) -> SimpleNamespace:
    """The sizes of one notebook in a mode, as a namespace: `sizes("02").rows`.

    They stand in `mtlkit/lessons/nb02/sizes.py` as `SIZES = {"rows": (smoke, full), ...}`. A
    contest may have its own there, `CONTEST_SIZES`, written alike: then `of_contest` gives those
    alone.
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
    wanted = _known(mode_name, "mode") if mode_name is not None else mode()
    if wanted == "smoke":
        _say_smoke()
    chosen = MODES.index(wanted)
    pairs = getattr(table, "CONTEST_SIZES", table.SIZES) if of_contest else table.SIZES
    return SimpleNamespace(**{name: pair[chosen] for name, pair in pairs.items()})


def _known(value: str, what: str) -> str:
    if value not in MODES:
        raise ValueError(f'{what} must be "smoke" or "full", found {value!r}')
    return value
