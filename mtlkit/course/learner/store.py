"""The learner's own record: one JSON file on this machine, never sent anywhere.

Several notebooks write it at once: each change reads the file anew under a lock and writes it
whole. A change that cannot be written now (a full disk, a notebook that holds the lock) waits in
memory and goes with the next one.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mtlkit.course.learner import home
from mtlkit.course.learner.entries import PARTS, is_record, sound
from mtlkit.files import why, write_bytes

Change = Callable[[dict[str, Any]], None]
T = TypeVar("T")
PATIENCE = 10.0  # seconds to wait for another notebook
TRIES = 5  # where the system refuses for a moment: Windows, while another reads the file

_waiting: list[Change] = []  # not written yet


class Busy(OSError):
    """Another notebook holds the record for too long."""


def location() -> Path:
    """Where the record lies (or would lie): `progress.json` in `home.folder()`."""
    return home.folder() / "progress.json"


def read() -> dict[str, Any]:
    """The record: "checks", "hints", "quizzes", "guesses", "skipped", each {name: ...};
    never raises.

    Damaged entries are left out. A file that is not a record is set aside beside it (named
    `progress.broken.json`, `...2.json`, and so on) with a message, and an empty record is returned.
    """
    path, record = location(), _empty()
    try:
        found = _content(path)
        if found is None:
            with _locked(path):
                found = _content_or_aside(path)
        record = sound({**record, **found})[0]
    except Exception as error:
        print(f"Your progress in {path} cannot be read ({_reason(error)}); going on without it.")
    for change in _waiting:
        change(record)
    return record


def update(change: Change) -> None:
    """Let `change` edit the record in place, under a lock, and write it back atomically.

    Raises nothing of the file's: if it cannot be written, a message says so and the change waits in
    memory for the next call.
    """
    change(_empty())  # an error of its own comes out here, before it waits with the others
    path = location()
    _waiting.append(change)
    try:
        with _locked(path):
            found = {**_empty(), **_content_or_aside(path)}
            record, damaged = sound(found)
            if damaged:
                aside = _keep_copy(path)
                print(
                    f"{len(damaged)} damaged entries of {path} were left out ({damaged[0]}, for "
                    f"example); the file was kept as {aside.name}."
                )
            for waiting in _waiting:
                waiting(record)
            _patiently(lambda: write_bytes(path, _as_bytes(record)))
    except Exception as error:
        print(
            f"Your progress cannot be written to {path} ({_reason(error)}); it is kept until the "
            "restart and written with your next answer, if that goes."
        )
    else:
        _waiting.clear()


def _empty() -> dict[str, Any]:
    return {part: {} for part in PARTS}


def _content(path: Path) -> dict[str, Any] | None:
    """What the file holds, empty without a file, None for one that is no record."""
    try:
        text = _patiently(lambda: path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        found = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # not JSON, or not utf-8
        return None
    return found if is_record(found) else None


def _content_or_aside(path: Path) -> dict[str, Any]:
    """What the file holds; one that is no record is set aside. Under the lock."""
    found = _content(path)
    if found is None:
        aside = _free_name(path)
        path.replace(aside)
        print(f"The file {path} is damaged: it was kept as {aside.name}, and a new one starts.")
        found = {}
    return found


def _keep_copy(path: Path) -> Path:
    aside = _free_name(path)
    write_bytes(aside, path.read_bytes())
    return aside


def _as_bytes(record: dict[str, Any]) -> bytes:
    def text(plain: bool) -> str:
        whole = {"version": 1, **record}
        return json.dumps(whole, indent=1, ensure_ascii=plain, sort_keys=True) + "\n"

    try:
        return text(plain=False).encode("utf-8")
    except UnicodeEncodeError:  # half a character, which only an escape can hold
        return text(plain=True).encode("utf-8")


def _patiently(action: Callable[[], T]) -> T:
    """Do it; where the system refuses for a moment, try again a few times."""
    for turn in range(TRIES - 1):
        try:
            return action()
        except PermissionError:
            time.sleep(0.02 * 2**turn)
    return action()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A block that no other notebook is in; raises `Busy` after `PATIENCE` seconds.

    Where the file system has no locks the block goes on without one.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(".progress.lock"), timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy("another notebook is writing it") from error
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _reason(error: Exception) -> str:
    return why(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _free_name(path: Path) -> Path:
    for count in range(1, 1000):
        name = path.with_name(f"progress.broken{'' if count == 1 else count}.json")
        if not name.exists():
            return name
    return path.with_name("progress.broken.json")
