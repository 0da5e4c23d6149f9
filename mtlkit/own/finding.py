"""What an audit finds: one sentence each, with the number behind it and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from mtlkit.data.encode import Encoder
from mtlkit.data.splits import Split
from mtlkit.own.cut import Cut
from mtlkit.own.labels import Unmet
from mtlkit.own.roles import Roles

LEVELS = {"fault": "▲", "look": "●", "note": "·"}
LEGEND = "(▲ scores will be wrong, ● only you can say, · good to know)"


@dataclass(frozen=True)
class Finding:
    """One thing that nobody told: its ``kind``, how bad it may be (``level``), a sentence.

    ``level`` is "fault" (scores will be wrong), "look" (only you can say) or "note". ``column`` and
    ``task`` say where, None where it concerns all; ``value`` is the number behind it.
    """

    kind: str
    level: str
    column: str | None
    task: str | None
    value: float
    text: str


class Facts(NamedTuple):
    """What the finders read: the parts of a ``Prepared``, and predictions of validation rows.

    ``alone``: how well each column alone tells each label (``find_labels.strengths``).
    ``rows`` are places of the validation table, int64 (k,), ``predictions`` {task: (k,), or
    (k, classes)} in natural units, by a model of the caller's or by boosted trees.
    """

    split: Split
    encoder: Encoder
    frame: pl.DataFrame
    cut: Cut
    unmet: Mapping[str, Unmet]
    roles: Roles
    alone: pl.DataFrame
    rows: np.ndarray
    predictions: Mapping[str, np.ndarray]


Found = Iterator[Finding]


def percent(share: float) -> str:
    """A share in per cent: whole numbers from 10 on, one digit below; never 0 for more than 0."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %" if value >= 0.1 else "under .1 %"
