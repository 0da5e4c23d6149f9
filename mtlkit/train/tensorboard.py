"""A callback for TensorBoard; an example of one that logs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """A callback that writes each epoch's numbers where TensorBoard reads them.

    For example::

        fit(model, train, validation, callbacks=[TensorBoard("runs/mmoe")])

    then ``tensorboard --logdir runs``. A number is called "part/task metric" ("train/click loss",
    "validation/click auc"), and of the run "run/score", "run/rate" and "run/seconds"; what is
    undefined (NaN) is left out. ``writer`` is anything with ``add_scalar(name, number, epoch)`` and
    ``flush()`` in place of TensorBoard's own, which needs the package tensorboard (``pip install
    tensorboard``; mtlkit does not bring it) and is opened when the first epoch is over.

    Raises ``ImportError`` with that line where the package is missing.
    """

    def __init__(self, folder: str | Path, writer: Any = None) -> None:
        self.folder, self.writer = Path(folder), writer

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Write the numbers of one row of the history."""
        if self.writer is None:
            self.writer = _open(self.folder)
        for name, value in scalars(row):
            if not math.isnan(value):
                self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what was written is in the folder."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore; an epoch that is done again overwrites its numbers."""


def scalars(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a row of the history, each with a name for a chart."""
    for task, loss in row["train"].items():
        yield f"train/{task} loss", loss
    for task, weight in (row["weights"] or {}).items():
        yield f"balance/{task} weight", weight
    for task, metrics in (row["validation"] or {}).items():
        for metric, value in metrics.items():
            yield f"validation/{task} {metric}", value
    for name in ("score", "rate", "seconds"):  # the rate of the last step
        if row[name] is not None:
            yield f"run/{name}", row[name]


def _open(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "The callback TensorBoard needs the package tensorboard: pip install tensorboard, or "
            "give it a writer of your own."
        ) from error
    return SummaryWriter(str(folder))
