"""The first page of the course report: what each notebook asks, finds and shows."""

import html
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from mtlkit.course.learner import cards
from mtlkit.course.runner import findings
from mtlkit.course.runner.notebooks import NotebookRun
from mtlkit.course.runner.report_outputs import figure_called

ABOUT = (
    "Each answer rests on stored results of full size, most on contests on five shops; the figures "
    "are of this run. A shop counts where its own 95 % interval over starts leaves out 0."
)


def findings_html(runs: Sequence[NotebookRun], executed: Callable[[NotebookRun], Any]) -> str:
    """One entry a notebook that has a finding; nothing where none has one.

    `executed(run)` gives the executed notebook, or None.
    """
    entries = [_entry(run, executed(run)) for run in runs if _is_lesson(run)]
    if not entries:
        return ""
    return (
        '<section class="findings" aria-label="Findings"><h2>What the course finds</h2>'
        f'{"".join(entries)}<p class="muted">{ABOUT}</p></section>'
    )


def _is_lesson(run: NotebookRun) -> bool:
    """Whether the notebook is the course's own: another may have the same number."""
    number = run.name[:2]
    return number in findings.numbers() and run.title.endswith(cards.load(number)["title"])


def _entry(run: NotebookRun, notebook: Any) -> str:
    number = run.name[:2]
    link = html.escape(quote(f"#{run.copy}-{run.name}", safe="#"), quote=True)
    try:
        found = findings.load(number)
    except findings.FindingError as error:
        told = f"No finding can be shown: {html.escape(str(error))}"
        return (
            f'<div class="finding"><div><h3>{html.escape(run.title)}</h3><p>{told}</p></div></div>'
        )
    figure = figure_called(notebook, found.figure) if notebook is not None else ""
    return (
        f'<div class="finding"><div><h3><a href="{link}">{number}</a> '
        f"{html.escape(found.question)}</h3>"
        f"<p>{html.escape(found.answer)}</p>"
        f'<p class="muted">{html.escape(found.holds.capitalize())}</p></div>{figure}</div>'
    )
