"""The learner's own record: one JSON file on this machine, never sent anywhere.

It lies in `.mtlkit/progress.json` in the folder that the environment variable MTLKIT_HOME names, or
else in the checkout, so that notebooks in all folders share it; without a checkout in the working
folder.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtlkit.files import write_text

PARTS = ("checks", "hints", "quizzes", "guesses")

_memory: dict[str, Any] | None = None  # used when the file cannot be written


def location() -> Path:
    """Where the record lies (or would lie)."""
    checkout = Path(__file__).resolve().parents[3]
    usual = checkout if (checkout / "notebooks").is_dir() else Path()
    return Path(os.environ.get("MTLKIT_HOME") or usual).expanduser() / ".mtlkit" / "progress.json"


def read() -> dict[str, Any]:
    """The record: {"checks": {}, "hints": {}, "quizzes": {}, "guesses": {}}.

    A file that is not a record is set aside beside it (named `progress.broken.json`, `...2.json`,
    and so on) with a message, and an empty record is returned.
    """
    if _memory is not None:
        return _memory
    path = location()
    empty: dict[str, Any] = {part: {} for part in PARTS}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return empty
    except PermissionError as error:
        print(f"Your progress in {path} cannot be read ({error.strerror}); starting without it.")
        return empty
    except ValueError:  # not JSON, or not utf-8
        record = None
    if isinstance(record, dict) and all(isinstance(record.get(p, {}), dict) for p in PARTS):
        return {**empty, **record}
    aside = _free_name(path)
    try:
        path.replace(aside)
    except OSError as error:
        print(f"The file {path} is damaged and cannot be moved ({error}); it is ignored.")
    else:
        print(f"The file {path} is damaged: it was kept as {aside.name}, and a new one starts.")
    return empty


def update(change: Callable[[dict[str, Any]], None]) -> None:
    """Read the record, let `change` edit it in place, and write it back atomically.

    If the file cannot be written, a message says so and the record is kept in memory.
    """
    global _memory
    record = read()
    change(record)
    if _memory is not None:
        return
    path = location()
    text = json.dumps({"version": 1, **record}, indent=1, ensure_ascii=False, sort_keys=True)
    try:
        write_text(path, text + "\n")
    except OSError as error:
        _memory = record
        print(f"Your progress cannot be written to {path} ({error}); it lasts until the restart.")


def _free_name(path: Path) -> Path:
    for count in range(1, 1000):
        name = path.with_name(f"progress.broken{'' if count == 1 else count}.json")
        if not name.exists():
            return name
    return path.with_name("progress.broken.json")
