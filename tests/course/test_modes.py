"""Modes and sizes."""

import sys
from types import SimpleNamespace

import pytest

from mtlkit.course import mode, sizes
from mtlkit.course.learner import lesson


def test_the_mode_is_full_unless_set(monkeypatch):
    monkeypatch.delenv("MTLKIT_MODE", raising=False)
    assert mode() == "full"
    monkeypatch.setenv("MTLKIT_MODE", " Smoke ")
    assert mode() == "smoke"
    monkeypatch.setenv("MTLKIT_MODE", "fast")
    with pytest.raises(ValueError, match="MTLKIT_MODE must be"):
        mode()


def test_sizes_follow_the_mode_and_the_argument_wins(tmp_path, monkeypatch):
    (tmp_path / "nb98").mkdir()
    (tmp_path / "nb98" / "sizes.py").touch()
    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    content = SimpleNamespace(SIZES={"rows": (10, 1000)})
    monkeypatch.setitem(sys.modules, "mtlkit.lessons.nb98", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mtlkit.lessons.nb98.sizes", content)
    monkeypatch.setenv("MTLKIT_MODE", "smoke")
    assert sizes("98").rows == 10
    assert sizes("98", "full").rows == 1000
    for unknown in ("99", "../x", 98):
        with pytest.raises(KeyError, match=r"write them into .*sizes\.py \(known: 98\)"):
            sizes(unknown)
    with pytest.raises(ValueError, match='must be "smoke" or "full"'):
        sizes("98", "huge")


@pytest.mark.parametrize("notebook", lesson.numbers("sizes.py"))
def test_every_size_of_a_lesson_is_a_pair_and_smoke_is_never_larger(notebook):
    for name, pair in lesson.module(notebook, "sizes").SIZES.items():
        smoke, full = pair
        if isinstance(smoke, int | float):
            assert smoke <= full, name
