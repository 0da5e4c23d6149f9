"""Whatever lies at a path that is read, or does not: the project's own error, in a sentence."""

import errno
import os
from functools import partial
from pathlib import Path

import pytest

import mtlkit
from mtlkit import Encoder, Market, ShardedTable, Task
from mtlkit.course.learner import stored_tables
from mtlkit.course.runner import keys
from mtlkit.data.frames import READERS, as_frame
from mtlkit.data.real import public
from mtlkit.data.real.registry import SETS
from mtlkit.schema import SchemaError
from mtlkit.shop.dials import load_dials, presets
from mtlkit.shop.preset_file import read_preset
from mtlkit.train.checkpoint import CheckpointError, load_checkpoint
from mtlkit.train.state import saved_option
from tests import tiny

CLICK = [Task("click")]
FILE = next(file for entry in SETS.values() for file in entry.files)


def resumed(path):
    table = tiny.learnable(20)
    model = mtlkit.SharedBottom(table.schema, hidden=(4,))
    mtlkit.fit(model, table, epochs=1, checkpoint=path, resume=True, progress=False)


def tables_beside(path):
    stored_tables.read_tables(path.parent)


DOORS = {  # name: (what reads a path, how the path ends, its own errors)
    "load": (mtlkit.load, "m.mtlkit", CheckpointError),
    "load_checkpoint": (load_checkpoint, "c.pt", CheckpointError),
    "fit, resume": (resumed, "c.pt", CheckpointError),
    "fit, its options": (partial(saved_option, option="schedule"), "c.pt", CheckpointError),
    "ShardedTable": (ShardedTable, "shards", SchemaError),
    "ShardedTable, manifest": (lambda p: ShardedTable(p.parent), "manifest.json", SchemaError),
    "prepare": (partial(mtlkit.prepare, tasks=CLICK), "rows.parquet", SchemaError),
    "Encoder.fit": (Encoder(CLICK, categorical=["a"]).fit, "rows.csv", SchemaError),
    "Market": (Market, "mine.yaml", ValueError),
    "load_dials": (load_dials, "mine.yml", ValueError),
    "read_preset": (read_preset, "mine.yaml", ValueError),
    "presets": (presets, "markets", ValueError),
    "verify": (partial(public.verify, entry=FILE), "a.csv",
               (public.DataMissingError, public.DataCorruptError)),
    "evidence, key": (tables_beside, stored_tables.KEY, ValueError),
    "evidence, table": (tables_beside, "runs.csv", ValueError),
    "golden": (keys.golden, "values.json", (keys.NoCheckout, ValueError)),
}  # fmt: skip
DOORS |= {
    f"as_frame, {end}": (as_frame, f"rows{end}", SchemaError) for end in (*READERS, ".txt", "")
}
OF_FOLDERS = ("manifest.json", stored_tables.KEY, "runs.csv")  # read by the door of their folder
CONTENT = {"empty": b"", "garbage": b"\xff\xfe\x00what\n\x80,,\n", "forbidden": b"x"}
KINDS = ("missing", "a folder", "below a file", *CONTENT)
FINE = {  # no fault
    ("fit, resume", "missing"), ("fit, its options", "missing"),  # a run that has not begun
    ("fit, its options", "below a file"),  # refused where it is to be written
    ("presets", "a folder"),  # without a preset
    *((door, "empty") for door in ("Market", "load_dials", "read_preset")),  # all defaults
}  # fmt: skip
GRID = [
    (door, kind)
    for door, (_, end, _) in DOORS.items()
    for kind in KINDS
    if not (kind == "forbidden" and end.startswith("rows"))  # polars opens files by itself
]


def lay(kind, path, monkeypatch):
    """Put something of a kind at the path; the path to read."""
    path.parent.mkdir()
    if path.name == "runs.csv":
        key = '{"tables": {"runs": {"hash": "00000000", "columns": {}}}}'
        (path.parent / stored_tables.KEY).write_text(key, encoding="utf-8")
    if kind == "a folder":
        path.mkdir()
    elif kind == "below a file":
        path.write_bytes(b"a file")
        return path / path.name
    elif kind in CONTENT:
        path.write_bytes(CONTENT[kind])
    if kind == "forbidden":
        usual = Path.open

        def refuse(self, *args, **options):
            if self == path:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return usual(self, *args, **options)

        monkeypatch.setattr(Path, "open", refuse)
    return path


@pytest.mark.parametrize(("door", "kind"), GRID)
def test_what_cannot_be_read_is_an_error_of_its_own_that_names_the_path(
    door, kind, tmp_path, monkeypatch
):
    read, end, own = DOORS[door]
    path = lay(kind, tmp_path / "place" / end, monkeypatch)
    if (door, kind) in FINE:
        read(path)
        return
    with pytest.raises(own) as caught:
        read(path)
    error, told = caught.value, str(caught.value)
    assert type(error).__module__.startswith("mtlkit.") or type(error) is ValueError
    named = path.parent if end in OF_FOLDERS else path
    assert str(named) in told
    assert len(told.splitlines()) == 1 and "Errno" not in told
    said = told.replace(str(named), "").rstrip(".)")
    assert any(mark in said for mark in (". ", "; ", ": ")), "what to do stands after what is"


@pytest.mark.parametrize("end", READERS)
@pytest.mark.parametrize(("kind", "state"), [("empty", "is empty"), ("a folder", "is a folder")])
def test_what_lies_where_a_table_should_be_is_told_as_what_it_is(
    kind, state, end, tmp_path, monkeypatch
):
    path = lay(kind, tmp_path / "place" / f"rows{end}", monkeypatch)
    with pytest.raises(SchemaError) as caught:
        as_frame(path)
    assert str(caught.value).startswith(f"{path} {state}: ")


def test_a_model_that_is_not_there_may_be_caught_as_before(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^There is no model .*none\. Pass the path that"):
        mtlkit.load(tmp_path / "none")


@pytest.mark.parametrize("kind", ["a folder", "below a file", "forbidden"])
def test_a_model_that_cannot_be_written_is_a_checkpoint_error(kind, tmp_path, monkeypatch):
    path = lay(kind, tmp_path / "place" / "m", monkeypatch)
    if kind == "forbidden":
        monkeypatch.setattr("mtlkit.own.envelope.atomically", lambda path: path.open("wb"))
    encoder = Encoder(CLICK, categorical=["user"]).fit({"user": ["a", "b"], "click": [0, 1]})
    with pytest.raises(CheckpointError) as caught:
        mtlkit.save(path, mtlkit.SharedBottom(encoder.schema), encoder)
    assert str(caught.value).startswith(f"The model cannot be written to {path}: ")
    assert str(caught.value).endswith(". Mend that, or pass another path.")
