"""A file of tensors and plain values with its own checksum: read whole and unharmed, or refused."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mtlkit.files import atomically, why, why_not_read
from mtlkit.train.checkpoint import CheckpointError, NoCheckpoint

START, FORMAT = b"mtlkit model", 1  # the first line of a file: these two, and a SHA-256


def write_envelope(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write tensors, plain values, lists and dictionaries of these, atomically.

    Raises ``CheckpointError`` where ``path`` cannot be written.
    """
    inside = io.BytesIO()
    torch.save(dict(content), inside)
    body = inside.getvalue()
    try:
        with atomically(path) as file:
            file.write(b"%s %d %s\n" % (START, FORMAT, hashlib.sha256(body).hexdigest().encode()))
            file.write(body)
    except OSError as error:
        raise CheckpointError(
            f"The model cannot be written to {path}: {why(error)}. Mend that, or pass another path."
        ) from error


def read_envelope(path: str | Path) -> dict[str, Any]:
    """What ``write_envelope`` was given, on the CPU; the checksum is compared before all else.

    Only tensors and plain values are read, so that a file from a stranger cannot run code. Raises
    ``CheckpointError`` for any other file, a ``NoCheckpoint`` (also a ``FileNotFoundError``) for
    none.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise NoCheckpoint(
            f"There is no model {path}. Pass the path that mtlkit.save wrote to."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"The model {path} cannot be read: {why_not_read(path, error)}. Mend that, or pass "
            "another path."
        ) from error
    first, _, body = content.partition(b"\n")
    words = first[:200].rsplit(b" ", 2)
    if len(words) != 3 or words[0] != START or not words[1].isdigit():
        raise CheckpointError(
            f"{path} is no model that mtlkit.save wrote. (A checkpoint of a training run is read "
            "by fit(..., checkpoint=path, resume=True).)"
        )
    if int(words[1]) != FORMAT:
        raise CheckpointError(
            f"{path} is of format {int(words[1])}, and this mtlkit reads format {FORMAT}: read it "
            "with the version that wrote it."
        )
    if hashlib.sha256(body).hexdigest().encode() != words[2]:
        raise CheckpointError(
            f"{path} is damaged: its {len(content):,} bytes do not have the checksum that stands "
            "in its first line. Copy it again, or save the model anew."
        )
    try:
        found = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a stranger's bytes lead to
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(f"{path} cannot be read safely ({reason}).") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, no model.")
    return found
