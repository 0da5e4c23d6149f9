"""Modes and sizes."""

import pytest

from mtlkit.course import mode, sizes
from mtlkit.course.learner import modes


def test_the_mode_is_full_unless_set(monkeypatch):
    monkeypatch.delenv("MTLKIT_MODE", raising=False)
    assert mode() == "full"
    monkeypatch.setenv("MTLKIT_MODE", " Smoke ")
    assert mode() == "smoke"
    monkeypatch.setenv("MTLKIT_MODE", "fast")
    with pytest.raises(ValueError, match="MTLKIT_MODE must be"):
        mode()


def test_sizes_follow_the_mode_and_the_argument_wins(monkeypatch):
    monkeypatch.setattr(modes, "SIZES", {"98": {"rows": (10, 1000)}})
    monkeypatch.setenv("MTLKIT_MODE", "smoke")
    assert sizes("98").rows == 10
    assert sizes("98", "full").rows == 1000
    with pytest.raises(KeyError, match="add its row to SIZES"):
        sizes("99")
    with pytest.raises(ValueError, match='must be "smoke" or "full"'):
        sizes("98", "huge")


@pytest.mark.parametrize("notebook", modes.SIZES)
def test_every_row_of_the_table_is_a_pair_and_smoke_is_never_larger(notebook):
    for name, pair in modes.SIZES[notebook].items():
        smoke, full = pair
        if isinstance(smoke, int | float):
            assert smoke <= full, name
