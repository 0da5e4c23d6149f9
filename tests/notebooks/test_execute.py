"""Every notebook runs to its end in smoke mode, once, with nothing attempted and with all solved.

The two copies differ in the code of exercises alone, and later cells never call it. So the learner
copy is run, and before each exercise its solution and the check of it.
"""

import nbformat
import pytest

from mtlkit.course.author import copies
from mtlkit.course.author.folders import copy_path, source_paths
from mtlkit.course.author.make import place_of, refuse_leaks
from mtlkit.course.author.parse import parse
from mtlkit.course.runner import execute

SOURCES = source_paths()
NAMES = [path.stem for path in SOURCES]


def text_of(notebook):
    return "\n".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))


def errors(notebook):
    return [
        f"{output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def both_copies(source, place):
    """The learner copy with, before each exercise, the solution's code and the check of it."""
    learner, solution = (copies.make_copy(source, a, place) for a in ("learner", "solution"))
    exercises = iter(source.exercises)
    cells = []
    for stub, solved in zip(code_of(learner), code_of(solution), strict=True):
        if stub.source != solved.source:
            start = f'check("{next(exercises)}", '
            [checked] = [c for c in code_of(solution) if c.source.startswith(start)]
            cells += [nbformat.v4.new_code_cell(cell.source) for cell in (solved, checked)]
        cells.append(stub)
    assert next(exercises, None) is None
    learner.cells = cells
    return learner


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_the_learner_copy_was_run_to_its_end_with_nothing_attempted(path):
    source = parse(path)
    notebook = nbformat.read(copy_path(source, "learner"), as_version=4)
    assert errors(notebook) == []
    assert all(c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source)
    for exercise in source.exercises:
        assert f"· {exercise}: not " in text_of(notebook)
    refuse_leaks(source, notebook)


@pytest.mark.notebook
@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_the_notebook_runs_to_its_end_solved_and_with_nothing_attempted(path, tmp_path):
    source = parse(path)
    notebook = both_copies(source, place_of(path))
    execute.run(notebook, copy_path(source, "learner").parent, mode="smoke", home=tmp_path)
    assert errors(notebook) == []
    assert all(cell.execution_count for cell in notebook.cells)
    for exercise in source.exercises:
        right, calm = (text_of(notebook).find(f"{mark} {exercise}: ") for mark in "✓·")
        assert 0 <= right < calm, exercise
