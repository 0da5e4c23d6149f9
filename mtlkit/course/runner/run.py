"""The ``course`` command: execute all notebooks, keep going after a failure, write one report."""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtlkit.course.learner.record import read_records
from mtlkit.course.runner.execute import CHECKOUT, KernelExit, KernelStartError
from mtlkit.course.runner.execute import run as run_notebook
from mtlkit.course.runner.notebooks import (
    NO_NOTEBOOK,
    Failure,
    NotebookRun,
    count_cells,
    find_notebooks,
    read_notebook,
)
from mtlkit.course.runner.results import write_results
from mtlkit.files import write_text


def execute(
    run: NotebookRun,
    output: Path,
    *,
    mode: str = "smoke",
    shop: int = 0,
    cell_timeout: int = 900,
    on_cell: Callable[[int], None] | None = None,
    kernel_name: str = "python3",
) -> NotebookRun:
    """Execute one notebook, store the executed copy under ``output`` and fill in the result.

    An error in a cell ends this notebook, not the course; so do a file that is no notebook and a
    cell that ends the kernel (`exit()`). A kernel that does not start is started once more; its own
    words are kept in ``output/logs``. ``on_cell(index)`` is called before each cell.
    """
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    place = "solutions" if run.copy == "solution" else "notebooks"
    records = output / "records" / run.copy / run.name
    for stale in records.glob("*.json"):
        stale.unlink()
    log = output / "logs" / f"{run.copy}-{run.name}.txt"
    run.executed = output / place / run.path.name

    started = time.monotonic()
    current = -1  # index of the cell that runs

    def before_cell(index: int) -> None:
        nonlocal current
        current = index
        if on_cell is not None:
            on_cell(index)

    notebook = None
    try:
        notebook = read_notebook(run.path)
        run_notebook(
            notebook,
            run.path.parent,
            mode=mode,
            shop=shop,
            strict=run.copy == "solution",
            home=output / "home",
            records=records,
            log=log,
            cell_timeout=cell_timeout,
            on_cell=before_cell,
            kernel_name=kernel_name,
        )
        run.status = "ok"
    except CellExecutionError as error:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error.traceback))
        run.failure = _failure(notebook, current, error.ename, error.evalue, text)
    except CellTimeoutError:
        message = f"the cell ran longer than {cell_timeout} seconds"
        run.failure = _failure(notebook, current, "Timeout", message)
    except DeadKernelError:
        message = f"the kernel died, often for want of memory (its log: {log})"
        run.failure = _failure(notebook, current, "DeadKernel", message)
    except KernelStartError as error:
        run.failure = _failure(notebook, -1, "KernelStartError", f"{error} (its log: {log})")
    except KernelExit as error:
        run.failure = _failure(notebook, current, "KernelExit", str(error))
    except Exception as error:
        kind = NO_NOTEBOOK if notebook is None else type(error).__name__
        run.failure = _failure(notebook, current, kind, str(error))
    run.seconds = time.monotonic() - started
    if run.failure is not None:
        run.status = "failed"
    if notebook is None:
        run.executed = None  # what lies there is of an earlier run
    else:
        write_text(run.executed, nbformat.writes(notebook) + "\n", errors="replace")
    run.records = read_records(records)
    if log.exists() and log.stat().st_size == 0:
        log.unlink()
    return run


def _failure(notebook: Any, index: int, error: str, message: str, traceback: str = "") -> Failure:
    code = notebook.cells[index].source if notebook is not None and index >= 0 else ""
    return Failure(index + 1, code, error, message, traceback)


def run_course(
    runs: list[NotebookRun],
    output: Path,
    *,
    mode: str = "smoke",
    shop: int = 0,
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
                shop=shop,
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
        write_results(runs, output, mode, time.monotonic() - started, shop)
    return sum(run.status != "ok" for run in runs)


def parser() -> argparse.ArgumentParser:
    """The arguments of ``mtlkit course``."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit course",
        description="Execute the notebooks; write one HTML report with their tables and figures.",
    )
    arguments.add_argument("--full", action="store_true", help="lesson sizes (default: small ones)")
    arguments.add_argument(
        "--shop", type=int, default=0, metavar="SEED", help="shop of the notebooks that take one"
    )
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
    arguments = parser()
    options = arguments.parse_args(argv)
    if options.shop < 0:
        arguments.error(f"--shop must be a whole number from 0, not {options.shop}")
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
        failed = run_course(
            runs, options.output, mode=mode, shop=options.shop, cell_timeout=options.cell_timeout
        )
    except KeyboardInterrupt:
        print(f"\nStopped. What was done is in {options.output / 'index.html'}", file=sys.stderr)
        return 130
    for run in runs:
        state = "ok" if run.failure is None else f"FAILED: {run.failure.sentence()}"
        print(f"  {run.name} ({run.copy}): {run.seconds:.1f} s, {state}")
    print(f"{len(runs) - failed} of {len(runs)} notebooks reached their end.")
    print(f"Report: {(options.output / 'index.html').resolve().as_uri()}")
    return 1 if failed else 0
