"""The course command, on small notebooks written here."""

import base64
import json
import re
import sys
from pathlib import Path

import nbformat
import polars as pl
import pytest

from mtlkit.course.learner.record import read_records, record
from mtlkit.course.runner import run as course
from mtlkit.course.runner.notebooks import NotebookRun, find_notebooks
from mtlkit.course.runner.report import records_html, write_report
from mtlkit.course.runner.report_outputs import outputs
from mtlkit.course.runner.report_tables import format_value, markdown_tables, safe_table, table_html

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63"
        "64f8cf500f00038601805a347d6b0000000049454e44ae426082"
    )
).decode()

GOOD = f'''
import os
import polars as pl
from mtlkit.course.learner.record import record
from IPython.display import Image, Markdown, display
record("rows", 1234)
record("mode", os.environ["MTLKIT_MODE"])
record("strict", os.environ["MTLKIT_STRICT"])
frame = pl.DataFrame({{"task": ["click", "buy"], "auc": [0.71234, 0.65]}})
record("who wins", frame, source="synthetic shop")
record("who wins", frame, source="Complete Journey", note="Groceries in stores.")
import base64
display(Image(base64.b64decode("{PIXEL}"), alt="A <single> pixel"))
display(Markdown("| model | auc |\\n|---|---|\\n| MMoE | 0.7 |"))
frame
'''


def write_notebook(path: Path, *cells: str, title: str = "A title") -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell(f"# {title}")]
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A course of three notebooks, the middle one failing, and a solution copy; run once."""
    folder = tmp_path_factory.mktemp("course")
    notebooks = folder / "notebooks"
    write_notebook(notebooks / "01_good.ipynb", GOOD, title="*Good* work")
    write_notebook(notebooks / "02_bad.ipynb", "x = 1", "raise ValueError('the shop is <shut>')")
    (notebooks / "03_not_a_notebook.ipynb").write_text("{", encoding="utf-8")
    write_notebook(notebooks / "solutions" / "01_good.ipynb", GOOD, title="*Good* work")
    runs = find_notebooks(notebooks, solutions=True)
    failed = course.run_course(runs, folder / "report", progress=False)
    return runs, failed, folder / "report"


@pytest.mark.notebook
def test_a_failing_notebook_does_not_stop_the_others(finished):
    runs, failed, _ = finished
    assert failed == 2
    assert [(run.name, run.copy, run.status) for run in runs] == [
        ("01_good", "learner", "ok"),
        ("02_bad", "learner", "failed"),
        ("03_not_a_notebook", "learner", "failed"),
        ("01_good", "solution", "ok"),
    ]


@pytest.mark.notebook
def test_a_failure_names_cell_error_and_message(finished):
    failure = finished[0][1].failure
    assert failure.cell == 3
    assert failure.sentence() == "cell 3 stopped with ValueError: the shop is <shut>"
    assert "raise ValueError" in failure.code
    assert "\x1b" not in failure.traceback


@pytest.mark.notebook
def test_kernels_get_the_mode_and_only_solutions_are_strict(finished):
    learner, solution = finished[0][0], finished[0][3]
    values = {entry["name"]: entry.get("value") for entry in learner.records}
    assert values["mode"] == "smoke"
    assert values["strict"] == "0"
    assert {e["name"]: e.get("value") for e in solution.records}["strict"] == "1"


@pytest.mark.notebook
def test_the_shop_is_passed_on_and_the_report_says_which(tmp_path, capsys):
    text = "from mtlkit.course import record, shop\nrecord('shop', shop())"
    write_notebook(tmp_path / "01_shop.ipynb", text)
    out = tmp_path / "out"
    call = ["--notebooks", str(tmp_path), "--output", str(out), "--shop", "3"]
    assert course.main(call) == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [entry["value"] for entry in results["notebooks"][0]["records"]] == [3]
    assert results["facts"]["Shop"].startswith("seed 3")
    with pytest.raises(SystemExit):
        course.main([*call[:-1], "-1"])
    assert "--shop must be a whole number from 0, not -1" in capsys.readouterr().err


@pytest.mark.notebook
def test_executed_copies_keep_their_outputs_and_the_sources_stay_untouched(finished):
    runs, _, report = finished
    executed = nbformat.read(report / "notebooks" / "01_good.ipynb", as_version=4)
    assert executed.cells[1].outputs
    original = nbformat.read(runs[0].path, as_version=4)
    assert original.cells[1].outputs == []


@pytest.mark.notebook
def test_results_for_programs_hold_state_and_records(finished):
    report = finished[2]
    results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    assert results["mode"] == "smoke"
    first, second = results["notebooks"][:2]
    assert first["failure"] is None and len(first["records"]) == 5
    assert second["failure"] == "cell 3 stopped with ValueError: the shop is <shut>"


@pytest.mark.notebook
def test_the_report_is_one_file_with_results_figures_and_failures(finished):
    page = (finished[2] / "index.html").read_text(encoding="utf-8")
    assert "2 of 4 notebooks reached their end" in page
    assert "<h2>Good work</h2>" in page
    assert f"data:image/png;base64,{PIXEL}" in page
    assert 'alt="A &lt;single&gt; pixel"' in page
    assert "<td>MMoE</td>" in page
    assert "the shop is &lt;shut&gt;" in page
    assert page.index("synthetic shop") < page.index("Complete Journey")
    assert "Groceries in stores." in page
    assert not re.search(r"(src|href)=\"https?:|@import|url\(http", page)
    assert page.count("<table") == page.count("</table>")


@pytest.mark.notebook
def test_a_kernel_that_does_not_start_is_started_once_more(tmp_path, monkeypatch):
    marker = tmp_path / "tried"
    script = tmp_path / "kernel.py"
    script.write_text(
        "import pathlib, sys\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n"
        "    marker.touch()\n"
        "    sys.exit('no port is free')\n"
        "from ipykernel.kernelapp import IPKernelApp\n"
        "IPKernelApp.launch_instance()\n",
        encoding="utf-8",
    )
    spec = {"argv": [sys.executable, str(script), "-f", "{connection_file}"]}
    spec |= {"display_name": "shaky", "language": "python"}
    folder = tmp_path / "jupyter" / "kernels" / "shaky"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path = write_notebook(tmp_path / "01_shaky.ipynb", "1 + 1")
    run = NotebookRun(path, "learner", "Shaky")
    course.execute(run, tmp_path / "report", kernel_name="shaky")
    assert run.status == "ok"
    log = tmp_path / "report" / "logs" / "learner-01_shaky.txt"
    assert "no port is free" in log.read_text(encoding="utf-8")


@pytest.mark.notebook
def test_a_kernel_that_never_starts_is_a_failure_of_this_notebook(tmp_path):
    path = write_notebook(tmp_path / "01_none.ipynb", "1 + 1")
    run = NotebookRun(path, "learner", "None")
    course.execute(run, tmp_path / "report", kernel_name="no-such-kernel")
    assert run.status == "failed"
    assert run.failure.cell == 0
    assert "the kernel did not start" in run.failure.sentence()
    assert "no-such-kernel" in run.failure.message


def test_only_chooses_by_number_or_name(tmp_path):
    for name in ("00_start", "02_share", "12_whole"):
        write_notebook(tmp_path / f"{name}.ipynb")
    chosen = find_notebooks(tmp_path, ["2", "12_whole"])
    assert [run.name for run in chosen] == ["02_share", "12_whole"]


def test_only_refuses_a_notebook_that_is_not_there(tmp_path):
    write_notebook(tmp_path / "02_share.ipynb")
    with pytest.raises(ValueError, match="no notebook 07"):
        find_notebooks(tmp_path, ["02", "07"])


def test_the_command_says_what_to_do_without_notebooks(tmp_path, capsys):
    assert course.main(["--notebooks", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "build" in capsys.readouterr().err


# Records


def test_a_record_comes_back_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLKIT_RECORD", str(tmp_path))
    frame = pl.DataFrame({"task": ["click"], "auc": [0.7], "wins": [None]})
    record("table", frame, source="shop")
    record("number", 0.5)
    record("number", float("nan"))
    table, number = read_records(tmp_path)
    assert table["columns"] == ["task", "auc", "wins"]
    assert table["rows"] == [["click", 0.7, None]]
    assert number["value"] == "nan"  # the second record of a name replaces the first


def test_records_of_one_name_and_two_sources_are_both_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLKIT_RECORD", str(tmp_path))
    record("auc", 0.7, source="shop")
    record("auc", 0.6, source="journey")
    assert [entry["source"] for entry in read_records(tmp_path)] == ["shop", "journey"]


def test_a_value_that_cannot_be_kept_is_refused_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLKIT_RECORD", str(tmp_path))
    with pytest.raises(TypeError, match=r"record\('model'\): cannot keep a object"):
        record("model", object())
    with pytest.raises(ValueError, match="501 rows"):
        record("long", pl.DataFrame({"x": range(501)}))
    assert list(tmp_path.iterdir()) == []


# The report's parts


def test_values_are_written_for_people():
    assert format_value(0.712345) == "0.7123"
    assert format_value(1234567) == "1,234,567"
    assert format_value(3.0) == "3.0"
    assert format_value(None) == "–"
    assert format_value(True) == "yes"
    assert format_value([0.25, 1]) == "0.25, 1"


def test_tables_from_notebooks_lose_scripts_styles_and_attributes():
    found = safe_table(
        "<div><style>td {}</style>before<table onclick='x()' class='frame'>"
        "<thead><tr><th>a</th></tr><tr><td>f64</td></tr></thead>"
        "<tbody><tr><td colspan='2' onload='y()'>&quot;one&quot;</td>"
        "<td><script>alert(1)</script>2 &lt; 3 <b>now</b></td></tr></tbody></table>after</div>"
    )
    assert found == (
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr>"
        '<td colspan="2">one</td><td>2 &lt; 3 <b>now</b></td></tr></tbody></table>'
    )


def test_an_unclosed_table_is_closed():
    assert safe_table("<table><tr><td>1").endswith("</table>")


def test_markdown_without_a_table_gives_none():
    assert markdown_tables("| not | a table") == []
    assert len(markdown_tables("text\n\n| a | b |\n|---|---|\n| 1 | 2 |")) == 1


def test_number_columns_are_aligned_and_text_is_escaped():
    entry = {"kind": "table", "columns": ["<a>", "n"], "rows": [["<x>", 1], ["y", None]]}
    found = table_html(entry)
    assert '<th scope="col">&lt;a&gt;</th><th scope="col" class="number">n</th>' in found
    assert '<td>&lt;x&gt;</td><td class="number">1</td>' in found


def test_fractions_in_a_column_get_equally_many_places():
    rows = [[0.7, 1e-9], [0.7123, 12345.6], [-0.25, 0.5], [None, 1.0]]
    found = table_html({"kind": "table", "columns": ["auc", "mixed"], "rows": rows})
    assert re.findall(r">([^<>]+)</td>", found)[::2] == ["0.7000", "0.7123", "-0.2500", "–"]
    assert re.findall(r">([^<>]+)</td>", found)[1::2] == ["1.00e-09", "12,346", "0.5", "1.0"]


def test_a_dictionary_of_dictionaries_becomes_rows_and_columns():
    entry = {"name": "x", "kind": "values", "value": {"click": {"auc": 0.5}, "buy": {"r2": 0.25}}}
    found = table_html(entry)
    assert found.count("<tr>") == 3
    assert "<td>click</td>" in found and "0.25" in found and "–" in found


def test_few_values_stand_in_a_row_and_many_below_each_other():
    few = table_html({"kind": "values", "value": {"mean": 0.5, "low": 0.25}})
    many = table_html({"kind": "values", "value": {f"item {n}": n for n in range(7)}})
    assert few.count("<tr>") == 2 and many.count("<tr>") == 8


def test_one_name_from_two_sources_stands_side_by_side():
    rows = [{"name": "t", "kind": "values", "value": {"a": 1}, "source": s} for s in ("one", "two")]
    found = records_html(rows)
    assert found.count('<div class="beside">') == 1
    assert found.count("<h3>t</h3>") == 1
    assert "<h4>one</h4>" in found and "<h4>two</h4>" in found


def test_a_figure_without_alt_text_is_called_so():
    output = nbformat.v4.new_output("display_data", data={"image/png": PIXEL})
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("", outputs=[output])]
    figures, tables = outputs(notebook)
    assert tables == []
    assert 'alt="Figure without a description"' in figures[0]


def test_a_solution_copy_shows_its_figures_only_without_a_learner_copy(tmp_path):
    output = nbformat.v4.new_output("display_data", data={"image/png": PIXEL})
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("", outputs=[output])]
    for name in ("a.ipynb", "b.ipynb"):
        nbformat.write(notebook, tmp_path / name)
    learner = NotebookRun(Path("01_x.ipynb"), "learner", "X", "ok", 1.0)
    learner.executed = tmp_path / "a.ipynb"
    solution = NotebookRun(Path("01_x.ipynb"), "solution", "X", "ok", 1.0)
    solution.executed = tmp_path / "b.ipynb"
    both = write_report([learner, solution], tmp_path / "both.html", {}, 2.0)
    alone = write_report([solution], tmp_path / "alone.html", {}, 125.0)
    assert both.read_text(encoding="utf-8").count("<figure>") == 1
    assert alone.read_text(encoding="utf-8").count("<figure>") == 1
    assert "in 2 min 05 s" in alone.read_text(encoding="utf-8")
