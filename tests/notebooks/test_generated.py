"""The notebooks of the course: committed files are what their sources give, and keep the rules."""

import pytest

from mtlkit.course.author import build, lint

SOURCES = build.source_paths()
NAMES = [path.stem for path in SOURCES]


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_committed_files_are_what_the_source_gives(path):
    assert build.differences(build.build_one(path)) == []


def test_no_generated_file_has_lost_its_source():
    assert build.orphans() == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_the_notebook_keeps_the_rules(path):
    found = lint.lint(build.build_one(path))
    assert [str(finding) for finding in found if finding.error] == []
