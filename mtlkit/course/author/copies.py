"""Making the learner's and the solution copy of a parsed source; nothing is run or written."""

import re
from itertools import pairwise
from typing import Any

import nbformat

from mtlkit.course.author.draw_cards import Place, draw_exercise, draw_title
from mtlkit.course.author.markers import split_solution
from mtlkit.course.author.read_cards import read_exercise
from mtlkit.course.author.source import Cell, Source, kept
from mtlkit.course.learner.cards import fingerprint

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
AUDIENCES = ("learner", "solution")
FOLDED = "First your guess; then run this cell to see the answer.\n"

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def make_copy(source: Source, audience: str, place: Place, language: str = "en") -> Any:
    """The notebook (an nbformat node without outputs) of one audience, "learner" or "solution".

    Learner: stubs for solutions, no `solution` and no `instructor` cells. Solution: the solutions,
    without markers. Cells in the other language are left out. The learner copy folds the outputs
    of `hide-output` cells. Cell ids are hashes of the cell's text.
    """
    if audience not in AUDIENCES:
        raise ValueError(f"audience must be one of {', '.join(AUDIENCES)}; found {audience!r}")
    cells = []
    used: dict[str, int] = {}
    for cell in kept(source, audience, language):
        text = _text(source, cell, audience, place)
        if cell.kind == "markdown" and audience == "solution":
            text = move_links(text, "../")
        identifier = fingerprint(f"{cell.kind}\n{text}", 12)
        used[identifier] = used.get(identifier, 0) + 1
        if used[identifier] > 1:
            identifier = f"{identifier}-{used[identifier]}"
        metadata: dict[str, Any] = {"tags": list(cell.tags)} if cell.tags else {}
        folded = _folded(cell, audience)
        if folded:
            metadata["jupyter"] = folded
        make = (
            nbformat.v4.new_markdown_cell if cell.kind == "markdown" else nbformat.v4.new_code_cell
        )
        cells.append(make(text, id=identifier, metadata=metadata))
    metadata = {"kernelspec": dict(KERNEL), "language_info": dict(LANGUAGE)}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    return notebook


def _folded(cell: Cell, audience: str) -> dict[str, bool]:
    """What JupyterLab folds: marked code, and for learners the stored answer to a guess."""
    folded = {"source_hidden": True} if "hide-input" in cell.tags else {}
    if "hide-output" in cell.tags and audience == "learner":
        folded["outputs_hidden"] = True  # JupyterLab unfolds it when the cell is run
    return folded


def _text(source: Source, cell: Cell, audience: str, place: Place) -> str:
    if "title" in cell.tags:
        return draw_title(source, place, audience)
    if "exercise" in cell.tags:
        return draw_exercise(read_exercise(cell.source))
    if "exercise-code" in cell.tags:
        learner, solved, _ = split_solution(cell.source)
        return learner if audience == "learner" else solved
    return cell.source


def move_links(text: str, prefix: str) -> str:
    """Put `prefix` before every relative link of a markdown text, for a copy in another folder."""

    def moved(match: re.Match) -> str:
        target = match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:|[#/]", target):
            return match[0]
        return f"{match[1]}{prefix}{target}{match[3]}"

    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(part if part.startswith("`") else _LINK.sub(moved, part) for part in parts)


def keep_outputs(new: Any, old: Any) -> None:
    """Copy outputs and execution counts from an older notebook into cells with the same id."""
    known = {cell.get("id"): cell for cell in old.cells if cell.cell_type == "code"}
    for cell in new.cells:
        before = known.get(cell.id)
        if cell.cell_type == "code" and before is not None and before.source == cell.source:
            cell.outputs = [output for output in before.outputs if output.get("text") != FOLDED]
            cell.execution_count = before.execution_count


def cover_answers(notebook: Any) -> None:
    """Put a line of text before each folded output.

    JupyterLab shows the first line of a folded output; without this line that would be a piece of
    the answer.
    """
    for cell in notebook.cells:
        folded = cell.metadata.get("jupyter", {}).get("outputs_hidden") and cell.outputs
        if folded and cell.outputs[0].get("text") != FOLDED:
            cell.outputs.insert(0, nbformat.v4.new_output("stream", name="stdout", text=FOLDED))


def leaks(source: Source, learner: Any) -> list[str]:
    """Sentences about solution text that stands in a learner copy, in its cells or in their
    outputs.

    Searched for: a one-line solution of 16 or more characters as a line of its own or a part of
    one; in a longer one any two neighbouring lines, and any single line of 40 or more characters.
    """
    found = []
    for exercise in source.exercises.values():
        for cell in exercise.code:
            given = _squeeze(split_solution(cell.source)[0])
            for block in split_solution(cell.source)[2]:
                for piece in _telling(block.solution):
                    if piece in given:  # the author's own scaffold shows this line on purpose
                        continue
                    for position, shown in enumerate(learner.cells, start=1):
                        where = _where(piece, shown)
                        if where:
                            found.append(
                                f"cell {position}: {where} shows a solution of exercise "
                                f"{exercise.id}: {piece!r}"
                            )
    for position, shown in enumerate(learner.cells, start=1):
        if re.search(r"#\s*(BEGIN|END) SOLUTION|# STUB:", shown.source):
            found.append(f"cell {position}: a solution marker is left in the learner copy")
    return found


def _telling(lines: tuple[str, ...]) -> list[str]:
    kept = [_squeeze(line) for line in lines]
    kept = [line for line in kept if line and not line.startswith("#")]
    if len(kept) == 1:
        return [line for line in kept if len(line) >= 16]
    pairs = [f"{a} {b}" for a, b in pairwise(kept) if len(a) + len(b) >= 24]
    return pairs + [line for line in kept if len(line) >= 40]


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _where(piece: str, cell: Any) -> str:
    if piece in _squeeze(cell.source):
        return "its text"
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        texts = [output.get("text", ""), *(data.get(kind, "") for kind in data if "text" in kind)]
        if any(piece in _squeeze(text) for text in texts if isinstance(text, str)):
            return "its output"
    return ""
