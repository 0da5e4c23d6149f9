"""Runs of a comparison over several processes, with the numbers of one process."""

from __future__ import annotations

import os
import pickle
import tempfile
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mtlkit.comparison.plan import Plan, Run
from mtlkit.comparison.store import write_run
from mtlkit.train.device import choose_device, remember_fast_bfloat16

Wanted = tuple[str, int, Path | None]  # candidate, seed, the file to keep the run in

# What is set inside a test, a test worker, and a notebook that the course executes.
ONE_PROCESS = ("PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "MTLKIT_MODE")


def choose_jobs(jobs: int | str, plan: Plan, *, own_code: bool) -> int:
    """Turn "auto" into a number of processes; check a number.

    "auto" is the environment variable MTLKIT_JOBS where it is set. Else it is 1 inside a test and
    in a notebook that the course executes (they have processes of their own); on a GPU, which is
    one for all; and with ``own_code``, a trainer or evaluator of the caller, since what that keeps
    for itself would stay in the other process. Else it is the number of physical cores. Raises
    ``ValueError`` for anything but "auto" or a whole number from 1 on.
    """
    if jobs == "auto":
        given = os.environ.get("MTLKIT_JOBS", "").strip() or "auto"
        if given != "auto":
            if not given.isdecimal() or int(given) < 1:
                raise ValueError(f'MTLKIT_JOBS is {given!r}: set it to a number from 1, or "auto".')
            return int(given)
        if own_code or any(os.environ.get(name) for name in ONE_PROCESS):
            return 1
        homes = {str(options.get("device", "auto")) for options in plan.options.values()}
        if any(choose_device(home).type != "cpu" for home in homes):
            return 1
        import joblib

        return max(1, joblib.cpu_count(only_physical_cores=True))
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f'jobs must be "auto" or a number of processes from 1, not {jobs!r}.')
    return jobs


def packed(plan: Plan) -> bytes:
    """The plan as bytes; lambdas and what a notebook defines go by value.

    Raises ``ValueError`` where something in it cannot leave this process.
    """
    import joblib

    try:
        return pickle.dumps(joblib.wrap_non_picklable_objects(plan, keep_wrapper=False))
    except Exception as error:  # whatever a stranger's __reduce__ raises
        raise ValueError(
            f"This comparison cannot be sent to other processes ({error}). Pass jobs=1, or build "
            "what it needs (an open file, a lock, a connection) inside the factory."
        ) from error


def over_processes(
    plan: Plan, content: bytes, wanted: Sequence[Wanted], jobs: int
) -> Iterator[Run]:
    """Every wanted run; what is done first comes first.

    ``content`` is the plan, ``packed``. This process is one of ``jobs``; a new one loads torch for
    seconds and takes its first run only when it is ready, so short comparisons end without it. The
    plan travels once, in a file, not once a run: its tables are the largest part by far. Workers
    stay ready for some minutes, so a second comparison has them at once.
    """
    from joblib.externals.loky import get_reusable_executor

    todo, done = deque(wanted), SimpleQueue[Future[Run]]()
    with tempfile.TemporaryDirectory(prefix="mtlkit-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "plan.pickle"
        path.write_bytes(content)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(plan.threads))
        executor = get_reusable_executor(jobs - 1, timeout=300, env={**threads, "MTLKIT_JOBS": "1"})

        def send_next(before: Future[Any]) -> None:
            """Give a free worker its next run; the executor calls it when ``before`` is done."""
            failed = before.cancelled() or before.exception() is not None
            one = None if failed else _taken(todo)
            if one is not None:
                try:
                    executor.submit(run_here, path, *one).add_done_callback(finish)
                except Exception as error:  # its workers are gone: whoever waits must hear of it
                    lost: Future[Run] = Future()
                    lost.set_exception(error)
                    done.put(lost)

        def finish(run: Future[Run]) -> None:
            done.put(run)
            send_next(run)

        try:
            for _ in range(jobs - 1):
                executor.submit(get_ready, path).add_done_callback(send_next)
            left = len(wanted)
            while left:
                one = _taken(todo)
                if one is not None:
                    yield kept(plan, *one)
                    left -= 1
                while left and (one is None or not done.empty()):  # nothing to take: wait
                    yield done.get().result()
                    left -= 1
        finally:
            todo.clear()  # after an error or an interrupt nobody begins another run


def _taken(todo: deque[Wanted]) -> Wanted | None:
    """The next of ``todo``, which this process and the executor's thread share; None: all taken."""
    try:
        return todo.popleft()
    except IndexError:
        return None


_plans: dict[Path, Plan] = {}  # in a worker: the plan at hand


def run_here(path: Path, candidate: str, seed: int, keep: Path | None) -> Run:
    """In a worker: one run of the plan that lies at ``path``.

    An exception that pickle cannot take to the caller arrives as a ``RuntimeError`` with its text.
    """
    from joblib.externals.loky.backend.reduction import dumps  # as its results travel

    try:
        get_ready(path)
        return kept(_plans[path], candidate, seed, keep)
    except Exception as error:
        try:
            pickle.loads(dumps(error))
        except Exception:  # whatever the class of a stranger raises
            told = "".join(traceback.format_exception(error))
            raise RuntimeError(f"A run in another process failed:\n{told}") from None
        raise


def get_ready(path: Path) -> None:
    """In a worker: read the plan, which loads torch and whatever else the runs need."""
    if path not in _plans:
        _plans.clear()
        _plans[path] = pickle.loads(path.read_bytes())  # written by over_processes, just now
        remember_fast_bfloat16(_plans[path].fast_bfloat16)


def kept(plan: Plan, candidate: str, seed: int, keep: Path | None) -> Run:
    """One run of the plan, written to the file ``keep`` as soon as it is done."""
    run = plan.run(candidate, seed)
    if keep is not None:
        write_run(keep, run)
    return run
