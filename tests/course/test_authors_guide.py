"""The examples in `notebooks/README.md` work as they stand there."""

import re
from types import SimpleNamespace

import pytest

from mtlkit import plot
from mtlkit.course import evidence, study
from mtlkit.course.author.folders import HERE
from mtlkit.course.author.parse import parse
from mtlkit.course.author.source import TAGS
from mtlkit.course.learner import lesson, questions
from mtlkit.course.learner.check import judge, load
from mtlkit.course.learner.checker import REGISTRY
from mtlkit.course.learner.stored_tables import write_tables
from mtlkit.course.learner.study import folder as study_folder
from mtlkit.course.runner import contests, keys, studies

GUIDE = (HERE.notebooks / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def example():
    load("02")  # so that the real checkers do not arrive halfway
    before = dict(REGISTRY)
    REGISTRY.pop("2.1", None)
    (source,) = [text for text in blocks("python") if "@checker(" in text]
    exec(compile(source, "guide", "exec"), {"__name__": "guide"})
    yield REGISTRY["2.1"]
    REGISTRY.clear()
    REGISTRY.update(before)


def test_the_example_checker_judges_its_answers(example):
    assert judge("2.1", example.solution).status == "right"
    assert judge("2.1", example.stub).status == "not attempted"
    assert len(example.wrong) == 2
    for wrong in example.wrong:
        assert judge("2.1", wrong.answer).message == wrong.message
        assert wrong.name


def test_the_example_cells_make_a_source(tmp_path):
    title, exercise = (t for t in blocks("python") if 'tags=["title"]' in t or "id: 2.1" in t)
    path = tmp_path / "02_guide.py"
    path.write_text(title + "\n" + exercise, encoding="utf-8")
    source = parse(path)
    assert source.title.title == "Share the bottom" and source.title.needs == ["01"]
    assert len(source.exercises["2.1"].hints) == 2


def test_the_example_questions_load(tmp_path, monkeypatch):
    (text,) = [text for text in blocks("yaml") if "quizzes:" in text]
    (tmp_path / "nb02").mkdir()
    (tmp_path / "nb02" / "quiz.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    asked = questions.load("02")
    assert list(asked["quizzes"]) == ["2.recall"]
    assert {p.kind for p in asked["predictions"].values()} == {"number", "ranking"}


@pytest.fixture
def guides_lesson(tmp_path, monkeypatch):
    """The guide's contest as that of a lesson, its tables those of one shop at tiny sizes."""
    (source,) = [text for text in blocks("python") if "def contest(" in text]
    names = {"__name__": "guide"}
    exec(compile(source, "guide", "exec"), names)
    guide = contests.Contest("02", names["USES"], names["contest"])
    size = SimpleNamespace(rows=3_000, seeds=2, epochs=1)
    tables = contests.run_shop(guide, 0, size, None)
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    write_tables(tmp_path / "nb02" / "evidence", tables, {})
    return guide


def test_the_example_contest_gives_what_the_example_cell_reads(guides_lesson, capsys):
    keys.golden_of(guides_lesson.uses, keys.golden(), "the guide")
    (cell,) = [text for text in blocks("python") if text.startswith('found = evidence("02")')]
    names = {"evidence": evidence, "plot": plot}
    exec(compile(cell, "guide", "exec"), names)
    assert "one shop: no interval over shops; lower is better" in capsys.readouterr().out
    assert list(names["found"].against("separate", task="cart")) == ["shared"]


def test_the_example_study_gives_what_its_example_cell_reads(tmp_path, monkeypatch):
    (source,) = [text for text in blocks("python") if "def study(" in text]
    names = {"__name__": "guide"}
    exec(compile(source, "guide", "exec"), names)
    guide = studies.Study("07", "census", names["USES"], names["SIZES"], names["study"])
    keys.golden_of(guide.uses, keys.golden(), "the guide")
    size = SimpleNamespace(rows=300, seeds=1)
    assert vars(size).keys() == guide.sizes.keys()
    tables = studies.tables_of(guide, size, tmp_path / "store")
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    write_tables(study_folder("07", "census"), tables, {})
    (cell,) = [text for text in blocks("python") if text.startswith('found = study("07"')]
    names = {"study": study}
    exec(compile(cell, "guide", "exec"), names)
    assert set(names["found"].table("scores")["candidate"]) == {"shared", "experts"}


def test_every_tag_is_described():
    assert [tag for tag in sorted(TAGS) if f"`{tag}`" not in GUIDE] == []
