"""Rules about what a notebook shows after it was run: errors, pictures, alt text, machine paths."""

import re
from collections.abc import Iterator
from typing import Any

from mtlkit.course.author.pictures import LARGEST_PICTURE, pictures

FIRST_FIGURE_WITHIN = 6  # code cells
_MACHINE = re.compile(r"(/home/\w|/Users/\w|/tmp/|/work/|[A-Z]:\\Users\\)")


def rules(notebook: Any, audience: str) -> Iterator[tuple[int, str, bool]]:
    """Findings about one copy: (position of the cell from 1, 0 for the whole, sentence, error)."""
    code = [
        (position, cell)
        for position, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield 0, "its kernelspec is missing or not python3", True
    if code and all(cell.get("execution_count") is None for _, cell in code):
        yield 0, "it has never been run: `mtlkit build --execute`", True
        return
    for position, cell in code:
        if cell.get("execution_count") is None:
            yield position, f"cell {position} was not run: `mtlkit build --execute`", True
        for output in cell.outputs:
            if output.output_type == "error":
                yield position, f"cell {position} ends in {output.ename}: {output.evalue}", True
            texts = output.get("text", ""), output.get("data", {}).get("text/plain", "")
            if any(_MACHINE.search(text) for text in texts):
                yield position, f"cell {position} shows a path of the machine it ran on", False
            if output.get("name") == "stderr":
                first = output.text.strip().split("\n")[0]
                yield position, f"cell {position} writes to stderr: {first!r}", False
    drawn = pictures(notebook)
    for position, size, alt in drawn:
        if size > LARGEST_PICTURE:
            text = f"cell {position} draws {size // 1024} KB; at most {LARGEST_PICTURE // 1024}"
            yield position, text, True
        if not alt:
            yield position, f"cell {position} draws a picture without alt text", True
    early = {position for position, _ in code[:FIRST_FIGURE_WITHIN]}
    title_only = not notebook.cells or notebook.cells[0].source.startswith("# 00")
    if audience == "learner" and not title_only and not early & {p for p, _, _ in drawn}:
        yield 0, f"no figure within the first {FIRST_FIGURE_WITHIN} code cells", True
