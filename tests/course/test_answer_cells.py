"""Which cells show the answer to a guess: the builder tells, a notebook finds it."""

import pytest

from mtlkit.course.author import copies
from mtlkit.course.author.answer_cells import answers
from mtlkit.course.author.folders import source_paths
from mtlkit.course.author.make import place_of
from mtlkit.course.author.parse import parse
from mtlkit.course.author.source import Cell, Source, Title
from mtlkit.course.learner import questions
from mtlkit.course.learner.answers import asked_by
from mtlkit.course.learner.cards import fingerprint

SOURCES = source_paths()
NO_ANSWERS = {"# Each column alone, on the colleague's log."}  # folded for an exercise, not a guess


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_every_folded_cell_of_the_course_waits_for_a_guess_of_its_notebook(path):
    source, place = parse(path), place_of(path)
    waited = set()
    for audience in copies.AUDIENCES:
        for cell in copies.make_copy(source, audience, place).cells:
            names = asked_by(cell.source) if cell.cell_type == "code" else []
            folded = "hide-output" in cell.metadata.get("tags", [])
            first = cell.source.split("\n")[0]
            assert bool(names) == (folded and first not in NO_ANSWERS), (names, first)
            waited.update(names)
    assert waited == set(questions.load(source.number)["predictions"])


def source(tmp_path, *cells):
    made = [
        Cell("markdown" if text.startswith("##") else "code", text, tuple(tags))
        for text, *tags in cells
    ]
    return Source(tmp_path / "98_x.py", made, Title("t", "q", 1, [], [], ""), {})


ASK = ('predict("98.p1")\npredict("98.p2")', "predict")
LOOK = ('guess("98.p1")', "hide-output")
FOLDED = ("show()", "hide-output")
SECTION = ("## A section", "worked")


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([ASK, FOLDED, LOOK], ["98.p1", "98.p2"]),  # p2 is named nowhere: until asked again
        ([ASK, LOOK, FOLDED], ["98.p2"]),
        ([ASK, LOOK, ('predict("98.p3")', "predict"), FOLDED, ('guess("98.p3")',)], ["98.p3"]),
        ([ASK, ('guess("98.p1"), guess("98.p2")',), FOLDED], ["98.p1", "98.p2"]),
        ([ASK, ('guess("98.p1"), guess("98.p2")',), SECTION, FOLDED], None),
        ([FOLDED, ASK], None),
        ([ASK, ("show()",)], None),
    ],
)
def test_a_folded_cell_belongs_to_what_is_open(tmp_path, cells, wanted):
    found = answers(source(tmp_path, *cells))
    assert found == ({} if wanted is None else {fingerprint("show()"): wanted})


def test_a_cell_that_names_its_guess_needs_no_entry(tmp_path):
    assert answers(source(tmp_path, ASK, LOOK)) == {}
