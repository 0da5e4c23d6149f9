"""The figures and tables that a notebook shows, for the course report.

A notebook's outputs are whatever its code wrote, so nothing of them is believed: a picture is
decoded and must be what it says, and all text is escaped.
"""

import base64
import binascii
import html
from collections.abc import Mapping
from typing import Any

from mtlkit.course.runner.report_tables import markdown_tables, safe_table

BEGINNINGS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
PICTURES = (*BEGINNINGS, "image/svg+xml")
UNREADABLE = '<figure><p class="muted">A picture that cannot be read was left out.</p></figure>'


def outputs(notebook: Any, answers: bool | None = None) -> tuple[list[str], list[str]]:
    """The figures and tables in a notebook's outputs, as (list of <figure>, list of <table>).

    `answers` takes only those that answer a guess (True), or only the others (False).
    """
    figures, tables = [], []
    for data, metadata in _bundles(notebook, answers):
        picture = next((kind for kind in PICTURES if kind in data), None)
        if picture is not None:
            figures.append(_figure(picture, data[picture], metadata))
        else:
            tables += _tables(data)
    return figures, [table for table in tables if table]


def _tables(data: Mapping[str, Any]) -> list[str]:
    try:
        if "<table" in _text(data.get("text/html", "")).lower():
            return [safe_table(_text(data["text/html"]))]
        if "text/markdown" in data:
            return markdown_tables(_text(data["text/markdown"]))
    except Exception:  # a parser at its end: nothing of such a text is shown
        return ["<p>A table that cannot be read was left out.</p>"]
    return []


def figure_called(notebook: Any, start: str) -> str:
    """The first picture whose alt text starts so, as a <figure> without caption; "" for none."""
    for data, metadata in _bundles(notebook):
        kind = next((kind for kind in PICTURES if kind in data), None)
        if kind is None or not _alt(kind, metadata).startswith(start):
            continue
        figure = _figure(kind, data[kind], metadata)
        return figure.partition("<figcaption>")[0].removesuffix("</figure>") + "</figure>"
    return ""


def _bundles(
    notebook: Any, answers: bool | None = None
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(data, metadata) of every output that has data; what has another form is left out."""
    found = []
    for cell in _list(_mapping(notebook).get("cells")):
        tags = _list(_mapping(_mapping(cell).get("metadata")).get("tags"))
        if answers is not None and answers != ("hide-output" in tags):
            continue
        for output in map(_mapping, _list(_mapping(cell).get("outputs"))):
            if isinstance(output.get("data"), Mapping):
                found.append((output["data"], _mapping(output.get("metadata"))))
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _figure(kind: str, data: Any, metadata: Mapping[str, Any]) -> str:
    coded = _coded(kind, _text(data))
    if coded is None:
        return UNREADABLE
    alt = _alt(kind, metadata)
    caption = f"<figcaption>{html.escape(alt)}</figcaption>" if alt else ""
    described = html.escape(alt or "Figure without a description", quote=True)
    return (
        f'<figure><img loading="lazy" alt="{described}" src="data:{kind};base64,{coded}">'
        f"{caption}</figure>"
    )


def _alt(kind: str, metadata: Mapping[str, Any]) -> str:
    details = metadata.get(kind)
    alt = details.get("alt", "") if isinstance(details, Mapping) else ""
    return str(alt or metadata.get("alt", "")).strip()


def _coded(kind: str, text: str) -> str | None:
    """The picture's bytes, coded anew; None for what is no base64 or no such picture.

    An SVG may hold a script; inside an <img> no browser runs it.
    """
    try:
        if kind not in BEGINNINGS:
            return base64.b64encode(text.encode("utf-8")).decode("ascii")
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not content.startswith(BEGINNINGS[kind]):
        return None
    return base64.b64encode(content).decode("ascii")
