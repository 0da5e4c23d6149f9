"""Records of a full run: stored with the lesson, and told when they no longer hold."""

import json

import pytest

from mtlkit.course.author import build
from mtlkit.course.author.make import build_one
from mtlkit.course.author.stale import orphans, stale_records
from mtlkit.course.learner import lesson
from mtlkit.course.learner.stored_tables import write_tables
from mtlkit.course.runner import full_runs, keys

GOLDEN = {"shop": {"small: live": "aa"}, "training": {"MMoE: ten steps": [1.0, 2.0]}}
PRINT = 'print("the mode is", MODE)'


@pytest.fixture
def golden(tmp_path, monkeypatch):
    path = tmp_path / "values.json"
    path.write_text(json.dumps(GOLDEN), encoding="utf-8")
    monkeypatch.setattr(keys, "GOLDEN", path)
    return path


@pytest.fixture
def stored(small, folders, golden, edit):
    """The fixture notebook built, with records as if a full run had just ended."""
    build.main([], folders)
    path = full_runs.place("97", folders.lessons)
    entries = [{"name": "rows", "kind": "value", "value": 3}]
    text = full_runs.as_json("97", build_one(small, folders).learner, entries)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def said(small, folders):
    return " ".join(stale_records(build_one(small, folders), folders))


@pytest.mark.notebook
def test_a_full_run_stores_its_records_and_a_smoke_run_does_not(folders, golden, edit):
    edit(PRINT, "from mtlkit.course import record\n\nrecord('doubled', {'of': MODE, 'is': 8})")
    assert build.main(["--execute", "--smoke"], folders) == 0
    path = full_runs.place("97", folders.lessons)
    assert not path.exists()
    assert build.main(["--execute"], folders) == 0
    [entry] = full_runs.read("97", folders.lessons)
    assert (entry["name"], entry["value"]) == ("doubled", {"of": "full", "is": 8})
    key = json.loads(path.read_text(encoding="utf-8"))["key"]
    assert list(key) == ["cells", "sizes", "torch", "evidence", "studies", "golden"]
    assert set(key["golden"]) == {"small: live", "MMoE: ten steps"}
    assert all(len(value) == 8 for value in key["golden"].values())
    assert b"\r" not in path.read_bytes()
    before = path.read_bytes()
    assert build.main(["--check"], folders) == 0
    assert build.main(["--execute", "--smoke"], folders) == 0
    assert path.read_bytes() == before


def test_a_lesson_without_records_says_nothing(small, folders, golden):
    build.main([], folders)
    assert said(small, folders) == ""
    assert full_runs.read("97", folders.lessons) is None


def test_a_code_cell_edited_without_a_run_is_refused(small, folders, stored, edit, capsys):
    assert build.main(["--check"], folders) == 0
    edit(PRINT, 'print("mode:", MODE)')
    assert build.main([], folders) == 0
    capsys.readouterr()
    assert build.main(["--check"], folders) == 1
    told = capsys.readouterr().err
    assert "The records of notebook 97 are stale: the notebook's code, from code cell 6 on" in told
    assert "run `python -m mtlkit build --only 97 --execute`" in told


def test_a_cell_that_is_added_or_taken_away_is_refused(small, folders, stored):
    text = small.read_text(encoding="utf-8")
    small.write_text(text + "\n# %%\nprint(1)\n", encoding="utf-8")
    assert "from code cell 8 on" in said(small, folders)
    small.write_text(text.replace(f"# %%\n{PRINT}\n", ""), encoding="utf-8")
    assert "from code cell 6 on" in said(small, folders)


def test_text_solutions_and_line_ends_move_nothing(small, folders, stored, edit):
    edit("# ## A story", "# ## Another story")
    edit("doubled_number = number * 2", "doubled_number = 2 * number")
    assert said(small, folders) == ""
    stored.write_bytes(stored.read_bytes().replace(b"\n", b"\r\n"))
    assert said(small, folders) == ""
    assert full_runs.read("97", folders.lessons)[0]["value"] == 3


def test_sizes_torch_and_frozen_numbers_that_moved_are_named(small, folders, stored, golden,
                                                            monkeypatch):  # fmt: skip
    import torch

    monkeypatch.setattr(keys, "full_sizes", lambda number: {"rows": "9"})
    assert "size rows (none, now 9) moved" in said(small, folders)
    monkeypatch.undo()
    monkeypatch.setattr(keys, "GOLDEN", golden)
    monkeypatch.setattr(torch, "__version__", "1.0+cpu")
    assert "now 1.0) moved" in said(small, folders)
    monkeypatch.setattr(torch, "__version__", json.loads(stored.read_text())["key"]["torch"])
    golden.write_text(json.dumps({"new": {"small: live": "aa", "MMoE: ten steps": [1.0, 2.1]}}))
    assert 'the frozen number "MMoE: ten steps" moved' in said(small, folders)
    golden.write_text(json.dumps({"new": {"small: live": "aa"}}))
    assert '"MMoE: ten steps", which is gone' in said(small, folders)
    golden.write_text(json.dumps({**GOLDEN, "more": {"PLE: ten steps": [0.0]}}))
    assert said(small, folders) == ""


def test_stored_tables_that_changed_after_the_run_are_named(small, folders, golden, monkeypatch):
    import polars as pl

    build.main([], folders)
    monkeypatch.setattr(lesson, "FOLDER", folders.lessons)
    place = full_runs.place("97", folders.lessons)
    notebook = build_one(small, folders).learner
    place.write_text(full_runs.as_json("97", notebook, []), encoding="utf-8")
    tables = lesson.path("97", "evidence")
    write_tables(tables, {"runs": pl.DataFrame({"shop": [0]})}, {})
    assert said(small, folders) == ""  # the run did not read them, or it would have failed
    place.write_text(full_runs.as_json("97", notebook, []), encoding="utf-8")
    write_tables(tables, {"runs": pl.DataFrame({"shop": [1]})}, {})
    assert "the stored evidence that the notebook shows moved" in said(small, folders)


def test_damaged_records_are_told_and_lost_notebooks_leave_none_behind(small, folders, stored):
    stored.write_text('{"key": {}', encoding="utf-8")
    assert "records.json of notebook 97 is damaged; run" in said(small, folders)
    with pytest.raises(ValueError, match=r"records\.json of notebook 97 is damaged"):
        full_runs.read("97", folders.lessons)
    stored.write_text('{"key": {}, "records": []}', encoding="utf-8")
    assert "the form of the key, which says nothing of cells" in said(small, folders)
    small.unlink()
    assert "lessons/nb97/records.json: its source is gone; delete it" in orphans(folders)


def test_many_frozen_numbers_are_counted(golden):
    old = {"golden": {f"n{i}: x": "0" for i in range(9)}}
    told = keys.moved(old, {"golden": {}})
    assert len(told) == 5 and told[-1] == "5 more frozen numbers"


def test_a_failed_run_stores_nothing(folders, golden, edit):
    edit(PRINT, "from mtlkit.course import record\n\nrecord('rows', 3)\n1 / 0")
    assert build.main(["--execute"], folders) == 1
    assert not full_runs.place("97", folders.lessons).exists()
