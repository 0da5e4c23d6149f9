"""The ``course`` command: execute all notebooks, keep going after a failure, write one report."""

import argparse
import atexit
import copy
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlkit.course.learner.record import FOLDER_VARIABLE, read_records

CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Failure:
    """Where and why a notebook stopped; cells count from 1, and 0 means that none ran."""

    cell: int
    code: str
    error: str
    message: str
    traceback: str = ""

    def sentence(self) -> str:
        """One plain sentence: the cell, the kind of error and its message."""
        if self.cell == 0:
            return f"the kernel did not start: {self.error}: {self.message}"
        return f"cell {self.cell} stopped with {self.error}: {self.message}"


@dataclass
class NotebookRun:
    """One executed notebook: its file, copy ("learner" or "solution"), result and records."""

    path: Path
    copy: str
    title: str
    status: str = "not run"  # "ok", "failed" or "not run"
    seconds: float = 0.0
    failure: Failure | None = None
    executed: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.stem


class KernelStartError(RuntimeError):
    """The notebook's kernel did not start, also not at the second try."""


def find_notebooks(
    folder: Path, only: Sequence[str] = (), solutions: bool = False
) -> list[NotebookRun]:
    """The notebooks to run, in order: learner copies, then (if asked) solution copies.

    ``only`` holds numbers ("02" or "2") or names ("02_share_the_bottom"). Raises ValueError naming
    what is asked for and not there.
    """
    places = [("learner", folder)] + ([("solution", folder / "solutions")] if solutions else [])
    runs, found = [], set()
    for kind, place in places:
        for path in sorted(place.glob("[0-9][0-9]_*.ipynb")):
            matches = {w for w in only if path.stem == w or path.stem[:2] == w.zfill(2)}
            found |= matches
            if matches or not only:
                runs.append(NotebookRun(path, kind, read_title(path)))
    missing = [wanted for wanted in only if wanted not in found]
    if missing:
        raise ValueError(
            f"no notebook {', '.join(missing)} in {folder}; see there what the numbers are"
        )
    return runs


def read_title(path: Path) -> str:
    """The first heading of a notebook, without marks; the file's name if there is none."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            heading = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
            if cell["cell_type"] == "markdown" and heading:
                return re.sub(r"[*`]", "", heading[1]).strip()
    except (ValueError, KeyError, TypeError):
        pass
    return path.stem


def execute(
    run: NotebookRun,
    output: Path,
    *,
    mode: str = "smoke",
    cell_timeout: int = 900,
    on_cell: Callable[[int], None] | None = None,
    kernel_name: str = "python3",
) -> NotebookRun:
    """Execute one notebook, store the executed copy under ``output`` and fill in the result.

    An error in a cell ends this notebook, not the course. A kernel that does not start is started
    once more; its own words are kept in ``output/logs``. ``on_cell(index)`` is called before each
    cell.
    """
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    place = "solutions" if run.copy == "solution" else "notebooks"
    records = output / "records" / run.copy / run.name
    for stale in records.glob("*.json"):
        stale.unlink()
    log = output / "logs" / f"{run.copy}-{run.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = kernel_environment(run.copy, mode, records, output / "home")
    run.executed = output / place / run.path.name
    run.executed.parent.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    current = [-1]  # index of the cell that runs
    notebook = None
    try:
        original = nbformat.read(run.path, as_version=4)
        for attempt in (1, 2):
            notebook = copy.deepcopy(original)
            client = _client(notebook, run.path, cell_timeout, kernel_name, current, on_cell)
            try:
                with log.open("a" if attempt == 2 else "w", encoding="utf-8") as stream:
                    client.execute(env=environment, stderr=stream)
                break
            except (CellExecutionError, CellTimeoutError):
                raise
            except Exception as error:
                # nbclient answers Ctrl+C by ending the kernel, and remembers that it did.
                if getattr(client, "_async_cleanup_kernel_future", None) is not None:
                    raise KeyboardInterrupt from None
                if current[0] >= 0:
                    raise
                atexit.unregister(client._cleanup_kernel)  # there is no kernel to clean up
                if attempt == 2:
                    raise KernelStartError(f"{error} (its log: {log})") from error
        run.status = "ok"
    except CellExecutionError as error:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error.traceback))
        run.failure = _failure(notebook, current[0], error.ename, error.evalue, text)
    except CellTimeoutError:
        message = f"the cell ran longer than {cell_timeout} seconds"
        run.failure = _failure(notebook, current[0], "Timeout", message)
    except DeadKernelError:
        message = f"the kernel died, often for want of memory (its log: {log})"
        run.failure = _failure(notebook, current[0], "DeadKernel", message)
    except Exception as error:
        cell = current[0] if notebook is not None else -1
        run.failure = _failure(notebook, cell, type(error).__name__, str(error))
    run.seconds = time.monotonic() - started
    if run.failure is not None:
        run.status = "failed"
    if notebook is not None:
        nbformat.write(notebook, run.executed)
    run.records = read_records(records)
    if log.exists() and log.stat().st_size == 0:
        log.unlink()
    return run


def kernel_environment(kind: str, mode: str, records: Path, home: Path) -> dict[str, str]:
    """A kernel's environment: mode, place of results, and a home apart from the learner's own."""
    return {
        **os.environ,
        "MTLKIT_MODE": mode,
        "MTLKIT_PLAIN": "1",
        "MTLKIT_STRICT": "1" if kind == "solution" else "0",
        "MTLKIT_HOME": str(home.resolve()),
        FOLDER_VARIABLE: str(records.resolve()),
        "PYTHONPATH": os.pathsep.join(
            part for part in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if part
        ),
        "PYTHONUTF8": "1",
        "TQDM_DISABLE": "1",
    }


def _client(
    notebook: Any,
    path: Path,
    cell_timeout: int,
    kernel_name: str,
    current: list[int],
    on_cell: Callable[[int], None] | None,
) -> Any:
    from nbclient import NotebookClient

    def before_cell(cell: Any, cell_index: int) -> None:
        current[0] = cell_index
        if on_cell is not None:
            on_cell(cell_index)

    return NotebookClient(
        notebook,
        timeout=cell_timeout,
        startup_timeout=120,
        kernel_name=kernel_name,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=before_cell,
        extra_arguments=["--log-level=40"],  # errors only, so that a log means something
    )


def _failure(notebook: Any, index: int, error: str, message: str, traceback: str = "") -> Failure:
    code = notebook.cells[index].source if notebook is not None and index >= 0 else ""
    return Failure(index + 1, code, error, message, traceback)


def count_cells(path: Path) -> int:
    """The number of cells of a notebook; 1 for a file that cannot be read."""
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["cells"])
    except (ValueError, KeyError):
        return 1


def run_course(
    runs: list[NotebookRun],
    output: Path,
    *,
    mode: str = "smoke",
    cell_timeout: int = 900,
    progress: bool = True,
    kernel_name: str = "python3",
) -> int:
    """Execute the notebooks one after another, write ``index.html`` and ``results.json``.

    Returns the number of notebooks that did not reach their end. Ctrl+C still writes the report of
    what was done, and raises KeyboardInterrupt.
    """
    from tqdm import tqdm

    cells = {id(run): count_cells(run.path) for run in runs}
    started = time.monotonic()
    bar = tqdm(total=sum(cells.values()), unit="cell", disable=not progress, dynamic_ncols=True)
    done = 0
    try:
        for run in runs:
            bar.set_description(run.name if run.copy == "learner" else f"{run.name} (solution)")

            def advance(index: int, start: int = done) -> None:
                bar.update(start + index - bar.n)

            execute(
                run,
                output,
                mode=mode,
                cell_timeout=cell_timeout,
                on_cell=advance,
                kernel_name=kernel_name,
            )
            done += cells[id(run)]
            bar.update(done - bar.n)
            if run.failure is not None:
                bar.write(f"{run.path.name} ({run.copy} copy): {run.failure.sentence()}")
    finally:
        bar.close()
        write_results(runs, output, mode, time.monotonic() - started)
    return sum(run.status != "ok" for run in runs)


def environment_facts(mode: str) -> dict[str, str]:
    """What a reader of the report must know: versions, platform, threads, mode, date."""
    try:
        import torch

        device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
        version, threads = str(torch.__version__), f"{torch.get_num_threads()} threads"
    except ImportError:  # every notebook has failed then, and the report still says why
        device, version, threads = "unknown", "not installed", "no threads counted"
    return {
        "Sizes": "full lessons" if mode == "full" else "smoke (small, fast; numbers are rough)",
        "Date": time.strftime("%Y-%m-%d %H:%M"),
        "Python": platform.python_version(),
        "PyTorch": version,
        "Device": f"{device}, {threads}",
        "System": f"{platform.system()} {platform.machine()}",
    }


def write_results(runs: list[NotebookRun], output: Path, mode: str, seconds: float) -> None:
    """Write ``index.html`` for people and ``results.json`` for programs."""
    from mtlkit.course.runner.report import write_report

    facts = environment_facts(mode)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for run in runs:
        row: dict[str, Any] = {"notebook": run.name, "copy": run.copy, "title": run.title}
        row |= {"status": run.status, "seconds": round(run.seconds, 2)}
        row["failure"] = run.failure.sentence() if run.failure else None
        rows.append(row | {"records": run.records})
    summary = {"mode": mode, "seconds": round(seconds, 2), "facts": facts, "notebooks": rows}
    text = json.dumps(summary, ensure_ascii=False, indent=1) + "\n"
    (output / "results.json").write_text(text, encoding="utf-8", newline="\n")
    write_report(runs, output / "index.html", facts, seconds)


def parser() -> argparse.ArgumentParser:
    """The arguments of ``mtlkit course``."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit course",
        description="Execute the notebooks; write one HTML report with their tables and figures.",
    )
    arguments.add_argument("--full", action="store_true", help="lesson sizes (default: small ones)")
    arguments.add_argument("--solutions", action="store_true", help="the solution copies as well")
    arguments.add_argument(
        "--only", action="append", default=[], metavar="NN", help="one notebook, repeatable: 02"
    )
    arguments.add_argument(
        "--output", type=Path, default=CHECKOUT / "course-report", help="folder of the report"
    )
    arguments.add_argument(
        "--notebooks", type=Path, default=CHECKOUT / "notebooks", help="folder of the notebooks"
    )
    arguments.add_argument(
        "--cell-timeout", type=int, default=900, metavar="SECONDS", help="longest time for one cell"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mtlkit course``; exit code 0 if every notebook reached its end, 1 otherwise."""
    options = parser().parse_args(argv)
    try:
        runs = find_notebooks(options.notebooks, options.only, options.solutions)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    if not runs:
        print(
            f"There are no notebooks in {options.notebooks}. In a checkout of mtlkit they are made "
            "with `python3 run.py build --execute`.",
            file=sys.stderr,
        )
        return 1
    mode = "full" if options.full else "smoke"
    print(f"Executing {len(runs)} notebooks in {mode} sizes; the report goes to {options.output}.")
    try:
        failed = run_course(runs, options.output, mode=mode, cell_timeout=options.cell_timeout)
    except KeyboardInterrupt:
        print(f"\nStopped. What was done is in {options.output / 'index.html'}", file=sys.stderr)
        return 130
    for run in runs:
        state = "ok" if run.failure is None else f"FAILED: {run.failure.sentence()}"
        print(f"  {run.name} ({run.copy}): {run.seconds:.1f} s, {state}")
    print(f"{len(runs) - failed} of {len(runs)} notebooks reached their end.")
    print(f"Report: {(options.output / 'index.html').resolve().as_uri()}")
    return 1 if failed else 0
