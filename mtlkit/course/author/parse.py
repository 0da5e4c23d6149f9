"""Reading a notebook source.

Everything that is wrong with a source is collected and reported at once, with file, line and what
to do.
"""

import re
from pathlib import Path

from mtlkit.course.author.markers import has_markers, split_solution
from mtlkit.course.author.read_cards import read_exercise, read_title
from mtlkit.course.author.source import TAGS, Cell, Exercise, Source, SourceError, Title

_CHECK_CALL = re.compile(r"""\bcheck\(\s*["']([^"']+)["']""")


def read_cells(text: str) -> list[Cell]:
    """Cells of a percent-format text, with the line of each `# %%` marker where it is known."""
    import jupytext

    notebook = jupytext.reads(text, fmt="py:percent")
    lines = [n for n, row in enumerate(text.split("\n"), start=1) if re.match(r"# ?%%", row)]
    cells = []
    for position, cell in enumerate(notebook.cells):
        line = lines[position] if len(lines) == len(notebook.cells) else 0
        kind = "markdown" if cell.cell_type == "markdown" else "code"
        tags = cell.metadata.get("tags", [])
        tags = tuple(tags) if isinstance(tags, list) else (str(tags),)
        translates = str(cell.metadata.get("of", ""))
        cells.append(Cell(kind, cell.source.strip("\n"), tags, line, translates))
    return cells


def title_of(path: Path) -> Title | None:
    """The title card of a source whose other cells may be broken; None if it has none to read."""
    for cell in read_cells(path.read_text(encoding="utf-8")):
        if "title" in cell.tags:
            try:
                return read_title(cell.source)
            except ValueError:
                return None
    return None


def parse(path: Path | str) -> Source:
    """Read and validate one notebook source.

    Raises SourceError listing every problem: markers out of order, a missing solution or stub, an
    unknown tag, a duplicate exercise id, an exercise without check, a check for an unknown
    exercise.
    """
    path = Path(path)
    problems: list[str] = []
    cells = [cell for cell in read_cells(path.read_text(encoding="utf-8")) if cell.source]
    title: Title | None = None
    exercises: dict[str, Exercise] = {}
    current: Exercise | None = None
    where = path.name

    def problem(cell: Cell, sentence: object) -> None:
        problems.append(f"{where}:{cell.line}: {sentence}")

    for cell in cells:
        for tag in cell.tags:
            if tag not in TAGS:
                problem(cell, f"unknown tag {tag!r}; known: {', '.join(sorted(TAGS))}")
        if "title" in cell.tags:
            try:
                title = read_title(cell.source)
            except ValueError as error:
                problem(cell, f"title card: {error}")
                title = title or Title("", "", 0, [], [], "")
        if "hide-output" in cell.tags and cell.kind != "code":
            problem(cell, "a cell tagged hide-output is no code cell: there is no output to fold")
        if {"hide-input", "hide-output"} <= set(cell.tags) and not cell.source.startswith("# "):
            problem(
                cell,
                "a cell tagged hide-input and hide-output shows only its first line: make it a "
                "comment such as '# The answer to your guess: run this cell.'",
            )
        if "exercise" in cell.tags:
            try:
                current = read_exercise(cell.source, cell.line)
            except ValueError as error:
                current = None
                problem(cell, f"exercise card: {error}")
            else:
                if current.id in exercises:
                    first = exercises[current.id].line
                    problem(cell, f"exercise {current.id} is already defined in line {first}")
                else:
                    exercises[current.id] = current
                number = path.stem.split("_")[0]
                if number.isdigit() and int(current.id.split(".")[0]) != int(number):
                    problem(cell, f"exercise {current.id} does not belong to notebook {number}")
        cell.exercise = current.id if current else ""
        if "exercise-code" in cell.tags:
            try:
                _, _, blocks = split_solution(cell.source)
                if not blocks:
                    raise ValueError(
                        "an exercise-code cell without a solution: mark it with "
                        "'# BEGIN SOLUTION' and '# END SOLUTION'"
                    )
            except ValueError as error:
                problem(cell, error)
            if current is None:
                problem(cell, "an exercise-code cell without an exercise card above it")
            else:
                current.code.append(cell)
        elif cell.kind == "code" and has_markers(cell.source):
            problem(cell, "solution markers in a cell that is not tagged exercise-code")
        if "solution" in cell.tags and current is not None:
            current.explanations.append(cell)
        called = _CHECK_CALL.findall(cell.source) if cell.kind == "code" else []
        if called and "check" not in cell.tags:
            problem(cell, "check(...) is called in a cell that is not tagged check")
        if "check" in cell.tags and not called:
            problem(cell, 'a cell tagged check does not call check("<id>", answer)')
        for name in called:
            if name in exercises:
                exercises[name].checked = True
            else:
                problem(cell, f"check for an unknown exercise {name}: no card above has this id")
    for exercise in exercises.values():
        if not exercise.checked:
            problems.append(
                f"{where}:{exercise.line}: exercise {exercise.id} has no check: add a cell "
                f'tagged check with check("{exercise.id}", answer)'
            )
    if title is None:
        problems.append(f"{where}:1: no cell is tagged title")
    if problems or title is None:
        raise SourceError(problems)
    return Source(path, cells, title, exercises)
