"""Solution copies run to their end in smoke mode and pass all their checks.

Learner copies run cell by cell through nbval (`run.py test`); here their stored outputs are read.
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


def run(path, audience, home):
    source = parse(path)
    notebook = copies.make_copy(source, audience, place_of(path))
    folder = copy_path(source, audience).parent
    execute.run(notebook, folder, mode="smoke", strict=audience == "solution", home=home)
    return source, notebook


def errors(notebook):
    return [
        f"{output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


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
def test_the_solution_copy_passes_all_its_checks(path, tmp_path):
    source, notebook = run(path, "solution", tmp_path)
    assert errors(notebook) == []
    for exercise in source.exercises:
        assert f"✓ {exercise}: right." in text_of(notebook)
