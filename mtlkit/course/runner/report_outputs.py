"""The figures and tables that a notebook shows, for the course report."""

import base64
import html
from collections.abc import Mapping
from typing import Any

from mtlkit.course.runner.report_tables import markdown_tables, safe_table

PICTURES = ("image/png", "image/jpeg", "image/svg+xml")


def outputs(notebook: Any) -> tuple[list[str], list[str]]:
    """The figures and tables in a notebook's outputs, as (list of <figure>, list of <table>)."""
    figures, tables = [], []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            picture = next((kind for kind in PICTURES if kind in data), None)
            if picture is not None:
                figures.append(_figure(picture, data[picture], output.get("metadata", {})))
            elif "<table" in _text(data.get("text/html", "")):
                tables.append(safe_table(_text(data["text/html"])))
            elif "text/markdown" in data:
                tables += markdown_tables(_text(data["text/markdown"]))
    return figures, [table for table in tables if table]


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list | tuple) else str(value)


def _figure(kind: str, data: Any, metadata: Mapping[str, Any]) -> str:
    text = _text(data)
    coded = base64.b64encode(text.encode()).decode() if kind.endswith("xml") else text
    coded = "".join(coded.split())
    details = metadata.get(kind)
    alt = details.get("alt", "") if isinstance(details, Mapping) else ""
    alt = str(alt or metadata.get("alt", "")).strip()
    caption = f"<figcaption>{html.escape(alt)}</figcaption>" if alt else ""
    described = html.escape(alt or "Figure without a description", quote=True)
    return (
        f'<figure><img loading="lazy" alt="{described}" src="data:{kind};base64,{coded}">'
        f"{caption}</figure>"
    )
