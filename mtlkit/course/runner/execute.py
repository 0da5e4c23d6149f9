"""The one executor: a copy of a notebook run without a screen, its outputs made fit to be kept."""

import atexit
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mtlkit.course.learner.modes import MODES
from mtlkit.course.learner.record import FOLDER_VARIABLE

CHECKOUT = Path(__file__).resolve().parents[3]


class KernelStartError(RuntimeError):
    """The notebook's kernel did not start, also not at the second try."""


class KernelExit(RuntimeError):
    """A cell asked for the end of the kernel (`exit()`), so that the cells after it cannot run."""


def run(
    notebook: Any,
    folder: Path,
    *,
    mode: str = "full",
    shop: int = 0,
    strict: bool = False,
    home: Path | None = None,
    records: Path | None = None,
    slide_figures: Path | None = None,
    log: Path | None = None,
    cell_timeout: int = 600,
    on_cell: Callable[[int], None] | None = None,
    kernel_name: str = "python3",
) -> Any:
    """Execute a notebook in place and return it; its working directory is `folder`.

    `shop` is the seed of the shop it is about, whatever MTLKIT_SHOP says outside.
    `strict` makes a check that is not passed an error (for solution copies). `home` keeps the
    learner's record and `records` the results; without them both go to a temporary folder, so that
    no one's guesses get into the outputs (results to MTLKIT_RECORD if that is set).
    `slide_figures` gets every figure that is shown once more, with the type of a slide. `log` keeps
    what the kernel says itself. `on_cell(index)` is called before each cell.

    Raises ValueError for an unknown mode, nbclient's CellExecutionError at the first failing cell
    (CellTimeoutError after `cell_timeout` seconds, DeadKernelError if the kernel dies),
    KernelExit at a cell that calls `exit()`, and KernelStartError when a kernel does not start at
    the second try either. What ran before an error stays in the notebook.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; found {mode!r}")
    before = dict(notebook.metadata)
    try:
        with ExitStack() as stack:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            variables = environment(mode, strict, home or temporary, shop)
            if records is not None:
                variables[FOLDER_VARIABLE] = str(records.resolve())
            variables.setdefault(FOLDER_VARIABLE, str(temporary / "records"))
            if slide_figures is not None:
                from mtlkit.plot.sheet import FOLDER_VARIABLE as FIGURES

                variables[FIGURES] = str(slide_figures.resolve())
            options: dict[str, Any] = {"env": variables}
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                options["stderr"] = stack.enter_context(log.open("w", encoding="utf-8"))
            _run(notebook, folder, kernel_name, cell_timeout, on_cell, options)
    finally:
        notebook.metadata.clear()  # the kernel adds its own version to them
        notebook.metadata.update(before)
        clean(notebook)
    return notebook


def environment(mode: str, strict: bool, home: Path, shop: int = 0) -> dict[str, str]:
    """A kernel's environment: mode, shop, strictness, and a home apart from the learner's own."""
    return {
        **os.environ,
        "MTLKIT_MODE": mode,
        "MTLKIT_SHOP": str(shop),
        "MTLKIT_PLAIN": "1",
        "MTLKIT_ANSWERS": "show",  # whoever runs a notebook whole wants all of its outputs
        "MTLKIT_JOBS": "1",  # a notebook beside others: comparisons stay in its process
        "MTLKIT_STRICT": "1" if strict else "0",
        "MTLKIT_HOME": str(home.resolve()),
        "PYTHONPATH": os.pathsep.join(
            part for part in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if part
        ),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "TQDM_DISABLE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def _run(
    notebook: Any,
    folder: Path,
    kernel_name: str,
    cell_timeout: int,
    on_cell: Callable[[int], None] | None,
    options: dict[str, Any],
) -> None:
    """Execute; a kernel that does not start is started once more."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    started = False

    def before_cell(cell: Any, cell_index: int) -> None:
        nonlocal started
        started = True
        if on_cell is not None:
            on_cell(cell_index)

    def after_cell(cell: Any, cell_index: int, execute_reply: Any) -> None:
        payload = (execute_reply or {}).get("content", {}).get("payload") or []
        if any(part.get("source") == "ask_exit" for part in payload):
            raise KernelExit("the cell ended the kernel: leave out exit() and quit()")

    for attempt in (1, 2):
        client = NotebookClient(
            notebook,
            timeout=cell_timeout,
            startup_timeout=120,
            kernel_name=kernel_name,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            on_cell_start=before_cell,
            on_cell_executed=after_cell,
            extra_arguments=["--log-level=40"],  # errors only, so that a log means something
        )
        try:
            client.execute(**options)
            return
        except (CellExecutionError, CellTimeoutError, KernelExit):
            raise
        except Exception as error:
            # nbclient answers Ctrl+C by ending the kernel, and remembers that it did.
            if getattr(client, "_async_cleanup_kernel_future", None) is not None:
                raise KeyboardInterrupt from None
            if started:
                raise
            atexit.unregister(client._cleanup_kernel)  # there is no kernel to clean up
            if attempt == 2:
                raise KernelStartError(str(error)) from error


def clean(notebook: Any) -> None:
    """Strip what differs from run to run, and join neighbouring pieces of the same stream."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("ExecuteTime", None)
        if cell.cell_type != "code":
            continue
        outputs: list = []
        for output in cell.outputs:
            output.pop("transient", None)
            same = outputs and output.output_type == "stream" == outputs[-1].output_type
            if same and outputs[-1].name == output.name:
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        cell.outputs = outputs
