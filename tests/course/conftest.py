"""A copy of the fixture notebooks in a temporary folder, and a record that stays in it."""

import shutil
from pathlib import Path

import pytest

from mtlkit.course.author.folders import Folders
from mtlkit.course.learner import store

FIXTURES = Path(__file__).parent / "fixtures" / "notebooks"


@pytest.fixture
def folders(tmp_path):
    shutil.copytree(FIXTURES, tmp_path / "notebooks")
    return Folders(tmp_path / "notebooks", tmp_path / "lessons", tmp_path / "slides")


@pytest.fixture
def small(folders):
    return folders.sources / "97_small.py"


@pytest.fixture
def edit(small):
    """Replace one text in the fixture source, which must be there exactly once."""

    def replace(old, new):
        text = small.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the fixture"
        small.write_text(text.replace(old, new), encoding="utf-8", newline="\n")
        return small

    return replace


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home for the learner's record."""
    monkeypatch.setenv("MTLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MTLKIT_STRICT", "0")
    monkeypatch.setenv("MTLKIT_ANSWERS", "hold")  # `mtlkit test` shows all
    monkeypatch.setattr(store, "_waiting", [])
    return tmp_path / "home"
