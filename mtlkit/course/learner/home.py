"""Where a learner's own files lie: the course folder if it is theirs, else their data folder."""

import os
from pathlib import Path

from mtlkit.files import require_writable

CHECKOUT = Path(__file__).resolve().parents[3]
VARIABLE = "MTLKIT_HOME"


def folder() -> Path:
    """The folder of progress and records.

    It is `.mtlkit` in the folder that the environment variable MTLKIT_HOME names, or else in the
    checkout, so that notebooks in all folders share it; without a checkout in the working folder.
    Where that is not the learner's own (read-only, or shared with others), it is the data folder
    of this user: `~/.local/share/mtlkit` on Linux, `~/Library/Application Support/mtlkit` on macOS,
    `%LOCALAPPDATA%\\mtlkit` on Windows.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return Path(named).expanduser() / ".mtlkit"
    usual = CHECKOUT if (CHECKOUT / "notebooks").is_dir() else Path()
    if is_own(usual):
        return usual / ".mtlkit"
    from platformdirs import user_data_path

    return user_data_path("mtlkit", appauthor=False)


def is_own(place: Path) -> bool:
    """Whether a folder is this user's alone: it takes files, is theirs, and not open to all.

    Where `.mtlkit` is there already, it is asked in place of the folder around it. Windows does not
    tell the owner; there it is whether the folder takes files.
    """
    kept = place / ".mtlkit"
    asked = kept if kept.is_dir() else place
    try:
        if hasattr(os, "getuid"):
            state = asked.stat()
            mine = state.st_uid == os.getuid() and not state.st_mode & 0o002
            return mine and os.access(asked, os.W_OK)
        require_writable(asked / "progress.json")
    except OSError:
        return False
    return True
