"""Writing files whole: a reader finds the old content or the new, never a part of it."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomically(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` at the end of the block, whole or not at all.

    It is written beside ``path`` (missing folders are made), synced to the disk and renamed; a file
    that was there gives it its mode, and a link stays a link. If the block, the disk or the rename
    fails, ``path`` is as it was, the temporary file is gone and the error goes on.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
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


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically."""
    with atomically(path) as file:
        file.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically, utf-8 with the line ends of ``text`` (LF on every system)."""
    write_bytes(path, text.encode("utf-8"))


def write_if_new(path: Path | str, content: bytes | str) -> bool:
    """Write a file atomically unless it holds just this; whether it was written."""
    wanted = content.encode("utf-8") if isinstance(content, str) else content
    if Path(path).is_file() and Path(path).read_bytes() == wanted:
        return False
    write_bytes(path, wanted)
    return True
