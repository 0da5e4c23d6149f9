"""An audit: what nobody told about a prepared frame, before a model is believed."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, Protocol

import numpy as np
import polars as pl

from mtlkit.data.encode import Encoder
from mtlkit.data.splits import Split
from mtlkit.own.cut import Cut
from mtlkit.own.find_labels import (
    leaks,
    losses_apart,
    nothing_to_learn,
    starting_losses,
    strengths,
    unmet_parents,
)
from mtlkit.own.find_rows import constants, duplicates, groups, ids_as_amounts, unknown_ids
from mtlkit.own.find_scenarios import by_scenario, gaps
from mtlkit.own.finding import LEGEND, LEVELS, Facts, Finding, Found
from mtlkit.own.labels import Unmet
from mtlkit.own.quick import quick_predictions, sample
from mtlkit.own.roles import Roles
from mtlkit.own.summary import html_table, plain_table
from mtlkit.schema import SchemaError
from mtlkit.train.evaluation import predict

LIST = "list-style:none;padding-left:0;overflow-wrap:anywhere"  # a mark of its own begins each line

# kind -> what looks for it; a new one is a function of Facts and its line here
FINDERS: dict[str, Callable[[Facts], Found]] = {
    "tells a label": leaks,
    "label below an unmet parent": unmet_parents,
    "duplicates across the cut": duplicates,
    "groups across the cut": groups,
    "unknown ids": unknown_ids,
    "constant column": constants,
    "ids read as amounts": ids_as_amounts,
    "nothing to learn": nothing_to_learn,
    "loss scales apart": losses_apart,
    "gap between scenarios": gaps,
}


class Auditable(Protocol):
    """What an audit needs of a ``Prepared``."""

    @property
    def split(self) -> Split: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def frame(self) -> pl.DataFrame: ...
    @property
    def cut(self) -> Cut: ...
    @property
    def unmet(self) -> dict[str, Unmet]: ...
    @property
    def roles(self) -> Roles: ...


class Audit:
    """What ``audit`` found; a notebook shows it as a list and a table.

    ``findings``, the worst first; ``scenarios``: pooled beside within-scenario, per task
    (``by_scenario``); ``alone``: how well each column alone tells each label (``strengths``);
    ``losses`` {task: weight times loss of the best constant}.
    """

    def __init__(self, facts: Facts) -> None:
        found = [finding for finder in FINDERS.values() for finding in finder(facts)]
        self.findings = tuple(sorted(found, key=lambda finding: [*LEVELS].index(finding.level)))
        self.scenarios = by_scenario(facts)
        self.alone = facts.alone
        self.losses = starting_losses(facts)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind; an unknown kind raises ``ValueError``."""
        if kind not in FINDERS:
            raise ValueError(f"No audit looks for {kind!r}; it looks for: {', '.join(FINDERS)}.")
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def table(self) -> pl.DataFrame:
        """One row a finding: kind, level, column, task, value, text."""
        shape = dict.fromkeys(("kind", "level", "column", "task"), pl.String)
        rows = [tuple(vars(finding).values()) for finding in self.findings]
        return pl.DataFrame(rows, shape | {"value": pl.Float64, "text": pl.String}, orient="row")

    def _nothing(self) -> str:
        found = {finding.kind for finding in self.findings}
        return f"Nothing found of: {', '.join(kind for kind in FINDERS if kind not in found)}."

    def _scenario_table(self) -> tuple[list[str], list[list[str]]]:
        head = ["task", "metric", "all rows", "inside scenarios", "scenario alone"]
        body = [[*row[:2], *(f"{v:.3f}" for v in row[2:])] for row in self.scenarios.iter_rows()]
        return head, body

    def __repr__(self) -> str:
        lines = [f"{LEVELS[f.level]} {f.kind}: {f.text}" for f in self.findings]
        legend = [LEGEND] if lines else []
        parts = ["\n".join([*lines, self._nothing(), *legend])]
        if len(self.scenarios):
            parts.append(plain_table(*self._scenario_table(), texts=2))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        lines = [
            f"<li>{LEVELS[f.level]} <b>{escape(f.kind)}</b>: {escape(f.text)}</li>"
            for f in self.findings
        ]
        told = f'<ul style="{LIST}">{"".join(lines)}</ul>' if lines else ""
        legend = f"<p>{LEGEND}</p>" if lines else ""
        table = html_table(*self._scenario_table(), texts=2) if len(self.scenarios) else ""
        return f"<div>{told}<p>{escape(self._nothing())}</p>{legend}{table}</div>"


def audit(data: Auditable, model: Any | None = None) -> Audit:
    """Look for what makes scores lie, in what ``prepare`` returned.

    The kinds are those of ``FINDERS``. Labels are told from training rows and measured on
    validation rows; of test rows only inputs and copies are looked at. The comparison of pooled and
    within-scenario scores is of ``model``, or of a few boosted trees without one. Frames of more
    than 20,000 rows are sampled where a column or model is scored. Raises ``SchemaError`` for
    anything that ``prepare`` did not return, and for a model of other inputs.
    """
    if not hasattr(data, "roles"):
        raise SchemaError(
            f"audit needs what prepare returned, not a {type(data).__name__}: "
            "mtlkit.audit(mtlkit.prepare(frame, tasks))."
        )
    train, later = data.split.train, data.split.validation
    predictions: dict[str, np.ndarray] = {}
    if model is not None:
        rows = np.arange(len(later))
        predictions = predict(model, later)
    else:
        rows = sample(later)
        learn, score = train.take(sample(train)), later.take(rows)
        several = train.schema.num_scenarios > 1
        for task in train.schema.tasks:
            if several and task.kind != "multiclass":  # what by_scenario compares
                told = quick_predictions(task, learn, score)
                predictions |= {} if told is None else {task.name: told}
    return Audit(Facts(
        data.split, data.encoder, data.frame, data.cut, data.unmet, data.roles,
        strengths(data.split), rows, predictions,
    ))  # fmt: skip
