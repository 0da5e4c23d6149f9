"""A list of sentences, one difference each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mtlkit.report.parts import Report
from mtlkit.report.source import source_of
from mtlkit.report.specs import cell


def lines(
    source: Any,
    specs: Mapping[str, Mapping[str, Any]] | Iterable[tuple[str, str, str]],
    *,
    digits: int = 3,
    **where: Any,
) -> Report:
    """A Markdown list: "- label: +0.012 (0.004 to 0.020), better on 4 of 5 shops, worse on none".

    ``specs``: {label: spec} as in ``report.grid``, each with ``candidate`` and ``minus``; or tuples
    (task, candidate, reference), whose label is "task, candidate minus reference". ``where`` holds
    for all of them. The report has a sentence (the list) and no table. Raises ``ValueError`` for no
    specs, and for one that the source cannot serve; the sentence names its label.
    """
    read = source_of(source)
    if not isinstance(specs, Mapping):
        specs = {
            f"{task}, {candidate} minus {minus}": {
                "task": task,
                "candidate": candidate,
                "minus": minus,
            }
            for task, candidate, minus in specs
        }
    if not specs:
        raise ValueError("lines needs at least one spec.")
    said = []
    for label, spec in specs.items():
        show = {"show": "sentence"} if "minus" in spec else {"show": "interval"}
        try:
            said.append(f"- {label}: {cell(read, {**where, **show, **spec}, digits)}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"line {label!r}: {error}") from error
    return Report(sentence="\n".join(said), digits=digits)
