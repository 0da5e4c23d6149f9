"""The notebooks of the course: committed files are what their sources give, and keep the rules."""

from functools import cache

import pytest

from mtlkit.course.author.folders import HERE, source_paths
from mtlkit.course.author.lint import lint
from mtlkit.course.author.make import build_one
from mtlkit.course.author.stale import differences, orphans, stale_records
from mtlkit.course.learner import lesson
from mtlkit.course.runner import evidence

SOURCES = source_paths()
NAMES = [path.stem for path in SOURCES]
built = cache(build_one)  # whoever looks at it changes nothing


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_committed_files_are_what_the_source_gives(path):
    assert differences(built(path)) == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_stored_records_are_those_of_this_notebook(path):
    assert stale_records(built(path)) == []


def test_stored_evidence_is_what_its_contest_would_give():
    assert evidence.stale() == []


def test_no_generated_file_has_lost_its_source():
    assert orphans() == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_the_notebook_keeps_the_rules(path):
    found = lint(built(path))
    assert [str(finding) for finding in found if finding.error] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_has_its_lesson_folder_and_its_deck(name):
    wanted = [lesson.path(name[:2], file) for file in ("checks.py", "quiz.yaml", "sizes.py")]
    wanted.append(HERE.slides / f"{name}.md")
    assert [HERE.shown(path) for path in wanted if not path.is_file()] == []
