"""Files that hold a training run: written whole or not at all, read without running their code."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from mtlkit.files import atomically, require_writable, why, why_not_read

FORMAT = 4
MARK = b"mtlkit checkpoint sha256 "  # the end of a file: this, and the digest of all before it
CHUNK = 1 << 20  # bytes read at a time
FALL = "steps that the rate falls over"  # an entry of a run's description
LENGTHENED = (
    "A rate that falls to 0 knows the end of its run, so epochs and max_steps must stay as they "
    'were; a run that is to be lengthened or cut short takes schedule="constant" from its start. '
)


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written, is damaged, or belongs to another run; says which."""


class NoCheckpoint(CheckpointError, FileNotFoundError):
    """There is no checkpoint at this path."""


class _Hashing(io.RawIOBase):
    """Writes on to ``file``, hashes what passes and keeps the error that torch would put aside."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file, self.hash = file, hashlib.sha256()
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        try:
            self.file.write(content)
        except OSError as error:
            self.error = error
            raise
        self.hash.update(content)
        return len(content)


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, plain values, lists and dicts of these) to ``path``, atomically.

    A crash at any moment leaves the old file or the new one, never half (``mtlkit.files``). The
    file ends with a SHA-256 of all that is before it. Raises ``CheckpointError`` where it cannot be
    written: a full disk, a folder without the right to write.
    """
    passed: _Hashing | None = None
    try:
        with atomically(path) as file:
            passed = _Hashing(file)
            torch.save({"format": FORMAT, **state}, cast(IO[bytes], passed))
            file.write(MARK + passed.hash.digest())
    except Exception as error:  # torch wraps some, and pickle raises what it likes
        reason = error if isinstance(error, OSError) else passed and passed.error
        raise _not_written(path, why(reason) if reason else _first_line(error)) from error


def require_place(path: str | Path) -> None:
    """Raise ``CheckpointError`` where ``path`` cannot be written: before a run, not after hours."""
    try:
        require_writable(path)
    except OSError as error:
        raise _not_written(path, why(error)) from error


def _not_written(path: str | Path, reason: str) -> CheckpointError:
    kept = " The one that was there before is whole." if Path(path).is_file() else ""
    return CheckpointError(
        f"The checkpoint {path} cannot be written: {reason}.{kept} Mend that, or pass another path."
    )


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of ``save_checkpoint`` onto the CPU.

    Its SHA-256 is checked before anything is read from it, and only tensors and plain values are
    read (``weights_only=True``), so a file from a stranger cannot run code. Raises
    ``CheckpointError`` for anything else, a ``NoCheckpoint`` (also a ``FileNotFoundError``) for no
    file.
    """
    try:
        with Path(path).open("rb") as file:
            _require_intact(path, file)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise NoCheckpoint(
            f"There is no checkpoint {path}. Pass the path that fit(..., checkpoint=path) wrote to."
        ) from error
    except OSError as error:
        reason = why_not_read(path, error)
        raise CheckpointError(
            f"The checkpoint {path} cannot be read: {reason}. Mend that, or pass another path."
        ) from error
    except Exception as error:  # torch and pickle raise anything for what is no state
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read safely ({_first_line(error)}). Delete "
            "it, or pass another path."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no mtlkit checkpoint of format {FORMAT}.")
    return state


def _require_intact(path: str | Path, file: BinaryIO) -> None:
    """Raise ``CheckpointError`` unless the file ends with the digest of all that is before it."""
    end = len(MARK) + hashlib.sha256().digest_size
    size = file.seek(0, os.SEEK_END) - end
    file.seek(max(size, 0))
    mark, digest = (written := file.read())[: len(MARK)], written[len(MARK) :]
    if size < 0 or mark != MARK:
        raise CheckpointError(
            f"{path} does not end as an mtlkit checkpoint of format {FORMAT} does: it is another "
            "file, one of an older mtlkit, or cut off. Delete it, or pass another path."
        )
    file.seek(0)
    found = hashlib.sha256()
    while size > 0:
        content = file.read(min(CHUNK, size))
        found.update(content)
        size -= len(content) or size
    if found.digest() != digest:
        raise CheckpointError(
            f"{path} is damaged: its content is not what was written (its SHA-256 differs). "
            "Delete it, or put a copy in its place."
        )
    file.seek(0)


@contextmanager
def taking_up(path: str | Path) -> Iterator[None]:
    """A block that takes up the state in ``path``; whatever does not fit is a ``CheckpointError``
    that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{path} holds no run of fit: it lacks {error}.") from error
    except Exception as error:
        raise CheckpointError(
            f"The run in {path} cannot be taken up ({_first_line(error)}). Pass resume=False to "
            "start anew, or another checkpoint path."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def refuse_other_run(
    path: str | Path, saved: Mapping[str, Any], current: Mapping[str, Any]
) -> None:
    """Raise ``CheckpointError`` that names the first entry in which two runs differ.

    ``saved`` and ``current`` describe the runs: plain values, nested dicts and lists.
    """
    difference = _first_difference(saved, current, "")
    if difference is not None:
        name, old, new = difference
        raise CheckpointError(
            f"{path} belongs to another run: its {name} is {old}, here it is {new}. "
            f"{LENGTHENED if name == FALL else ''}"
            "Pass resume=False to start anew, or another checkpoint path."
        )


_ABSENT = "absent"


def _first_difference(old: Any, new: Any, name: str) -> tuple[str, str, str] | None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = [(str(k), old.get(k, _ABSENT), new.get(k, _ABSENT)) for k in {**old, **new}]
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        pairs = [(_entry_name(b, i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return None if old == new else (name, _short(old), _short(new))
    for key, a, b in pairs:
        found = _first_difference(a, b, f"{name} {key}".strip())
        if found is not None:
            return found
    return None


def _entry_name(value: Any, index: int) -> str:
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else str(index)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and all(
        isinstance(v, Mapping) and "name" in v for v in value
    ):
        value = [v["name"] for v in value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
