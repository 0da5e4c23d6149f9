"""Writing files whole: a reader finds the old content or the new, never a part of it."""

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]

YOUNG = 1.0  # seconds in which a temporary file may not be locked yet


@contextmanager
def atomically(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` at the end of the block, whole or not at all.

    It is written beside ``path`` (missing folders are made), synced to the disk and renamed; a file
    that was there gives it its mode, and a link stays a link. If the block, the disk or the rename
    fails, ``path`` is as it was, the temporary file is gone and the error goes on. What a killed
    writer of ``path`` left beside it is deleted.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    temporary = target.with_name(f"{_start(target)}{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _start(target: Path) -> str:
    """How the names of a target's temporary files begin."""
    return f".{target.name[:40]}."


def sweep(path: Path | str) -> None:
    """Delete the temporary files of ``path`` whose writer is gone; those being written stay."""
    target = Path(os.path.realpath(path))
    with suppress(OSError):
        for rest in target.parent.iterdir():
            middle = rest.name.removeprefix(_start(target)).removesuffix(".part")
            if rest.name == f"{_start(target)}{middle}.part" and _is_hex(middle):
                with suppress(OSError):
                    _delete_if_left(rest)


def _is_hex(text: str) -> bool:
    return len(text) == 8 and set(text) <= set("0123456789abcdef")


def _delete_if_left(rest: Path) -> None:
    if abs(time.time() - rest.stat().st_mtime) < YOUNG:
        return
    with rest.open("rb") as file:
        if not _lock(file):
            return
    rest.unlink()


def _lock(file: BinaryIO) -> bool:
    """Take a writer's lock on a temporary file; False where another has it, or there are none."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def why(error: OSError) -> str:
    """Why a file could not be read or written, in words: "the disk is full", for example."""
    known = {
        errno.ENOENT: "there is no such file",
        errno.ENOSPC: "the disk is full",
        errno.EFBIG: "the file is larger than this system allows",
        errno.EROFS: "the disk is read-only",
        errno.EACCES: "you have no right to do so there",
        errno.EPERM: "you have no right to do so there",
        errno.EISDIR: "a folder stands in its place",
        errno.ENOTDIR: "a file stands where a folder should be",
        errno.EEXIST: "a file stands where a folder should be",
        errno.ENAMETOOLONG: "its name is too long",
    }
    if hasattr(errno, "EDQUOT"):
        known[errno.EDQUOT] = "your share of the disk is used up"
    return known.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__


def why_not_read(path: Path | str, error: OSError) -> str:
    """Why a file could not be read, in words; Windows takes a folder for a lack of rights."""
    return "a folder stands in its place" if Path(path).is_dir() else why(error)


def require_writable(path: Path | str) -> None:
    """Raise the ``OSError`` that writing ``path`` would meet; nothing is written or left."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    trial = target.with_name(f"{_start(target)}{secrets.token_hex(4)}.part")
    try:
        trial.touch(exist_ok=False)
    finally:
        trial.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically."""
    with atomically(path) as file:
        file.write(content)


def write_text(path: Path | str, text: str, errors: str = "strict") -> None:
    """Write a text file atomically, utf-8 with the line ends of ``text`` (LF on every system).

    ``errors`` is that of ``str.encode``: "replace" writes ? for what utf-8 has no code for, half a
    character in the output of strange code.
    """
    write_bytes(path, text.encode("utf-8", errors))


def write_if_new(path: Path | str, content: bytes | str) -> bool:
    """Write a file atomically unless it holds just this; whether it was written."""
    wanted = content.encode("utf-8") if isinstance(content, str) else content
    if Path(path).is_file() and Path(path).read_bytes() == wanted:
        return False
    write_bytes(path, wanted)
    return True
