"""Files that hold a training run: written whole or not at all, read without running their code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mtlkit.files import atomically

FORMAT = 4
FALL = "steps that the rate falls over"  # an entry of a run's description
LENGTHENED = (
    "A rate that falls to 0 knows the end of its run, so epochs and max_steps must stay as they "
    'were; a run that is to be lengthened or cut short takes schedule="constant" from its start. '
)


class CheckpointError(ValueError):
    """A checkpoint file is no checkpoint, is damaged, or belongs to another run; says which."""


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, plain values, lists and dicts of these) to ``path``, atomically.

    A crash at any moment leaves the old file or the new one, never half (``mtlkit.files``).
    """
    with atomically(path) as file:
        torch.save({"format": FORMAT, **state}, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of ``save_checkpoint`` onto the CPU.

    Only tensors and plain values are read (``weights_only=True``), so a file from a stranger cannot
    run code. Raises ``CheckpointError`` for anything else, ``FileNotFoundError`` for no file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read safely ({reason}). Delete it, or pass "
            "another path."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no mtlkit checkpoint of format {FORMAT}.")
    return state


def refuse_other_run(
    path: str | Path, saved: Mapping[str, Any], current: Mapping[str, Any]
) -> None:
    """Raise ``CheckpointError`` that names the first entry in which two runs differ.

    ``saved`` and ``current`` describe the runs: plain values, nested dicts and lists.
    """
    difference = _first_difference(saved, current, "")
    if difference is not None:
        name, old, new = difference
        raise CheckpointError(
            f"{path} belongs to another run: its {name} is {old}, here it is {new}. "
            f"{LENGTHENED if name == FALL else ''}"
            "Pass resume=False to start anew, or another checkpoint path."
        )


_ABSENT = "absent"


def _first_difference(old: Any, new: Any, name: str) -> tuple[str, str, str] | None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = [(str(k), old.get(k, _ABSENT), new.get(k, _ABSENT)) for k in {**old, **new}]
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        pairs = [(_entry_name(b, i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return None if old == new else (name, _short(old), _short(new))
    for key, a, b in pairs:
        found = _first_difference(a, b, f"{name} {key}".strip())
        if found is not None:
            return found
    return None


def _entry_name(value: Any, index: int) -> str:
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else str(index)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and all(
        isinstance(v, Mapping) and "name" in v for v in value
    ):
        value = [v["name"] for v in value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
