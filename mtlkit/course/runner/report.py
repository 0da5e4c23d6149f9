"""The course report: one HTML file with every notebook's state, results, tables and figures."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mtlkit.course.learner.record import is_record
from mtlkit.course.runner.notebooks import NotebookRun
from mtlkit.course.runner.report_findings import findings_html
from mtlkit.course.runner.report_outputs import outputs
from mtlkit.course.runner.report_tables import format_value, table_html
from mtlkit.files import write_text

# Nothing of a notebook may run in the report, load or lead anywhere: pictures are in the file.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
ANSWERS = "The answers to the guesses: guess first, then open"
STATES = {"ok": ("ok", "✓ ok"), "failed": ("failed", "✗ failed"), "not run": ("waiting", "not run")}


def write_report(
    runs: Sequence[NotebookRun], path: Path, facts: Mapping[str, str], seconds: float
) -> Path:
    """Write the report of a course run to ``path``; it needs no other file and no network."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    good = sum(run.status == "ok" for run in runs)
    shown = _shown(runs)
    pieces = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<title>mtlkit course report</title>",
        f"<style>\n{style}</style></head><body>",
        "<header><h1>mtlkit course report</h1>",
        f'<p class="lead">{good} of {len(runs)} notebooks reached their end, '
        f"in {duration(seconds)}.</p>",
        _facts(facts),
        "</header><main>",
        findings_html(shown, _executed),
        _overview(runs),
        *(_section_or_why(run, run in shown, path.parent) for run in runs),
        "<footer>Made by <code>mtlkit course</code>. Each number stands in an executed notebook "
        "beside this file; <code>results.json</code> holds the recorded ones for programs.",
        "</footer>",
        "</main></body></html>\n",
    ]
    write_text(path, "\n".join(pieces), errors="replace")
    return path


def duration(seconds: float) -> str:
    """Seconds in words a person reads: "8.2 s", "2 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def _shown(runs: Sequence[NotebookRun]) -> list[NotebookRun]:
    """The runs whose figures are shown: a solution copy only where no learner copy was run."""
    learners = {run.name for run in runs if run.copy == "learner"}
    return [run for run in runs if run.copy == "learner" or run.name not in learners]


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="facts">{rows}</dl>'


def _anchor(run: NotebookRun) -> str:
    return html.escape(f"{run.copy}-{run.name}", quote=True)


def _state(run: NotebookRun) -> str:
    kind, words = STATES[run.status]
    return f'<span class="state {kind}">{words}</span>'


def _name(run: NotebookRun) -> str:
    title = html.escape(run.title)
    return title if run.copy == "learner" else f"{title} (solution copy)"


def _overview(runs: Sequence[NotebookRun]) -> str:
    longest = max((run.seconds for run in runs), default=0.0) or 1.0
    rows = []
    for run in runs:
        width = 60 * run.seconds / longest
        rows.append(
            f"<tr><td>{html.escape(run.name[:2])}</td>"
            f'<td><a href="#{_anchor(run)}">{_name(run)}</a></td><td>{_state(run)}</td>'
            f'<td><span class="meter"><i style="width:{width:.1f}%"></i>{duration(run.seconds)}'
            f'</span></td><td class="number">{len(run.records)}</td></tr>'
        )
    return (
        f'<section class="card overview" aria-label="Overview"><details{_open(runs)}><summary>'
        '<h2>How the run went</h2></summary><div class="scroll"><table><thead>'
        '<tr><th></th><th scope="col">Notebook</th>'
        '<th scope="col">State</th><th scope="col">Time</th>'
        '<th scope="col" class="number">Results</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details></section>"
    )


def _open(runs: Sequence[NotebookRun]) -> str:
    """What a fold needs to be open from the start: a failure is seen without a click."""
    return " open" if any(run.failure is not None for run in runs) else ""


def _section_or_why(run: NotebookRun, show_outputs: bool, folder: Path) -> str:
    """A notebook's section; where its outputs cannot be drawn, the other sections stand."""
    try:
        return _section(run, show_outputs, folder)
    except Exception as error:
        told = html.escape(f"{type(error).__name__}: {error}")
        return (
            f'<section class="card failed" id="{_anchor(run)}"><div class="title">'
            f"<h2>{_name(run)}</h2>{_state(run)}</div><p>Its outputs cannot be shown: {told}</p>"
            "</section>"
        )


def _section(run: NotebookRun, show_outputs: bool, folder: Path) -> str:
    pieces = [
        f'<section class="card {STATES[run.status][0]}"><details{_open([run])}>',
        f"<summary><h2>{_name(run)}</h2>{_state(run)}"
        f'<span class="muted">{duration(run.seconds)}</span></summary>',
        f'<div id="{_anchor(run)}">',  # inside: a link to it opens the fold
    ]
    if run.failure is not None:
        pieces.append(_failure(run))
    pieces.append(records_html(run.records))
    notebook = _executed(run) if show_outputs else None
    if notebook is not None:
        pieces.append(_outputs_html(*outputs(notebook, answers=False)))
        answers = _outputs_html(*outputs(notebook, answers=True))
        if answers:
            pieces.append(f"<details><summary>{ANSWERS}</summary>{answers}</details>")
    if run.executed is not None and run.executed.exists():
        place = run.executed.relative_to(folder).as_posix()
        link, shown = html.escape(quote(place), quote=True), html.escape(place)
        pieces.append(f'<p class="muted">Executed copy: <a href="{link}">{shown}</a></p>')
    return "\n".join([piece for piece in pieces if piece] + ["</div></details></section>"])


def _outputs_html(figures: Sequence[str], tables: Sequence[str]) -> str:
    pieces = []
    if tables:
        pieces.append("<h3>Tables in the notebook</h3>")
        pieces += [_scroll(table, "Table from the notebook") for table in tables]
    if figures:
        pieces.append(f'<h3>Figures</h3><div class="figures">{"".join(figures)}</div>')
    return "\n".join(pieces)


def _executed(run: NotebookRun) -> Any:
    """The executed copy, None where there is none."""
    import nbformat

    if run.executed is None or not run.executed.exists():
        return None
    try:
        return nbformat.read(run.executed, as_version=4)
    except Exception:  # no notebook; why stands in its failure
        return None


def _failure(run: NotebookRun) -> str:
    failure = run.failure
    assert failure is not None
    pieces = [f"<p><strong>Stopped:</strong> {html.escape(failure.sentence())}</p>"]
    if failure.code:
        pieces.append(f"<pre>{html.escape(failure.code)}</pre>")
    if failure.traceback:
        pieces.append(
            "<details><summary>The whole traceback</summary>"
            f"<pre>{html.escape(failure.traceback)}</pre></details>"
        )
    return "".join(pieces)


def records_html(records: Sequence[Mapping[str, Any]]) -> str:
    """Recorded results: single values as tiles, tables below; one name's sources side by side."""
    records = [entry for entry in records if is_record(entry)]
    if not records:
        return ""
    tiles = [_tile(entry) for entry in records if entry["kind"] == "value"]
    pieces = ["<h3>Results</h3>"]
    if tiles:
        pieces.append(f'<dl class="values">{"".join(tiles)}</dl>')
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for entry in records:
        if entry["kind"] != "value":
            grouped.setdefault(entry["name"], []).append(entry)
    for name, entries in grouped.items():
        pieces.append(f"<h3>{html.escape(name)}</h3>")
        pieces.append(f'<div class="beside">{"".join(_table_entry(e) for e in entries)}</div>')
    return "\n".join(pieces)


def _tile(entry: Mapping[str, Any]) -> str:
    notes = [str(entry[key]) for key in ("source", "note") if entry.get(key)]
    small = f" <small>{html.escape(', '.join(notes))}</small>" if notes else ""
    return (
        f"<div><dt>{html.escape(entry['name'])}</dt>"
        f"<dd>{html.escape(format_value(entry.get('value')))}{small}</dd></div>"
    )


def _table_entry(entry: Mapping[str, Any]) -> str:
    source = str(entry.get("source") or "")
    heading = f"<h4>{html.escape(source)}</h4>" if source else ""
    note = f'<p class="muted">{html.escape(str(entry["note"]))}</p>' if entry.get("note") else ""
    label = f"{entry['name']} {source}".strip()
    return f"<div>{heading}{_scroll(table_html(entry), label)}{note}</div>"


def _scroll(table: str, label: str) -> str:
    """A table that is wider than the page scrolls by itself, also with the keyboard."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label, True)}">'
        f"{table}</div>"
    )
