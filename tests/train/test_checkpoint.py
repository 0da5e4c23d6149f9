"""Checkpoints are whole, or refused in one sentence, whatever happened to the file."""

import errno
import hashlib
import io
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mtlkit.models import SharedBottom
from mtlkit.train import fit
from mtlkit.train.checkpoint import (
    FORMAT,
    MARK,
    CheckpointError,
    load_checkpoint,
    refuse_other_run,
    require_place,
    save_checkpoint,
)
from mtlkit.train.randomness import random_states, set_random_states
from tests import tiny

ROOT = Path(__file__).parents[2]


def test_round_trip_keeps_tensors_and_plain_values(tmp_path):
    path = tmp_path / "deep" / "run.pt"
    state = {
        "w": torch.randn(3),
        "rows": [{"a": 1.5, "b": None}],
        "position": [1, 2],
        "nan": float("nan"),
    }
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["w"], state["w"])
    assert loaded["rows"] == state["rows"] and loaded["position"] == [1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["run.pt"]


@pytest.mark.parametrize("room", [0, 100, 3000, 13_600])  # within header, tensors, and the digest
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_a_sentence_and_leaves_the_old_file(
    tmp_path, monkeypatch, room, number
):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"step": 1})

    class Full(io.FileIO):
        def write(self, content):
            if self.tell() + len(content) > room:
                raise OSError(number, os.strerror(number))
            return super().write(content)

    monkeypatch.setattr(Path, "open", lambda self, mode: Full(self, mode.replace("b", "")))
    words = "the disk is full" if number == errno.ENOSPC else "the disk is read-only"
    with pytest.raises(CheckpointError, match=rf"run\.pt cannot be written: {words}.*is whole"):
        save_checkpoint(path, {"w": torch.randn(300, 10)})
    monkeypatch.undo()
    assert load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_a_state_that_cannot_be_written_is_a_sentence_too(tmp_path):
    with pytest.raises(CheckpointError, match=r"run\.pt cannot be written: .*pickle"):
        save_checkpoint(tmp_path / "run.pt", {"rule": lambda: 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["run.pt", "run.pt/below"])
def test_a_place_that_takes_no_file_is_told_before_a_run(tmp_path, place):
    if "/" in place:
        (tmp_path / "run.pt").touch()
    else:
        (tmp_path / "run.pt").mkdir()
    for write in (require_place, lambda path: save_checkpoint(path, {})):
        with pytest.raises(CheckpointError, match=r"cannot be written: a f[a-z]+ stands"):
            write(tmp_path / place)
    table = tiny.learnable(20)
    model = SharedBottom(table.schema, embedding_dim=2, hidden=(2,))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="cannot be written"):
        fit(model, table, checkpoint=tmp_path / place, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    require_place(tmp_path / "new" / "run.pt")
    assert list((tmp_path / "new").iterdir()) == []


def test_bytes_reach_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda self, to: (events.append("replace"), replace(self, to))[1]
    )
    save_checkpoint(tmp_path / "run.pt", {"step": 1})
    assert events[:2] == ["fsync", "replace"]  # and the folder, where the system can


class Stranger:
    def __reduce__(self):
        return (print, ("this must never run",))


def signed(content):
    """What a stranger would write who knows the form of our files."""
    return content + MARK + hashlib.sha256(content).digest()


def test_file_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "stranger.pt"
    torch.save({"format": FORMAT, "payload": Stranger()}, path)
    zipped, bare = path.read_bytes(), pickle.dumps(Stranger(), protocol=2)
    for content in (zipped, bare, signed(zipped), signed(bare)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"stranger\.pt"):
            load_checkpoint(path)
    assert "never run" not in capsys.readouterr().out


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or a != a


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a real run's checkpoint."""
    path = tmp_path_factory.mktemp("run") / "run.pt"
    table = tiny.learnable(60)
    model = SharedBottom(table.schema, embedding_dim=3, hidden=(6,), tower=(4,))
    fit(model, table, table, epochs=2, batch_size=16, checkpoint=path, progress=False)
    return path.read_bytes()


def refused_or_same(path, content, whole):
    path.write_bytes(content)
    try:
        assert same(load_checkpoint(path), whole)
    except CheckpointError as error:
        assert str(path) in str(error)
        return True
    return False


def test_no_flipped_bit_passes(tmp_path, written):
    path = tmp_path / "run.pt"
    path.write_bytes(written)
    whole, draw = load_checkpoint(path), random.Random(0)
    bits = [*(draw.randrange(8 * len(written)) for _ in range(400)), 0, 8 * len(written) - 1]
    missed = 0
    for bit in bits:
        content = bytearray(written)
        content[bit // 8] ^= 1 << (bit % 8)
        missed += not refused_or_same(path, bytes(content), whole)
    assert missed == 0


def test_no_cut_added_or_exchanged_part_passes(tmp_path, written):
    path = tmp_path / "run.pt"
    path.write_bytes(written)
    whole, draw = load_checkpoint(path), random.Random(1)
    size = len(written)
    cuts = [0, 1, 56, 57, 58, size // 2, size - 1, *(draw.randrange(size) for _ in range(40))]
    wrong = [written[:cut] for cut in cuts] + [written[cut:] for cut in cuts if cut]
    wrong += [written + b"x", b"x" + written, written[: size // 2] + written, written * 2]
    wrong += [signed(b""), signed(b"PK"), signed(written[:-57][:2000]), MARK, b"[]", b"\x80\x05."]
    assert all(refused_or_same(path, content, whole) for content in wrong)


@pytest.mark.parametrize("state", [[1, 2], {"w": 1}, {"format": 3}, {"format": FORMAT + 1}, 7])
def test_a_whole_file_of_another_form_is_refused(tmp_path, state):
    path = tmp_path / "run.pt"
    torch.save(state, path)
    path.write_bytes(signed(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"run\.pt is no mtlkit checkpoint of format"):
        load_checkpoint(path)


def test_absent_files_folders_and_files_without_rights_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*absent\.pt"):
        load_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match=r"absent\.pt"):
        load_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="cannot be read: a folder stands in its place"):
        load_checkpoint(tmp_path)

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match="cannot be read: you have no right"):
        load_checkpoint(tmp_path / "run.pt")


ENTRIES = ["description", "model", "optimizers", "balancer", "random", "position", "rows", "best"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("how", ["gone", "a text", "a dict"])
def test_an_entry_that_does_not_fit_is_a_checkpoint_error_of_fit(tmp_path, written, entry, how):
    path = tmp_path / "run.pt"
    path.write_bytes(written)
    state = load_checkpoint(path)
    del state["format"]
    if how == "gone":
        del state[entry]
    else:
        state[entry] = "a text" if how == "a text" else {"x": 1}
    save_checkpoint(path, state)
    table = tiny.learnable(60)
    model = SharedBottom(table.schema, embedding_dim=3, hidden=(6,), tower=(4,))
    options = {"epochs": 2, "batch_size": 16, "checkpoint": path, "progress": False}
    with pytest.raises(CheckpointError, match=r"run\.pt"):
        fit(model, table, table, resume=True, **options)


KILLED = """
import os, sys, torch
from mtlkit.train import checkpoint
original = torch.save
def dying(state, file):
    file.write(b"half a file")
    file.file.flush()
    os._exit(9)
torch.save = dying
checkpoint.save_checkpoint(sys.argv[1], {"step": 2})
"""


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"step": 1})
    code = [sys.executable, "-c", KILLED, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(code, cwd=ROOT, env=environment, timeout=120).returncode == 9
    [left] = tmp_path.glob(".run.pt.*.part")
    assert load_checkpoint(path)["step"] == 1
    os.utime(left, (1, 1))
    save_checkpoint(path, {"step": 3})
    assert load_checkpoint(path)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_random_states_return_to_the_same_numbers():
    states = random_states()
    first = torch.rand(4)
    set_random_states(states)
    assert torch.equal(torch.rand(4), first)


def test_difference_between_runs_is_named():
    saved = {"model": "MMoE", "schema": {"tasks": [{"name": "click", "kind": "binary"}]}, "seed": 0}
    refuse_other_run("run.pt", saved, saved)
    cases = [
        ({**saved, "model": "SharedBottom"}, "model is 'MMoE', here it is 'SharedBottom'"),
        ({**saved, "seed": 1}, "seed is 0, here it is 1"),
        (
            {**saved, "schema": {"tasks": [{"name": "click", "kind": "count"}]}},
            "schema tasks click kind is 'binary', here it is 'count'",
        ),
        (
            {**saved, "schema": {"tasks": [{"name": "click"}, {"name": "cart"}]}},
            r"schema tasks is \['click'\], here it is \['click', 'cart'\]",
        ),
        ({"model": "MMoE", "schema": saved["schema"]}, "seed is 0, here it is 'absent'"),
    ]
    for current, message in cases:
        with pytest.raises(CheckpointError, match=message):
            refuse_other_run("run.pt", saved, current)
