"""Files are written whole or not at all, and nothing is left beside them."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import mtlkit
from mtlkit.files import (
    atomically,
    require_writable,
    why,
    write_bytes,
    write_if_new,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_folders_are_made_and_text_is_utf8_with_lf(tmp_path):
    path = tmp_path / "new" / "folder" / "text.txt"
    write_text(path, "über\n")
    assert path.read_bytes() == "über\n".encode()
    assert names(path.parent) == ["text.txt"]


def test_an_error_in_the_block_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "kept.bin"
    write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), atomically(path) as file:
        file.write(b"new, but not to its e")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and names(tmp_path) == ["kept.bin"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_or_a_refused_rename_leaves_the_old_file_and_no_rest(
    tmp_path, monkeypatch, broken
):
    path = tmp_path / "kept.txt"
    write_text(path, "old")

    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "replace")), refuse)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["kept.txt"]


def test_the_old_file_stands_until_the_block_ends(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_the_content_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, Path.replace

    def synced(handle):
        happened.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def renamed(path, target):
        happened.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "file", "x")
    assert happened == ["file", "rename", *(["folder"] if os.name == "posix" else [])]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path):
    path = tmp_path / "private"
    path.touch()
    path.chmod(0o640)
    write_text(path, "secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "fresh", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="links need no rights there")
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    write_text(target, "old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink() and target.read_text(encoding="utf-8") == "new"


def left_behind(folder, name, seconds=60):
    """A temporary file as a killed writer of ``name`` leaves it, last written so long ago."""
    path = folder / f".{name}.0123abcd.part"
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))
    return path


def test_what_a_killed_writer_left_goes_and_what_looks_alike_stays(tmp_path):
    left_behind(tmp_path, "run.pt")
    stays = [left_behind(tmp_path, name) for name in ("run.p", "run.pt.x", "other")]
    for name in (".run.pt.part", ".run.pt.0123abcg.part", "run.pt.0123abcd.part"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
        stays.append(tmp_path / name)
    write_bytes(tmp_path / "run.pt", b"new")
    assert names(tmp_path) == sorted(["run.pt", *(path.name for path in stays)])


def test_a_file_that_is_just_begun_or_still_written_stays(tmp_path):
    young = left_behind(tmp_path, "run.pt", seconds=0)
    with atomically(tmp_path / "run.pt") as file:
        file.write(b"slow")
        file.flush()
        [own] = set(tmp_path.iterdir()) - {young}
        os.utime(own, (1, 1))
        write_bytes(tmp_path / "run.pt", b"quick")
        assert own.exists() and young.exists()
    assert (tmp_path / "run.pt").read_bytes() == b"slow"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_whether_a_file_could_be_written_is_found_without_writing(tmp_path, make):
    place = tmp_path / "place"
    make(place)
    require_writable(tmp_path / "new" / "file")
    assert names(tmp_path) == ["new", "place"] and names(tmp_path / "new") == []
    with pytest.raises(OSError) as caught:
        require_writable(place if place.is_dir() else place / "below")
    assert "stands" in why(caught.value)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "you have no right to do so there"),
        (errno.EIO, os.strerror(errno.EIO)),
        (None, "odd"),
    ],
)
def test_the_reason_of_an_error_is_said_in_words(number, words):
    assert why(OSError(number, os.strerror(number)) if number else OSError("odd")) == words
    assert why(OSError()) == "OSError"


def test_what_is_already_there_is_not_written_again(tmp_path):
    path = tmp_path / "text.txt"
    assert write_if_new(path, "same\n")
    before = path.stat()
    assert not write_if_new(path, b"same\n")
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns
    assert write_if_new(path, "other\n") and path.read_bytes() == b"other\n"


def test_it_stands_on_the_lowest_floor_and_needs_no_other_package():
    package = Path(mtlkit.__file__).parent
    code = (
        "import importlib.util as u, sys; before = set(sys.modules)\n"
        f"spec = u.spec_from_file_location('files', {str(package / 'files.py')!r})\n"
        "spec.loader.exec_module(u.module_from_spec(spec))\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "assert new <= set(sys.stdlib_module_names), new\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
