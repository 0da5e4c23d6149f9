"""The scripts of examples/: short, each with its trap, and the audit names the trap."""

import re
import runpy
from pathlib import Path

import pytest

import mtlkit
from mtlkit.data.real import public

FOLDER = Path(__file__).parents[2] / "examples"
PAGE = "mtl_in_120_lines.py"  # reads no file: test_mtl_in_120_lines.py
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name != PAGE)
TRAPS = {  # script -> what its audit says once, before the trap is out of the way
    "census_income.py": "Column 'c7' alone gives never an AUC of",
    "kuairand.py": "gap between scenarios: The AUC of is_click is",
    "online_retail.py": "▲ groups across the cut: 100 % of the test rows have a week",
    "online_shoppers.py": "Column 'PageValues' alone gives Revenue an AUC of",
    "scms_delivery.py": "▲ groups across the cut: ",
    "womens_reviews.py": "Column 'Rating' alone gives good an AUC of",
}


def test_every_script_has_its_trap():
    assert sorted(TRAPS) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_at_most_25_readable_lines(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) <= 25 and max(map(len, lines)) <= 100
    assert "The trap: " in lines[0]
    assert 4 <= sum("mtlkit" in line for line in lines) <= 10
    assert f"({name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_and_its_audit_names_the_trap(name, capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    text = (FOLDER / name).read_text(encoding="utf-8")
    (asked,) = re.findall(r'locate\("(\w+)", "([\w.-]+)"\)', text)
    if public.find(*asked) is None:
        pytest.skip(f"{asked[0]} is not here: set MTLKIT_DATA")
    names = runpy.run_path(str(FOLDER / name))
    shown = capsys.readouterr().out
    assert shown.count(TRAPS[name]) == 1
    assert "Comparison of apart, shared" in shown
    assert isinstance(names["data"], mtlkit.Prepared)
