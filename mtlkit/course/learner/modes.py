"""The two sizes of the course, smoke and full, and the one table that holds them."""

import os
from types import SimpleNamespace

MODES = ("smoke", "full")

# notebook: {name: (smoke, full)}
SIZES: dict[str, dict[str, tuple]] = {
    "00": {"rows": (20_000, 100_000), "epochs": (1, 2), "runs": (2, 5)},
    "01": {
        "rows": (20_000, 100_000),
        "days": ((33, 44), (33, 44)),
        "sessions": (4_000, 20_000),
        "journey": (6_000, 30_000),
        "epochs": (2, 8),
        "starts": (1, 2),
        "seeds": (2, 5),
    },
    "02": {
        "epochs": (1, 8),
        "steps": (20, 400),
        "seeds": (2, 10),
        "timings": (1, 3),
        "tries": (2, 4),
    },
    "03": {
        "rows": (12_000, 60_000),
        "epochs": (2, 3),
        "seeds": (2, 5),
        "tries": (2, 4),
        "draws": (2, 12),
        "journey": (3_000, 30_000),
    },
    "04": {"rows": (6_000, 60_000), "epochs": (1, 3), "seeds": (2, 5), "tries": (2, 4)},
    "05": {
        "log": (20_000, 250_000),
        "rows": (3_000, 24_000),
        "epochs": (1, 3),
        "long": (3, 6),
        "tries": (2, 4),
        "seeds": (2, 5),
    },
    "06": {
        "rows": (12_000, 60_000),
        "rich_rows": (8_000, 40_000),
        "epochs": (1, 3),
        "seeds": (2, 5),
        "tries": (2, 4),
        "search": (1, 2),
        "batches": (3, 40),
        "batch_sizes": ((64, 512, 2_048), (64, 512, 4_096)),
        "toy_steps": (100, 2_800),
        "reach": (2, 20),
        "unit_steps": (100, 2_500),
        "timed": (2, 20),
    },
}


def mode() -> str:
    """The mode the course runs in: "full" unless the environment variable MTLKIT_MODE says "smoke".

    Raises ValueError if MTLKIT_MODE holds anything else.
    """
    value = os.environ.get("MTLKIT_MODE", "").strip().lower() or "full"
    return _known(value, "MTLKIT_MODE")


def sizes(notebook: str, mode_name: str | None = None) -> SimpleNamespace:
    """The sizes of one notebook in a mode, as a namespace: `sizes("02").rows`.

    `mode_name` is "smoke" or "full"; without it `mode()` decides. Raises KeyError for a notebook
    without a row in the table, ValueError for an unknown mode.
    """
    if notebook not in SIZES:
        raise KeyError(
            f"no sizes for notebook {notebook!r}: add its row to SIZES in course/learner/modes.py "
            f"(known: {', '.join(SIZES)})"
        )
    chosen = MODES.index(_known(mode_name, "mode") if mode_name is not None else mode())
    return SimpleNamespace(**{name: pair[chosen] for name, pair in SIZES[notebook].items()})


def _known(value: str, what: str) -> str:
    if value not in MODES:
        raise ValueError(f'{what} must be "smoke" or "full", found {value!r}')
    return value
