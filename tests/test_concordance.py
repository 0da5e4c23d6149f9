"""The concordance names every balancer, and only tests that exist."""

import re
from pathlib import Path

from mtlkit.balance import EVERY_BALANCER

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "notebooks" / "appendix" / "concordance.md").read_text(encoding="utf-8")
NAMES = re.findall(r"`(\w+)`", PAGE)


def test_every_balancer_has_its_row():
    missing = {kind.__name__ for kind in EVERY_BALANCER.values()} - set(NAMES)
    assert not missing


def test_every_test_that_the_concordance_names_exists():
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined.update(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M))
    named = {name for name in NAMES if name.startswith("test_")}
    assert len(named) > 50
    assert not named - defined


def test_every_row_has_all_its_columns():
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith("| question"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            assert len(cells) in (2, 5) and all(cell.strip() for cell in cells), line
