"""The report is a page that no output can take over, and no single file can end a course."""

import base64
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from mtlkit.course.learner.record import is_record, read_records
from mtlkit.course.runner import run as course
from mtlkit.course.runner.notebooks import Failure, NotebookRun, find_notebooks
from mtlkit.course.runner.report import POLICY, write_report
from mtlkit.course.runner.report_outputs import UNREADABLE, outputs
from mtlkit.course.runner.report_tables import safe_table
from tests.course.test_run_course import PIXEL, write_notebook

BAD = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "' onerror='alert(1)",
    '" onload="alert(1)',
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<iframe srcdoc='<script>1</script>'>",
    "javascript:alert(1)",
    "<a href='javascript:alert(1)'>x</a>",
    "<!--><script>alert(1)</script>-->",
    "<table><tr><td><script>alert(1)</td></tr></table>",
    "<TABLE ONCLICK=alert(1)><TR><TD>x",
    "<table><tr><td colspan='1\"><script>alert(1)</script>'>x</td></tr></table>",
    "<table><tr><td><iframe></td></tr></table><p>after",
    "<table><!--</table><script>1//--></table>",
    "<table><tr><td>&lt;script&gt;alert(1)&lt;/script&gt;</td></tr></table>",
    "<table><![CDATA[<script>",
    "<table><tr><td><style><script>alert(1)</script></style></td></tr></table>",
    "<table <script>",
    "| a | b |\n|---|---|\n| <script>alert(1)</script> | [x](javascript:alert(1)) |",
    '| a |\n|---|\n| ![x](x" onerror=alert(1)) |',
    "<table><math><mi//xlink:href='javascript:1'>",
    "<table><tr><td><b onmouseover=alert(1)>x</b><form action=//x><input></form></td></tr></table>",
    "<meta http-equiv=refresh content='0;url=//x'>",
    "<base href=//x>",
    "\ud800",
    "\x00<script>",
    "",
]
KINDS = ["image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown", "text/plain"]
KINDS += ["application/javascript", "text/latex", "application/json"]

ALLOWED = {
    "html": {"lang"}, "meta": {"charset", "name", "content", "http-equiv"}, "i": {"style"},
    "a": {"href"}, "section": {"class", "aria-label", "id"}, "th": {"scope", "class", "colspan",
    "rowspan"}, "td": {"class", "colspan", "rowspan", "scope"}, "img": {"loading", "alt", "src"},
    "div": {"class", "role", "tabindex", "aria-label", "id"}, "details": {"open"},
    "p": {"class"}, "span": {"class"},
    "dl": {"class"}, "tr": {"colspan", "rowspan", "scope"}, "table": {"scope"},
}  # fmt: skip
PLAIN = "head title style body header h1 h2 h3 h4 main footer code figure figcaption thead tbody"
PLAIN += " tfoot caption b strong em sub sup br small dt dd pre details summary"
PICTURE = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,[A-Za-z0-9+/]*={0,2}")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Thousands of pages are written here; that each reaches the disk is tested elsewhere."""
    monkeypatch.setattr("mtlkit.files.os.fsync", lambda handle: None)


class Page(HTMLParser):
    """Fails at the first tag or attribute that is not the report's own."""

    def __init__(self):
        super().__init__()
        self.open, self.metas = [], 0

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        assert tag in ALLOWED or tag in PLAIN.split(), tag
        assert set(names) <= ALLOWED.get(tag, set()), (tag, attrs)
        self.metas += tag == "meta"
        assert re.fullmatch(r"width:[\d.]+%", names.get("style", "width:1%"))
        assert tag != "img" or PICTURE.fullmatch(names["src"]), names
        assert tag != "a" or re.match(r"#|(notebooks|solutions)/", names["href"]), names


def safe(page):
    """Parse a report strictly; its tables and figures must be closed."""
    reader = Page()
    reader.feed(page)
    reader.close()
    assert reader.metas == 3 and f'content="{POLICY}"' in page
    assert not re.search(r"<(script|iframe|object|embed|form|link|base|svg|math)", page, re.I)
    for tag in ("table", "figure", "section", "div", "pre"):
        assert page.count(f"<{tag}>") + page.count(f"<{tag} ") == page.count(f"</{tag}>"), tag
    return page


def report_of(cells, folder, **more):
    """The page about one notebook whose code cells have these outputs."""
    notebook = nbformat.v4.new_notebook()
    cell = {"cell_type": "code", "metadata": {}, "source": "", "execution_count": None}
    notebook.cells = [{**cell, "id": f"c{n}", "outputs": found} for n, found in enumerate(cells)]
    run = NotebookRun(Path("01_x.ipynb"), "learner", more.pop("title", "X"), "failed", 1.0, **more)
    run.executed = folder / "notebooks" / "01_x.ipynb"
    run.executed.parent.mkdir(exist_ok=True)
    run.executed.write_text(json.dumps(notebook), encoding="utf-8")
    write_report([run], folder / "index.html", {"Fact": more.get("fact", "x")}, 1.0)
    return safe((folder / "index.html").read_text(encoding="utf-8"))


def shown(data, metadata=None):
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


@pytest.mark.parametrize("kind", KINDS)
def test_no_bundle_of_one_kind_runs_anything(tmp_path, kind):
    for bad in BAD:
        for content in (bad, [bad, bad], {"x": bad}, PIXEL + bad, bad + PIXEL):
            alt = {kind: {"alt": bad}, "alt": bad}
            report_of([[shown({kind: content}, alt)]], tmp_path)


def test_a_fuzz_of_bundles_runs_nothing(tmp_path):
    draw = random.Random(0)
    odd = [None, 1, [], {}, [None, 2], {"alt": None}, {"image/png": 3}, "<script>1</script>"]
    for _ in range(150):
        cells = []
        for _ in range(3):
            kinds = draw.sample(KINDS, draw.randrange(1, 4))
            data = {kind: draw.choice([*BAD, PIXEL, *odd]) for kind in kinds}
            whole = shown(data, draw.choice([{kinds[0]: {"alt": draw.choice(BAD)}}, *odd]))
            whole = draw.choice([whole, whole, whole, {**whole, "data": draw.choice(odd)}])
            cells.append([whole])
        report_of(cells, tmp_path)


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_titles_errors_records_and_names_are_escaped(tmp_path, bad):
    values = [7, None, [bad, {"a": bad}], {bad: bad}, {bad: {bad: bad}}]
    records = [
        {"name": bad, "kind": "value", "value": v, "source": bad, "note": bad} for v in values
    ]
    records += [{"name": bad, "kind": "values", "value": {bad: {bad: bad}}, "source": bad}]
    records += [{"name": bad, "kind": "table", "columns": [bad], "rows": [[bad], [None]]}]
    failure = Failure(1, bad, bad, bad, bad)
    page = report_of([], tmp_path, title=bad, failure=failure, records=records)
    assert "Its outputs cannot be shown" not in page


@pytest.mark.parametrize(
    "data",
    ["no base64!", PIXEL[:-3], PIXEL[:20] + "<" + PIXEL[20:], PIXEL + "=", "", "aGVsbG8=",
     base64.b64encode(b"\xff\xd8\xffjpeg").decode(), 5, None, "é"],
)  # fmt: skip
def test_a_picture_that_is_none_is_left_out_and_said(data):
    notebook = {"cells": [{"outputs": [shown({"image/png": data})]}]}
    assert outputs(notebook) == ([UNREADABLE], [])


def test_pictures_that_are_some_are_shown_as_they_are():
    lines = [PIXEL[:40] + "\n", PIXEL[40:]]
    jpeg = base64.b64encode(b"\xff\xd8\xff\xe0 a picture").decode()
    for data, wanted in (
        ({"image/png": PIXEL}, f"image/png;base64,{PIXEL}"),
        ({"image/png": lines}, f"image/png;base64,{PIXEL}"),
        ({"image/jpeg": jpeg}, f"image/jpeg;base64,{jpeg}"),
        (
            {"image/svg+xml": "<svg/>"},
            "image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(),
        ),
    ):
        figures, _ = outputs({"cells": [{"outputs": [shown(data)]}]})
        assert f'src="data:{wanted}"' in figures[0]


def test_an_element_that_hides_the_end_of_its_table_leaves_no_table_open():
    found = safe_table("<table><tr><td><object>hidden</td></tr></table> after")
    assert found == "<table><tr><td></table>"


# One bad file


NO_NOTEBOOKS = {
    "no json": b"{", "a list": b"[]", "empty": b"", "bytes": bytes(range(256)), "number": b"7",
    "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells is a number": b'{"cells": 5, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells of numbers": b'{"cells": [1], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "no metadata": b'{"cells": [], "nbformat": 4, "nbformat_minor": 5}',
    "a cell without a source": b'{"cells": [{"cell_type": "code", "metadata": {}, "outputs": [], '
    b'"execution_count": null}], "nbformat": 4, "nbformat_minor": 4, "metadata": {}}',
    "version": b'{"cells": [], "nbformat": 99, "nbformat_minor": 5, "metadata": {}}',
    "deep": b"[" * 100_000, "half": '{"cells": []}'.encode("utf-16"),
}  # fmt: skip


def test_a_file_that_is_no_notebook_fails_alone_and_says_why(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for place, content in enumerate(NO_NOTEBOOKS.values()):
        (folder / f"{place:02d}_bad.ipynb").write_bytes(content)
    (folder / "90_folder.ipynb").mkdir()
    runs, out = find_notebooks(folder), tmp_path / "out"
    old = out / "notebooks" / "00_bad.ipynb"
    write_notebook(old, "old")
    assert course.run_course(runs, out, progress=False) == len(runs) == len(NO_NOTEBOOKS) + 1
    for run in runs:
        assert run.failure.sentence().startswith("the file is no notebook: "), run.failure
        assert len(run.failure.sentence()) > 30
    page = safe((out / "index.html").read_text(encoding="utf-8"))
    assert page.count("the file is no notebook") == len(runs)
    assert "Executed copy" not in page  # that of an earlier run is none of this one
    assert len(json.loads((out / "results.json").read_text(encoding="utf-8"))["notebooks"]) == 14


@pytest.mark.notebook
@pytest.mark.parametrize("end", ["exit()", "quit()", "get_ipython().ask_exit()"])
def test_a_cell_that_ends_the_kernel_is_a_failure_also_as_the_last_one(tmp_path, end):
    path = write_notebook(tmp_path / "01_exit.ipynb", "x = 1", f"x = 2\n{end}")
    run = course.execute(NotebookRun(path, "learner", "Exit"), tmp_path / "out")
    assert (run.status, run.failure.cell, run.failure.error) == ("failed", 3, "KernelExit")
    assert "leave out exit()" in run.failure.sentence() and "x = 2" in run.failure.code


def test_records_of_any_form_end_no_report(tmp_path):
    good = {"name": "n", "kind": "value", "value": 1}
    strange = [
        {**good, "name": 5}, {**good, "kind": "table"}, {**good, "kind": "values"}, {"name": "x"},
        {**good, "kind": "table", "columns": ["a"], "rows": [[1, 2]]}, {**good, "kind": []}, [], 3,
        {**good, "kind": "table", "columns": "ab", "rows": []}, {**good, "note": {"a": 1}},
    ]  # fmt: skip
    nested = 1
    for _ in range(300):
        nested = [nested]
    strange.append({**good, "value": nested})
    for place, entry in enumerate([*strange, good]):
        (tmp_path / f"{place}.json").write_text(json.dumps(entry), encoding="utf-8")
    (tmp_path / "deep.json").write_bytes(b"[" * 100_000)
    (tmp_path / "nan.json").write_text('{"name": "nan", "kind": "value", "value": NaN}')
    assert not any(map(is_record, strange))
    found = read_records(tmp_path)
    assert sorted((e["name"], e["value"]) for e in found) == [("n", 1), ("nan", "NaN")]
    json.dumps(found, allow_nan=False)
    report_of([], tmp_path, records=[*strange, good])
