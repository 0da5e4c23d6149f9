"""Running a learner's code so that it can neither hang a notebook nor end it.

The code runs in a thread of its own. When its time is up an exception is thrown into that thread
(an asynchronous one of CPython, so this works on Windows and in a Jupyter kernel alike).

What this cannot do: the exception arrives between two steps of Python. One long call of a library
(`time.sleep(3600)`, a huge matrix product) is left running in the background until it returns; the
notebook goes on and the sentence says so. A loop that catches everything (`except:`) may live on,
and nothing helps against code that ends the whole process (`os._exit`, a crash in C).
"""

import contextlib
import contextvars
import ctypes
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

SECONDS = 20.0  # for all that a check runs
PRINTED = 2_000  # characters that a check's code may print
_PATIENCE = 4.0  # seconds in which a thread should notice that it is to stop


class OutOfTime(BaseException):
    """Thrown into the learner's code when its time is up; no Exception, which it might catch."""


@dataclass(frozen=True)
class Ended:
    """How a piece of work came to its end.

    `error` is what it raised. `alive`: it did not stop in time, nor when told to; `frame` is where
    it was then.
    """

    value: Any = None
    error: BaseException | None = None
    alive: bool = False
    frame: FrameType | None = None


def run(work: Callable[[], Any], seconds: float = SECONDS) -> Ended:
    """Run `work` in a thread; after so many seconds it gets OutOfTime.

    An interrupt by the user (KeyboardInterrupt in the calling thread) ends the work and is raised.
    """
    ending: dict[str, Any] = {}
    done = threading.Event()
    context = contextvars.copy_context()  # Jupyter finds the cell of a print in it

    def body() -> None:
        try:
            try:
                ending["value"] = context.run(work)
            except BaseException as error:  # SystemExit of the learner ends this thread only
                ending["error"] = error
            finally:
                done.set()
        except OutOfTime:  # thrown as the work was just ready
            done.set()

    thread = threading.Thread(target=body, daemon=True, name="check")
    try:
        thread.start()
        if not _wait(done, seconds):
            _stop(thread, done)
    except KeyboardInterrupt:
        _stop(thread, done)
        raise
    if done.is_set() or not thread.is_alive():
        return Ended(**ending) if ending else Ended(error=OutOfTime())
    return Ended(error=OutOfTime(), alive=True, frame=sys._current_frames().get(thread.ident or 0))


def _wait(done: threading.Event, seconds: float) -> bool:
    """Wait in short turns: on Windows one long wait would not see an interrupt.

    Work that hardly gets a processor, because the machine is busy, gets four times as long.
    """
    begun, used = time.monotonic(), time.process_time()
    while not done.wait(min(0.1, seconds)):
        waited, worked = time.monotonic() - begun, time.process_time() - used
        if waited >= 4 * seconds or (waited >= seconds and worked >= seconds / 4):
            return False
    return True


def _stop(thread: threading.Thread, done: threading.Event) -> None:
    end = time.monotonic() + _PATIENCE
    while thread.is_alive() and time.monotonic() < end:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(OutOfTime)
        )
        if done.wait(0.3):  # a second throw too early would meet the tidying of the first
            return


@contextlib.contextmanager
def limited_prints(most: int = PRINTED) -> Iterator[None]:
    """Show what is printed inside, up to so many characters, and say how much was left out."""
    out, err = _Limited(sys.stdout, most), _Limited(sys.stderr, most)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
    for stream in (out, err):
        if stream.left_out:
            print(f"\n(Your code printed {stream.left_out:,} characters more; they are left out.)")
        elif stream.last not in ("", "\n"):
            print()  # the verdict begins on a line of its own


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Leave out what is printed inside, if prints are limited; uncounted.

    The streams stay in their places: a thread that is left running must not put them back later.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, _Limited)]
    for stream in streams:
        stream.muted = True
    try:
        yield
    finally:
        for stream in streams:
            stream.muted = False


class _Limited(io.TextIOBase):
    """A stream that hands on its first characters and counts the rest."""

    def __init__(self, stream: Any, most: int) -> None:
        self.stream, self.room, self.left_out, self.last = stream, most, 0, ""
        self.muted = False

    def write(self, text: str) -> int:
        if self.muted:
            return len(text)
        shown = text[: self.room]
        self.room -= len(shown)
        self.left_out += len(text) - len(shown)
        if shown:
            self.last = shown[-1]
            self.stream.write(shown)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()
