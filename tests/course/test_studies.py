"""Stored studies: experiments without shops, run, stored, read back, and told when stale."""

import dataclasses
import re

import polars as pl
import pytest

from mtlkit.course import study
from mtlkit.course.runner import evidence as command
from mtlkit.course.runner import full_runs, keys, studies
from mtlkit.course.runner.table_makers import MakerError
from tests.course.temporary_lesson import GOLDEN, mounted

CENSUS = """
import polars as pl

from mtlkit.lessons.nb96.studies import _tools

USES = ("small", "MMoE")
SIZES = {
    "seeds": (2, 3),
    "rows": (10, 100),
}


def study(size, store):
    names = [f"{_tools.MODEL} {seed}" for seed in range(size.seeds)]
    auc = [0.123456789 + seed for seed in range(size.seeds)]
    scores = pl.DataFrame({"model": names, "auc": auc, "best": [True] + [None] * (len(auc) - 1)})
    done = pl.DataFrame({"runs": [size.rows], "note": pl.Series([""], dtype=pl.Categorical)})
    return {"scores": scores, "done": done.with_columns(share=pl.lit(2 / 3, dtype=pl.Float32))}
"""
OTHER = """
from pathlib import Path

import polars as pl

USES = ("tiny",)
SIZES = {"rounds": (1, 2)}


def study(size, store):
    runs = store / "runs"
    for round in range(size.rounds):
        with runs.open("a", encoding="utf-8") as file:
            file.write("x")
        if Path(STOP).exists() and round == 0:
            raise KeyboardInterrupt
    return {"runs": pl.DataFrame({"rounds": [len(runs.read_text(encoding="utf-8"))]})}
"""
FILES = {
    "__init__": "",
    "studies/__init__": "",
    "studies/_tools": 'MODEL = "shared"\n',
    "studies/census": CENSUS,
}
TABLES = "studies/tables/census"
RUN = "run `python -m mtlkit evidence 96 --study census`"


@pytest.fixture
def small(tmp_path, monkeypatch):
    with mounted(FILES, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def run(small, tmp_path):
    """Run the command with a store of its own; the exit code."""

    def call(name="census", *arguments):
        return command.main(["96", "--study", name, "--store", str(tmp_path / "store"), *arguments])

    return call


def test_the_command_stores_tables_and_a_key(small, run, capsys):
    assert run() == 0
    said = capsys.readouterr().out
    assert "Notebook 96, study census: 0 s" in said
    assert "Stored scores, done in mtlkit/lessons/nb96/studies/tables/census." in said
    assert sorted(small.stored(TABLES)) == ["done.csv", "key.json", "scores.csv"]
    lines = small.stored(TABLES)["scores.csv"].decode("utf-8").split("\n")
    assert lines == ["model,auc,best", "shared 0,0.12346,true", "shared 1,1.1235,",
                     "shared 2,2.1235,", ""]  # fmt: skip
    key = small.key(TABLES)
    assert list(key) == ["code", "sizes", "torch", "golden", "tables"]
    assert list(key["code"]) == ["__init__.py", "_tools.py", "census.py"]
    assert key["sizes"] == {"seeds": "3", "rows": "100"}
    assert list(key["golden"]) == ["small, seed 1: live", "small: demand", "MMoE: ten steps"]


def test_what_is_read_is_what_was_stored(run):
    run()
    found = study("96", "census")
    assert found.table("scores").schema == {"model": pl.Utf8, "auc": pl.Float64, "best": pl.Boolean}
    assert found.table("scores")["best"].to_list() == [True, None, None]
    assert found.table("done").to_dicts() == [{"runs": 100, "note": "", "share": 0.66667}]
    assert found.tables["done"] is found.table("done")
    assert repr(found) == (
        "Study 'census' of notebook 96; tables: scores (model, auc, best; rows: 3), "
        "done (runs, note, share; rows: 1)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.name = "other"


def test_other_studies_and_tables_are_refused_by_name(small, run):
    with pytest.raises(ValueError, match=r"no study 'census' of notebook '96' .*there are: none"):
        study("96", "census")
    run()
    for other in (("96", "censu"), ("95", "census"), ("96", "../census"), (96, "census")):
        with pytest.raises(ValueError, match=r"no study .* is stored: .* \(there are: "):
            study(*other)
    with pytest.raises(ValueError, match=r"no study 'synthetic' .*there are: census"):
        study("96", "synthetic")
    with pytest.raises(ValueError, match=r"no table 'score'; there are: scores, done"):
        study("96", "census").table("score")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda made: made.edit("studies/census", "0.123", "0.124"), "census.py moved"),
        (lambda made: made.edit("studies/_tools", "shared", "split"), "_tools.py moved"),
        (lambda made: made.write("studies/_more", "X = 1\n"), "_more.py moved"),
        (lambda made: made.edit("studies/census", "(10, 100)", "(10, 200)"),
         "size rows (100, now 200) moved"),
        (lambda made: made.edit("studies/census", '    "rows"', '    "new": (1, 2), "rows"'),
         "size new (none, now 2) moved"),
        (lambda made: made.freeze({"a": {**GOLDEN["shop"], "MMoE: ten steps": [2.0]}}),
         'the frozen number "MMoE: ten steps" moved'),
        (lambda made: made.freeze({"a": {"small: demand": "bb", "MMoE: ten steps": [1.0]}}),
         'the frozen number "small, seed 1: live", which is gone moved'),
    ],
)  # fmt: skip
def test_what_moved_is_named_and_the_study_runs_anew(small, run, capsys, change, told):
    run()
    assert command.main(["--check"]) == 0
    change(small)
    capsys.readouterr()
    assert command.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert said == f"The study census of notebook 96 is stale: {told}; {RUN}.\n"
    assert run() == 0 and command.main(["--check"]) == 0


def test_another_torch_is_told(run, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "__version__", "2.99.0+cu129")
    run()
    monkeypatch.setattr(torch, "__version__", "2.99.1")
    assert "torch (2.99.0, now 2.99.1) moved" in command.stale()[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.freeze({**GOLDEN, "new": {"small: clicks": "zz"}}),
        lambda made: made.freeze({**GOLDEN, "shop": {**GOLDEN["shop"], "tiny: live": "dd"}}),
        lambda made: made.write("checks", "CHECKS = 1\n"),
        lambda made: made.write("rules", "RULES = 1\n"),
        lambda made: made.edit("studies/census", "(10, 100)", "(11, 100)"),
        lambda made: made.edit("studies/census", "\n\n\ndef", "   \n\n\ndef"),
        lambda made: (made.folder / "studies" / "census.py").write_bytes(
            CENSUS.replace("\n", "\r\n").encode()
        ),
    ],
    ids=["newly frozen", "another preset", "checks", "lesson", "smoke size", "spaces", "CR LF"],
)
def test_what_the_numbers_do_not_rest_on_makes_nothing_stale(small, run, change):
    run()
    change(small)
    assert command.stale() == []


def test_a_study_counts_neither_to_its_neighbour_nor_to_the_contest(small, run):
    run()
    small.write("studies/other", OTHER)
    small.write("contest", 'USES = ("small",)\n\n\ndef contest(shop, size, store): ...\n')
    assert command.stale(study="census", number="96") == []
    assert command.stale() == [
        "Notebook 96 has a contest and no evidence: run `python -m mtlkit evidence 96`.",
        "The study other of notebook 96 has no tables: "
        "run `python -m mtlkit evidence 96 --study other`.",
    ]
    from mtlkit.course.runner import contests

    small.write("sizes", "SIZES = {}\n")
    assert list(contests.key_of(contests.load("96"))["code"]) == ["__init__.py", "contest.py"]


def test_a_study_without_tables_and_tables_without_a_study_are_told(small, run):
    assert command.stale() == [f"The study census of notebook 96 has no tables: {RUN}."]
    run()
    (small.folder / "studies" / "census.py").unlink()
    wanted = [
        "There are tables of a study census of notebook 96, and no such study: "
        "delete mtlkit/lessons/nb96/studies/tables/census."
    ]
    assert command.stale() == wanted == command.stale("96") == command.stale("96", "census")


def test_a_check_of_one_notebook_or_study_is_of_that_alone(small, run, capsys):
    small.write("studies/other", OTHER)
    run()
    assert len(command.stale("96")) == 1 and command.stale("96", "census") == []
    assert command.main(["96", "--check", "--study", "census"]) == 0
    assert command.main(["96", "--check", "--study", "other"]) == 1
    assert "notebook '95' has no contest" in command.stale("95")[0]
    capsys.readouterr()
    assert command.main(["96", "--check", "--study", "cencus"]) == 1
    told = "notebook '96' has no study 'cencus': write mtlkit/lessons/nb96/studies/cencus.py"
    assert f"{told} (there are: census, other)" in capsys.readouterr().err


def test_a_table_changed_by_hand_is_refused_and_told(small, run):
    run()
    path = small.folder / TABLES / "scores.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("0.12", "0.92"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"scores\.csv differs from what was written"):
        study("96", "census")
    told = "The tables of the study census of notebook 96 cannot be read"
    assert told in command.stale()[0]
    (small.folder / TABLES / "key.json").write_text("{", encoding="utf-8")
    assert told in command.stale()[0]


def test_a_table_that_the_study_no_longer_gives_goes(small, run):
    run()
    small.edit("studies/census", '"scores": scores, ', "")
    run()
    assert sorted(small.stored(TABLES)) == ["done.csv", "key.json"]


def test_smoke_prints_the_tables_and_stores_none(small, run, capsys):
    assert run("census", "--smoke") == 0
    said = capsys.readouterr().out
    assert "shared 1" in said and "shared 2" not in said and "nothing is stored" in said
    assert small.stored(TABLES) == {}


def test_an_interrupted_study_goes_on_in_its_store_until_a_frozen_number_moves(
    small, run, tmp_path, capsys
):
    stop = tmp_path / "stop"
    small.write("studies/other", OTHER.replace("STOP", repr(str(stop))))
    stop.touch()
    assert run("other") == 130
    assert "The same command goes on where it was." in capsys.readouterr().err
    stop.unlink()
    assert run("other") == 0
    assert study("96", "other").table("runs")["rounds"].item() == 1 + 2
    small.freeze({"a": {"tiny: live": "moved"}})
    assert run("other") == 0
    assert study("96", "other").table("runs")["rounds"].item() == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"MMoE")', '"MMo")', r"USES: no frozen number in .* begins with 'MMo'"),
        ("USES =", "USED =", "USES must be a tuple"),
        ("SIZES =", "SIZE =", "SIZES must hold pairs .*; found None"),
        ("(10, 100)", "100", "SIZES must hold pairs"),
        ("(10, 100)", "(10, 100, 1_000)", "SIZES must hold pairs"),
        ("def study", "def steady", r"define study\(size, store\)"),
        ('return {"scores": scores, ', "return {} and {", "study must return a dictionary"),
        ('return {"scores"', 'return scores\n    return {"scores"', "must return a dictionary"),
        ('"scores": scores', '"Scores": scores', "table 'Scores' becomes a file; name it in small"),
        ('"scores": scores', '"scores": [1]', "'scores' must be a polars DataFrame, not a list"),
        ('"scores": scores', '"scores": scores.head(0)', "table 'scores' has no rows"),
        ('"runs": [size.rows]', '"runs": [[size.rows]]', "column 'runs': cannot store List"),
    ],
)
def test_a_study_that_breaks_a_rule_is_told_by_file_and_nothing_is_stored(
    small, run, capsys, old, new, told
):
    small.edit("studies/census", old, new)
    assert run() == 1
    said = capsys.readouterr().err
    assert "mtlkit/lessons/nb96/studies/census.py" in said
    assert re.search(told, said), said
    assert small.stored(TABLES) == {}


def test_a_name_that_is_no_name_or_that_of_the_folder_of_tables_is_refused(small):
    for name in ("tables", "Census", "2021"):
        small.write(f"studies/{name}", CENSUS)
        with pytest.raises(MakerError, match=f"studies/{name}.py: name a study in small letters"):
            studies.load("96", name)
        (small.folder / "studies" / f"{name}.py").unlink()
    with pytest.raises(MakerError, match=r"no study '_tools': write .*there are: census"):
        studies.load("96", "_tools")


def test_a_study_has_no_shops_and_needs_its_notebook(small, capsys):
    for arguments in (["96", "--study", "census", "--shops", "0"], ["--check", "--study", "a"]):
        with pytest.raises(SystemExit):
            command.main(arguments)
    assert command.main(["96", "--study", ""]) == 1
    said = capsys.readouterr().err
    assert "a study has no shops" in said and "which notebook?" in said
    assert "notebook '96' has no study ''" in said


def test_without_a_checkout_the_command_says_so(small, run, capsys):
    small.golden.unlink()
    assert run() == 1
    assert "in a git clone of mtlkit" in capsys.readouterr().err


def test_records_rest_on_the_tables_of_the_studies_that_were_there(small, run):
    class Notebook:
        cells = ()

    def key():
        return full_runs.key_of("96", Notebook)

    without = key()
    assert without["studies"] == {} and without["evidence"] is None
    run()
    shown = key()
    assert list(shown["studies"]) == ["census"] and shown["evidence"] is None
    assert keys.moved(without, shown) == []  # the run did not read them, or it would have failed
    of_old = {part: without[part] for part in without if part != "studies"}
    assert keys.moved(of_old, shown) == []
    small.edit("studies/census", "0.123", "0.125")
    run()
    told = "the tables of the study census, which the notebook shows,"
    assert keys.moved(shown, key()) == [told]
    (small.folder / TABLES / "key.json").unlink()
    assert keys.moved(shown, key()) == [told]
