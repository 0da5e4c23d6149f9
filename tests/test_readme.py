"""What the README says holds: its code runs, its links lead somewhere, its numbers are right."""

import re
from pathlib import Path

import pytest

import mtlkit
from mtlkit.balance import BALANCERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_readmes_code_trains_a_model_that_the_oracle_beats(monkeypatch):
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    shown = []
    monkeypatch.setenv("TQDM_DISABLE", "1")
    exec(compile(code, "README.md", "exec"), {"print": shown.append, "mtlkit": mtlkit})
    trained, oracle = shown
    assert 0.65 < trained < oracle


def test_every_relative_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_notebook_has_its_row():
    rows = re.findall(r"\]\(notebooks/(\w+)\.ipynb\) \|", README)
    assert rows == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_number_of_balancers_is_about_right():
    assert "about thirty:" in README and 25 <= len(BALANCERS) <= 35
