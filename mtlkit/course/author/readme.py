"""The table of notebooks in the README, from the title cards of their sources."""

from pathlib import Path

from mtlkit.course.author.folders import HERE, Folders, source_paths
from mtlkit.course.author.parse import title_of

BEGIN = "<!-- The notebooks: `mtlkit build` writes these rows from the title cards. -->"
END = "<!-- The end of the notebooks. -->"


def place(folders: Folders = HERE) -> Path:
    """The README that holds the table."""
    return folders.notebooks.parent / "README.md"


def with_table(text: str, folders: Folders = HERE) -> str:
    """A README's text with its table made anew; a text without the two marks stays as it is."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        return text
    rows = ["| notebook | question |", "| --- | --- |"]
    for path in source_paths(folders):
        title = title_of(path)
        if title is not None:
            link = f"[{path.stem[:2]} {title.title}](notebooks/{path.stem}.ipynb)"
            rows.append(f"| {link} | {title.question} |")
    return "\n".join([head + BEGIN, "", *rows, "", END + tail])
