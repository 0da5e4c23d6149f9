import os
import pickle

import pytest
import torch

from mtlkit.train.checkpoint import (
    CheckpointError,
    load_checkpoint,
    refuse_other_run,
    save_checkpoint,
)
from mtlkit.train.randomness import random_states, set_random_states


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


def test_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"step": 1})

    def broken(state, file):
        file.write(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


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


def test_file_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "stranger.pt"
    torch.save({"format": 1, "payload": Stranger()}, path)
    with pytest.raises(CheckpointError, match=r"stranger\.pt"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Stranger(), protocol=2))
    with pytest.raises(CheckpointError, match=r"stranger\.pt"):
        load_checkpoint(path)
    assert "never run" not in capsys.readouterr().out


def test_damaged_foreign_and_absent_files_are_named(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"w": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"run\.pt"):
        load_checkpoint(path)
    torch.save({"w": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="format"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"run\.pt"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "absent.pt")


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
