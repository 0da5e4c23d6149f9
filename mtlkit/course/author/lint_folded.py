"""Folded cells: short ones that report, and nothing in them that a visible cell calls."""

import ast
from collections.abc import Iterator

from mtlkit.course.author.lint_text import code_lines
from mtlkit.course.author.make import Built
from mtlkit.course.author.source import Cell

LONGEST = 12  # whoever unfolds a cell, or reads it on GitHub where nothing is folded, meets no wall
Rule = Iterator[tuple[int, str, bool]]


def rules(built: Built) -> Rule:
    """All findings about folded cells: (line, sentence, whether it is an error)."""
    cells = [cell for cell in built.source.cells if cell.kind == "code"]
    for cell in cells:
        lines = code_lines(cell.source)
        if is_folded(cell) and lines > LONGEST:
            yield (
                cell.line,
                f"a folded cell of {lines} lines of code; at most {LONGEST}: report with "
                "mtlkit.report, show what a learner should read, or cut",
                True,
            )
    yield from _visible_calls(cells)


def is_folded(cell: Cell) -> bool:
    """Whether a reader of JupyterLab does not see the code of this cell."""
    return "hide-input" in cell.tags


def _visible_calls(cells: list[Cell]) -> Rule:
    """A visible cell uses what only folded cells define: its reader cannot know what it does."""
    folded: dict[str, int] = {}
    for cell in cells:
        names = definitions(cell)
        if is_folded(cell):
            folded |= dict.fromkeys(names, cell.line)
            continue
        for name in names:
            folded.pop(name, None)
        for name in sorted(used(cell) & set(folded)):
            yield (
                cell.line,
                f"a visible cell uses {name!r}, which only the folded cell of line "
                f"{folded[name]} defines: show its code, or move it into the package",
                True,
            )


def definitions(cell: Cell) -> set[str]:
    """Functions, classes, lambdas and imported names that a cell defines at its top level."""
    names: set[str] = set()
    for node in _body(cell):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign) and _makes_function(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def used(cell: Cell) -> set[str]:
    """Names that a cell reads, anywhere in it."""
    nodes = (node for statement in _body(cell) for node in ast.walk(statement))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _makes_function(value: ast.expr) -> bool:
    called = value.func if isinstance(value, ast.Call) else None
    partial = isinstance(called, ast.Name) and called.id == "partial"
    return isinstance(value, ast.Lambda) or partial


def _body(cell: Cell) -> list[ast.stmt]:
    try:
        return ast.parse(cell.source).body
    except SyntaxError:
        return []  # reported by ruff, or a cell with magics
