"""The findings of the course: one sentence a notebook, whose numbers and verdicts are stored."""

import json
import re
import string

import pytest
import yaml

from mtlkit.course.author import copies
from mtlkit.course.author.folders import copy_path, read_notebook, source_paths
from mtlkit.course.author.parse import parse
from mtlkit.course.learner import lesson, stored_tables
from mtlkit.course.runner import findings
from mtlkit.course.runner.finding_numbers import Number
from mtlkit.course.runner.findings import FindingError, load
from mtlkit.course.runner.report_outputs import figure_called
from tests.course.test_run_course import PIXEL

SOURCES = source_paths()
NUMBERS = [path.stem[:2] for path in SOURCES]
WORDS = 30


def test_every_notebook_of_the_course_has_a_finding():
    assert findings.numbers() == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_finding_is_one_short_sentence_whose_numbers_are_all_stored(number):
    found = load(number)
    assert len(found.answer.split()) <= WORDS and found.answer.endswith(".")
    assert re.search(r"\d", found.answer) and "{" not in found.answer and found.holds
    content = yaml.safe_load(lesson.path(number, findings.FILE).read_text(encoding="utf-8"))
    assert not re.search(r"\d", re.sub(r"\{[^}]*\}", "", content["answer"])), "a typed number"
    said = {name.partition(".")[0] for _, name, *_ in string.Formatter().parse(content["answer"])
            if name}  # fmt: skip
    for name, fields in content["numbers"].items():
        assert name in said or "says" in fields, f"{name} is neither said nor a claim"
    assert found.question == parse(SOURCES[NUMBERS.index(number)]).title.question


@pytest.mark.parametrize("path", SOURCES, ids=NUMBERS)
def test_the_telling_figure_is_in_the_executed_notebook(path):
    found = load(path.stem[:2])
    source = parse(path)
    for audience in copies.AUDIENCES:
        notebook = read_notebook(copy_path(source, audience))
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        figure = figure_called(notebook, found.figure)
        if figure or all(cell.execution_count is not None for cell in code):
            assert figure.startswith("<figure><img") and "figcaption" not in figure
        else:  # not run since its source changed: then by the title that the source gives it
            assert any(found.figure in cell.source for cell in code)


# A lesson of its own


GOOD = {
    "answer": "It gains {gain:.3f}, others {others.least:+.2f} to {others.most:+.2f}, {auc:.1f} %.",
    "numbers": {
        "gain": {"candidate": "b", "reference": "a", "task": "click", "says": "better"},
        "others": {"candidate": ["c", "d"], "reference": "a", "task": "click",
                   "says": "not better"},
        "level": {"candidate": "a", "task": "click"},
        "auc": {"record": "auc", "where": {"task": "click"}, "value": "model", "times": 100},
    },
    "main": "gain",
    "figure": "A figure",
}  # fmt: skip
LEVELS = {"a": 0.0, "b": 0.1, "c": -0.2, "d": 0.0}
SCORES = [
    {"model": "shared", "task": "income", "auc": 0.94321, "runs": 4},
    {"model": "experts", "task": "income", "auc": 0.95, "runs": 4},
    {"model": "experts", "task": "marital", "auc": None, "runs": 4},
]
RECORDS = [
    {"name": "auc", "kind": "table", "columns": ["task", "model"],
     "rows": [["click", 0.75], ["cart", None]]},
    {"name": "gap", "kind": "values", "value": {"mean": 0.5}},
    {"name": "seconds", "kind": "value", "value": 3},
]  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the finding of lesson 98 with some fields changed; its stored results are there."""
    import polars as pl

    monkeypatch.setattr(lesson, "FOLDER", tmp_path)
    folder = tmp_path / "nb98"
    rows = [
        {"shop": s, "candidate": name, "task": "click", "metric": "auc",
         **{f"seed {n}": 0.5 + n / 100 + level + s * n * 1e-4 * (name != "a")
            + (0.004 * (-1) ** n * (name == "d")) for n in range(4)}}
        for s in range(3) for name, level in LEVELS.items()
    ]  # fmt: skip
    folder.mkdir()
    stored_tables.write_tables(folder / "evidence", {"runs": pl.DataFrame(rows)}, {"shops": 3})
    tables = {"scores": pl.DataFrame(SCORES, orient="row")}
    stored_tables.write_tables(folder / "studies" / "tables" / "census", tables, {})
    (folder / "records.json").write_text(json.dumps({"records": RECORDS}), encoding="utf-8")
    cards = {"title": "T", "question": "Why?", "exercises": {}, "answers": {}}
    (folder / "cards.json").write_text(json.dumps(cards), encoding="utf-8")

    def change(text=None, **fields):
        content = text if text is not None else yaml.safe_dump({**GOOD, **fields})
        (folder / findings.FILE).write_text(content, encoding="utf-8")
        return load("98")

    return change


def with_number(**fields):
    return {"numbers": {**GOOD["numbers"], "gain": {**GOOD["numbers"]["gain"], **fields}}}


def of_study(**fields):
    usual = {"study": "census", "table": "scores", "where": {"model": "shared"}, "value": "auc"}
    return {"answer": "{x:.4f}", "numbers": {"x": {**usual, **fields}}, "main": "x"}


def test_a_number_may_be_of_a_study(write):
    found = write(**of_study())
    assert (found.answer, found.holds) == ("0.9432", "from a stored study")
    where = {"model": "experts", "task": "income"}
    assert write(**of_study(where=where, times=100)).answer == "95.0000"
    assert write(**of_study(value="runs")).answer == "4.0000"


def test_numbers_are_filled_in_and_the_shops_are_counted(write):
    found = write()
    assert found.answer == "It gains 0.100, others −0.20 to 0.00, 75.0 %."
    assert (found.question, found.holds) == ("Why?", "better on 3 of 3 shops")
    assert write(main="others").holds == "better on none of 3 shops"
    assert write(main="level").holds == "mean of 3 shops"
    assert write(main="auc").holds == "seen on one shop"
    for record, value, wanted in (("gap", "mean", "0.5"), ("seconds", "value", "3.0")):
        numbers = {"x": {"record": record, "value": value}}
        assert write(answer="{x:.1f}", numbers=numbers, main="x").answer == wanted


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": "answer: ["}, "is not YAML"),
        ({"text": "- 1"}, "its fields must be answer, numbers, main, figure"),
        ({"more": 1}, "its fields must be"),
        ({"numbers": {}}, "numbers must be entries"),
        ({"numbers": {"gain": 7}}, "number 'gain': it must have fields"),
        ({"answer": " "}, "answer must be a text"),
        ({"figure": 3}, "figure must be a text"),
        ({"main": "gian"}, r"main is 'gian', no number \(auc, gain, level, others"),
        ({"answer": "{gian}"}, "answer: KeyError: 'gian'"),
        ({"answer": "{others:.1f}"}, "several values: write .least"),
        ({"answer": "{gain.lest}"}, "AttributeError"),
        ({"answer": "{gain:.3q}"}, "answer: ValueError"),
        (with_number(says="worse"), "number 'gain': it says 'worse', the stored tables say"),
        (with_number(says="not better"), "it says 'not better', the stored tables say 'better'"),
        (with_number(says="good"), "says must be one of better, worse"),
        (with_number(candidate="z"), "no candidate 'z'"),
        (with_number(task="cart"), "no task 'cart'"),
        (with_number(place="x"), "no group 'place'"),
        ({"numbers": {"auc": {"record": "acu", "value": "model"}}}, "0 records are named 'acu'"),
        ({"numbers": {"auc": {"record": "auc", "value": "model"}}}, "2 rows of record 'auc'"),
        ({"numbers": {"auc": {"record": "gap", "value": "low"}}}, "with 'low'"),
        ({"numbers": {"auc": {"record": "auc", "where": {"task": "cart"}, "value": "model"}}},
         "is no number: None"),
        ({"numbers": {"auc": {"record": "auc", "typed": 3, "value": "model"}}}, "typed"),
        (of_study(study="cencus"), "number 'x': no study 'cencus' .*there are: census"),
        (of_study(table="score"), "no table 'score'; there are: scores"),
        (of_study(value="acu"), "1 rows of table 'scores' of study 'census' have .*with 'acu'"),
        (of_study(where={"model": "experts"}), "2 rows of table 'scores' of study 'census'"),
        (of_study(where={"model": "none"}), "0 rows of table 'scores'"),
        (of_study(where={"task": "marital"}), "'auc' of table 'scores' .* is no number: None"),
        (of_study(value="model"), "'model' of table 'scores' .* is no number: 'shared'"),
        (of_study(says="better"), "unexpected keyword argument 'says'"),
        ({"numbers": {"x": {"study": "census", "value": "auc"}}}, "argument: 'table'"),
    ],
)  # fmt: skip
def test_a_finding_that_breaks_its_format_or_says_what_is_not_stored_is_refused(
    write, fields, words
):
    with pytest.raises(FindingError, match=words) as error:
        write(**fields)
    assert "mtlkit/lessons/nb98/finding.yaml" in str(error.value)


def test_a_notebook_without_a_finding_is_told_what_to_write(write):
    with pytest.raises(FindingError, match=r"'97' has no finding: write mtlkit/lessons/nb97"):
        load("97")


@pytest.mark.parametrize(
    ("value", "form", "wanted"),
    [(-0.0004, "+.3f", "0.000"), (-0.012, "+.3f", "−0.012"), (0.02, "+.2f", "+0.02"),
     (51.4, ".0f", "51"), (0.0141, "", "0.0141"), (0.0, "+.1f", "0.0")],
)  # fmt: skip
def test_a_number_has_a_true_minus_and_zero_no_sign(value, form, wanted):
    assert format(Number((value,), ""), form) == wanted


def test_a_figure_is_found_by_how_its_alt_text_starts():
    def output(alt, data=PIXEL):
        return {"data": {"image/png": data}, "metadata": {"image/png": {"alt": alt}}}

    notebook = {"cells": [{"outputs": [output("One"), output("Two <b>")]}]}
    assert 'alt="Two &lt;b&gt;"' in figure_called(notebook, "Two")
    assert figure_called(notebook, "wo") == "" == figure_called({"cells": []}, "Two")
