"""The progress bar of a run, and what it says of an epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def progress_bar(total: int, progress: bool, unit: str = "step") -> Any:
    """A bar that goes away when done; TQDM_DISABLE=1 hides it, in a notebook too."""
    from tqdm.auto import tqdm

    hidden = not progress or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(total=total, disable=hidden, unit=unit, leave=False)


def summary(row: Mapping[str, Any]) -> str:
    """A row of the history in one short line: losses, and the score where there is one."""
    parts = [f"{task} {loss:.4f}" for task, loss in row["train"].items()]
    if row["score"] is not None:
        parts.append(f"score {row['score']:.4f}")
    return f"epoch {row['epoch']}: " + ", ".join(parts)
