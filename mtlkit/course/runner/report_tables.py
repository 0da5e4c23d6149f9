"""Tables of the course report: recorded ones drawn, a notebook's own ones made safe and plain."""

import html
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

KEPT = {"table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption"}
KEPT |= {"b", "strong", "em", "i", "code", "sub", "sup", "br", "small"}
DROPPED_WITH_CONTENT = {"style", "script", "template", "iframe", "object"}
KEPT_ATTRIBUTES = {"colspan", "rowspan", "scope"}


def format_value(value: Any) -> str:
    """A value as a person reads it: four significant digits, thousands apart, "–" for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or 1e-4 <= abs(value) < 1e4:
            digits = f"{value:.4g}"
            return digits if "." in digits or "e" in digits else f"{value:.1f}"
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.2e}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(part)}" for key, part in value.items())
    return str(value)


def table_html(entry: Mapping[str, Any]) -> str:
    """A record of kind "table" or "values" as an HTML table, numbers aligned on the right."""
    if entry["kind"] == "table":
        return _draw(entry["columns"], entry["rows"])
    value = entry["value"]
    if isinstance(value, Mapping):
        if value and all(isinstance(part, Mapping) for part in value.values()):
            columns = list(dict.fromkeys(key for part in value.values() for key in part))
            rows = [[name, *(part.get(key) for key in columns)] for name, part in value.items()]
            return _draw(["", *columns], rows)
        if len(value) <= 6:  # few values read better in a row, such as mean, low, high
            return _draw([str(name) for name in value], [list(value.values())])
        return _draw(["", "value"], [[name, part] for name, part in value.items()])
    return _draw(["", "value"], [[place, part] for place, part in enumerate(value)])


def _draw(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    numeric = [
        any(_is_number(row[place]) for row in rows)
        and all(row[place] is None or _is_number(row[place]) for row in rows)
        for place in range(len(columns))
    ]
    mark = [' class="number"' if is_number else "" for is_number in numeric]
    head = "".join(
        f'<th scope="col"{mark[place]}>{html.escape(str(name))}</th>'
        for place, name in enumerate(columns)
    )
    texts = [_column([row[place] for row in rows]) for place in range(len(columns))]
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark[place]}>{html.escape(texts[place][number])}</td>"
            for place in range(len(columns))
        )
        + "</tr>"
        for number in range(len(rows))
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _column(values: Sequence[Any]) -> list[str]:
    """The texts of one column; decimal fractions of ordinary size get equally many places."""
    texts = [format_value(value) for value in values]
    plain = [re.fullmatch(r"-?\d+\.(\d+)", text) for text in texts]
    places = [min(len(match[1]), 4) for match in plain if match]
    return [
        f"{value:.{max(places)}f}" if match and isinstance(value, float) else text
        for value, match, text in zip(values, plain, texts, strict=True)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def markdown_tables(text: str) -> list[str]:
    """The tables in a Markdown text, as HTML; other text is left out."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    if not any(token.type == "table_open" for token in parser.parse(text)):
        return []
    return [safe_table(parser.render(text))]


def safe_table(text: str) -> str:
    """The tables of an HTML text without styles, scripts, links, pictures and attributes.

    A row of data types under the column names, as polars writes it, is left out too.
    """
    reader = _TableReader()
    reader.feed(text)
    reader.close()
    return reader.result()


class _TableReader(HTMLParser):
    """Copies the allowed tags and escaped text that stand inside a table."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.depth = 0  # how many tables are open
        self.unclosed = 0  # how many of those that were written
        self.hidden = 0  # how many elements are open whose content is dropped
        self.in_head = False
        self.type_row = False

    def result(self) -> str:
        text = "".join(self.pieces)
        return text.replace("<tr></tr>", "") + "</table>" * self.unclosed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED_WITH_CONTENT:
            self.hidden += 1
        if tag == "table":
            self.depth += 1
        if tag == "thead":
            self.in_head = True
        self.type_row = self.in_head and tag == "td"
        if self._writes(tag):
            kept = "".join(
                f' {name}="{html.escape(value or "", quote=True)}"'
                for name, value in attrs
                if name in KEPT_ATTRIBUTES
            )
            self.pieces.append(f"<{tag}{kept}>")
            self.unclosed += tag == "table"

    def handle_endtag(self, tag: str) -> None:
        if self._writes(tag) and tag != "br":
            self.pieces.append(f"</{tag}>")
            self.unclosed -= tag == "table"
        if tag == "td":
            self.type_row = False
        if tag in DROPPED_WITH_CONTENT:
            self.hidden = max(0, self.hidden - 1)
        if tag == "thead":
            self.in_head = False
        if tag == "table":
            self.depth = max(0, self.depth - 1)

    def handle_data(self, data: str) -> None:
        if self.depth and not self.hidden and not self.type_row:
            text = re.sub(r"\s+", " ", data)
            if len(text) > 1 and text[0] == text[-1] == '"':
                text = text[1:-1]  # polars puts texts in quotation marks
            if text != " ":
                self.pieces.append(html.escape(text))

    def _writes(self, tag: str) -> bool:
        return bool(self.depth and not self.hidden and not self.type_row and tag in KEPT)
