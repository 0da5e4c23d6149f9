"""Running a copy of a notebook without a screen, and making its outputs fit to be kept."""

import base64
import copy
import os
import tempfile
from pathlib import Path
from typing import Any

from mtlkit.course.learner.modes import MODES

LARGEST_PICTURE = 80 * 1024  # bytes of PNG
REPOSITORY = Path(__file__).resolve().parents[3]


def run(
    notebook: Any,
    folder: Path,
    *,
    mode: str = "full",
    strict: bool = False,
    home: Path | None = None,
    timeout: int = 600,
) -> Any:
    """Execute a notebook in place and return it; its working directory is `folder`.

    `strict` makes a check that is not passed an error (for solution copies). `home` keeps the
    learner's record (a temporary folder without it, so that no one's guesses get into the outputs).
    A kernel that fails to start is tried once more. Raises nbclient's CellExecutionError at the
    first failing cell.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; found {mode!r}")
    from nbclient import NotebookClient

    metadata = copy.deepcopy(notebook.metadata)
    with tempfile.TemporaryDirectory() as temporary:
        environment = {
            **os.environ,
            "MTLKIT_MODE": mode,
            "MTLKIT_PLAIN": "1",
            "MTLKIT_STRICT": "1" if strict else "0",
            "MTLKIT_HOME": str(home or temporary),
            "PYTHONPATH": os.pathsep.join(
                part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part
            ),
            "PYTHONHASHSEED": "0",
            "TQDM_DISABLE": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        environment.setdefault("MTLKIT_RECORD", str(Path(temporary) / "records"))
        for attempt in (1, 2):
            client = NotebookClient(
                notebook,
                timeout=timeout,
                kernel_name="python3",
                resources={"metadata": {"path": str(folder)}},
                record_timing=False,
                extra_arguments=["--log-level=40"],
            )
            try:
                client.execute(env=environment)
                break
            except RuntimeError as error:
                started = any(c.get("execution_count") for c in notebook.cells)
                if attempt == 2 or started or "Kernel" not in str(error):
                    raise
    notebook.metadata = metadata  # the kernel adds its own version to them
    clean(notebook)
    return notebook


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


def pictures(notebook: Any) -> list[tuple[int, int, str]]:
    """Every PNG output as (position of its cell from 1, bytes, alt text, "" if it has none)."""
    found = []
    for position, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                size = len(base64.b64decode(png))
                metadata = output.get("metadata", {})
                alt = metadata.get("image/png", {}).get("alt") or metadata.get("alt") or ""
                found.append((position, size, str(alt).strip()))
    return found
