"""Every copy runs to its end in smoke mode; solution copies pass all their checks."""

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


@pytest.mark.notebook
@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_the_learner_copy_runs_to_its_end_with_nothing_attempted(path, tmp_path):
    source, notebook = run(path, "learner", tmp_path)
    assert errors(notebook) == []
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
