"""Modes, shops and sizes."""

import sys
from types import SimpleNamespace

import pytest

import mtlkit.course
from mtlkit.course import mode, shop, sizes
from mtlkit.course.learner import lesson, modes


def test_the_mode_is_full_unless_set(monkeypatch):
    monkeypatch.delenv("MTLKIT_MODE", raising=False)
    assert mode() == "full"
    monkeypatch.setenv("MTLKIT_MODE", " Smoke ")
    assert mode() == "smoke"
    monkeypatch.setenv("MTLKIT_MODE", "fast")
    with pytest.raises(ValueError, match="MTLKIT_MODE must be"):
        mode()


def test_the_shop_is_0_unless_set(monkeypatch):
    monkeypatch.delenv("MTLKIT_SHOP", raising=False)
    assert shop() == 0
    monkeypatch.setenv("MTLKIT_SHOP", " 12 ")
    assert shop() == 12
    for wrong in ("-1", "1.5", "small", "²", "1_0"):
        monkeypatch.setenv("MTLKIT_SHOP", wrong)
        with pytest.raises(ValueError, match="MTLKIT_SHOP must be a whole number from 0, found"):
            shop()


@pytest.fixture
def notebook(monkeypatch):
    """As if this were a notebook that has said nothing yet."""
    fake = SimpleNamespace(get_ipython=lambda: object())
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setattr(modes, "_said", False)
    return fake


@pytest.mark.parametrize("first", [mode, modes.announce, lambda: sizes("00", "smoke")])
def test_a_notebook_in_smoke_mode_says_so_once(notebook, monkeypatch, capsys, first):
    monkeypatch.setenv("MTLKIT_MODE", "smoke")
    first()
    assert capsys.readouterr().out == f"{modes.SMOKE}\n"
    assert "too small" in modes.SMOKE
    mode()
    modes.announce()
    assert capsys.readouterr().out == ""


def test_a_notebook_in_full_mode_and_a_program_in_smoke_mode_say_nothing(
    notebook, monkeypatch, capsys
):
    for value in ("full", "nonsense"):  # what is wrong is said by mode(), not by the import
        monkeypatch.setenv("MTLKIT_MODE", value)
        modes.announce()
    sizes("00", "full")
    monkeypatch.setenv("MTLKIT_MODE", "smoke")
    notebook.get_ipython = lambda: None
    mode()
    assert capsys.readouterr().out == "" and "shop" in mtlkit.course.__all__


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
        if name == "every":  # a stride: one row of so many
            smoke, full = full, smoke
        if isinstance(smoke, int | float):
            assert smoke <= full, name
