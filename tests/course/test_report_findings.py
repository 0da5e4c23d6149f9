"""The first page of the course report, and what is folded below it."""

import re
from pathlib import Path

import nbformat
import pytest

from mtlkit.course.learner import cards
from mtlkit.course.runner import findings
from mtlkit.course.runner.notebooks import Failure, NotebookRun
from mtlkit.course.runner.report import ANSWERS, write_report
from tests.course.test_report_safety import safe
from tests.course.test_run_course import PIXEL

FAILED = Failure(3, "1 / 0", "ZeroDivisionError", "division by zero")


def report(tmp_path, numbers, titles=None, failure=None, pictures=()):
    """A report about notebooks of these numbers; pictures: (alt text, tags)."""
    runs = []
    for number in numbers:
        title = (titles or {}).get(number, f"{number} · {cards.load(number)['title']}")
        run = NotebookRun(Path(f"{number}_x.ipynb"), "learner", title, "ok", 2.0)
        run.executed = tmp_path / "notebooks" / run.path.name
        notebook = nbformat.v4.new_notebook()
        for alt, tags in pictures:
            data, metadata = {"image/png": PIXEL}, {"image/png": {"alt": alt}}
            output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
            cell = nbformat.v4.new_code_cell("", outputs=[output], metadata={"tags": list(tags)})
            notebook.cells.append(cell)
        run.executed.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, run.executed)
        if failure is not None:
            run.status, run.failure = "failed", failure
        runs.append(run)
    page = write_report(runs, tmp_path / "index.html", {"Fact": "x"}, 3.0)
    return safe(page.read_text(encoding="utf-8"))


def first_page(page):
    return re.search(r'<section class="findings".*?</section>', page, re.S)[0]


def test_the_report_opens_with_question_answer_shops_and_figure(tmp_path):
    found = findings.load("02")
    page = report(tmp_path, ["01", "02"], pictures=[(found.figure + " and more", [])])
    opening = first_page(page)
    for text in (found.question, found.answer, found.holds.capitalize()):
        assert text in opening
    assert opening.count("<figure>") == 1 and opening.count('class="finding"') == 2
    assert '<a href="#learner-02_x">02</a>' in opening and 'id="learner-02_x"' in page
    assert page.index('class="findings"') < page.index("How the run went")


def test_details_are_folded_unless_a_notebook_failed(tmp_path):
    page = report(tmp_path, ["01", "02"])
    assert page.count("<details>") == 3 and "<details open>" not in page
    page = report(tmp_path, ["01"], failure=FAILED)
    assert page.count("<details open>") == 2


def test_answers_to_guesses_are_folded_by_themselves(tmp_path):
    page = report(tmp_path, ["01"], pictures=[("Open.", []), ("Secret.", ["hide-output"])])
    before, _, after = page.partition(f"<summary>{ANSWERS}</summary>")
    assert "Open." in before and "Secret." not in before
    assert "Secret." in after.partition("</details>")[0]
    assert ANSWERS not in report(tmp_path, ["01"], pictures=[("Open.", [])])


def test_a_notebook_of_the_same_number_that_is_not_the_course_s_has_no_finding(tmp_path):
    page = report(tmp_path, ["01"], titles={"01": "My own work"})
    assert 'class="findings"' not in page


@pytest.mark.parametrize("broken", ["answer: [", "answer: <script>alert(1)</script>"])
def test_a_finding_that_cannot_be_read_is_said_and_the_report_stands(tmp_path, monkeypatch, broken):
    def load(number):
        raise findings.FindingError(broken)

    monkeypatch.setattr(findings, "load", load)
    assert "No finding can be shown" in first_page(report(tmp_path, ["01"]))
