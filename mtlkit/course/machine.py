"""What the doctor looks at on a machine: one function a thing, each gives one finding."""

import importlib
import importlib.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
OK, WARNING, PROBLEM = "ok", "warning", "problem"
REINSTALL = (
    "Run `python3 run.py doctor` (Windows: `py run.py doctor`): it installs what is missing."
)

# import name -> what the course needs it for
NEEDED = {
    "numpy": "arrays",
    "polars": "tables",
    "scipy": "checks of the mathematics",
    "sklearn": "reference metrics",
    "matplotlib": "figures",
    "tqdm": "progress bars",
    "pooch": "downloads with checksums",
    "yaml": "quizzes and presets",
    "jupyterlab": "the notebooks' window",
    "ipywidgets": "quizzes with buttons",
}
OPTIONAL = {
    "nbclient": ("the course command", "course"),
    "jupytext": ("building notebooks from their sources", "course"),
    "pytest": ("the tests", "test"),
    "opacus": ("notebook 15, private training", "privacy"),
    "captum": ("notebook 14, attributions", "explain"),
    "onnxruntime": ("notebook 16, export and serving", "export"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, its state, what was found, how to mend."""

    name: str
    state: str  # "ok", "warning" or "problem"
    found: str
    mend: str = ""


def check_python() -> Finding:
    """Python 3.10 to 3.13, 64 bits."""
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        mend = "Install Python 3.13 from https://www.python.org/downloads/ and run run.py with it."
        return Finding("Python", PROBLEM, found, mend)
    if sys.maxsize <= 2**32:
        return Finding("Python", PROBLEM, found + ", 32 bits", "Install the 64-bit Python.")
    return Finding("Python", OK, found)


def check_memory(available: int | None = None) -> Finding:
    """At least 2 GB of free memory; ``available`` in bytes, measured if not given."""
    if available is None:
        available = _free_memory()
    if available is None:
        return Finding("Memory", WARNING, "could not be measured", "2 GB should be free.")
    found = f"{available / 1e9:.1f} GB free"
    if available < 1e9:
        mend = "Close other programs: the notebooks need about 2 GB."
        return Finding("Memory", PROBLEM, found, mend)
    if available < 2e9:
        mend = "Close other programs, or set MTLKIT_MODE=smoke for small sizes."
        return Finding("Memory", WARNING, found, mend)
    return Finding("Memory", OK, found)


def _free_memory() -> int | None:
    try:
        import psutil

        return int(psutil.virtual_memory().available)
    except ImportError:
        return None


def check_disk(folder: Path = CHECKOUT, free: int | None = None) -> Finding:
    """At least 1 GB of free disk where the course lies; ``free`` in bytes, else measured."""
    free = shutil.disk_usage(folder).free if free is None else free
    found = f"{free / 1e9:.1f} GB free"
    if free < 200e6:
        return Finding("Disk", PROBLEM, found, "Free some space: nothing can be saved soon.")
    if free < 1e9:
        mend = "Free some space before you download data sets or install optional packages."
        return Finding("Disk", WARNING, found, mend)
    return Finding("Disk", OK, found)


def check_write(folder: Path = CHECKOUT) -> Finding:
    """The learner's folder takes files: progress, executed notebooks and reports go there."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        mend = "Copy the whole mtlkit folder to a place that is yours, such as your home folder."
        return Finding("Writing files", PROBLEM, f"{folder}: {error.strerror or error}", mend)
    return Finding("Writing files", OK, f"{folder} can be written")


def check_torch(load: Callable[[], Any] | None = None) -> Finding:
    """PyTorch can be imported, computes, and on which device and with how many threads."""
    load = load or (lambda: importlib.import_module("torch"))
    try:
        torch = load()
        answer = float((torch.ones(2, 2) @ torch.ones(2, 2)).sum())
    except ImportError as error:
        return Finding("PyTorch", PROBLEM, f"cannot be imported: {error}", REINSTALL)
    except Exception as error:
        # A broken library can raise anything here; OSError for a missing DLL is the usual one.
        mend = "Delete the folder .venv and run run.py again."
        if platform.system() == "Windows":
            mend += " Windows also needs the Microsoft Visual C++ Redistributable (x64)."
        return Finding("PyTorch", PROBLEM, f"fails: {type(error).__name__}: {error}", mend)
    if answer != 8.0:
        return Finding("PyTorch", PROBLEM, f"computes 2 x 2 x 2 = {answer}", REINSTALL)
    found = f"PyTorch {torch.__version__}, {_device(torch)}, {torch.get_num_threads()} threads"
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < (2, 6):
        return Finding("PyTorch", WARNING, found, "The course is tested with 2.13: update PyTorch.")
    return Finding("PyTorch", OK, found)


def _device(torch: Any) -> str:
    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "Apple GPU (MPS)"
    return "CPU (enough for the whole course)"


def check_packages(names: Sequence[str] = tuple(NEEDED)) -> Finding:
    """All packages that the notebooks import are installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        parts = ", ".join(f"{name} ({NEEDED.get(name, 'needed')})" for name in missing)
        return Finding("Packages", PROBLEM, f"missing: {parts}", REINSTALL)
    return Finding("Packages", OK, f"{len(names)} needed packages are installed")


def check_kernel(specs: Callable[[], dict[str, Any]] | None = None) -> Finding:
    """JupyterLab finds a Python kernel, and it is the one of this environment."""
    try:
        found = (specs or _kernel_specs)()
    except ImportError as error:
        return Finding("Jupyter kernel", PROBLEM, f"no Jupyter here: {error}", REINSTALL)
    mend = f"Run:  {sys.executable} -m ipykernel install --sys-prefix"
    if "python3" not in found:
        return Finding("Jupyter kernel", PROBLEM, "no Python kernel is registered", mend)
    program = str(found["python3"]["spec"]["argv"][0])
    # jupyter_client replaces a bare "python" by the Python that runs it.
    own = program in ("python", "python3", "python.exe") or _same_file(program, sys.executable)
    if not own:
        text = f"the kernel 'python3' starts another Python: {program}"
        return Finding("Jupyter kernel", WARNING, text, mend)
    return Finding("Jupyter kernel", OK, "the kernel 'python3' starts this Python")


def _kernel_specs() -> dict[str, Any]:
    importlib.import_module("ipykernel")
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager().get_all_specs()


def _same_file(first: str, second: str) -> bool:
    try:
        return Path(first).samefile(second)
    except OSError:
        return first == second


def check_notebooks(folder: Path = CHECKOUT / "notebooks") -> Finding:
    """The course's notebooks are there."""
    count = len(list(folder.glob("[0-9][0-9]_*.ipynb")))
    if count == 0:
        mend = "Run the course from a copy of the whole project (git clone), not from the package."
        return Finding("Notebooks", PROBLEM, f"none in {folder}", mend)
    return Finding("Notebooks", OK, f"{count} in {folder}")


def check_data(describe: Callable[[], Sequence[Any]] | None = None) -> Finding:
    """Which real data sets were found; none is needed, the synthetic shop is made on the spot."""
    try:
        if describe is None:
            from mtlkit.data.real import public

            describe = public.describe_all
        entries = list(describe())
    except ImportError as error:
        return Finding("Real data", WARNING, f"cannot be looked for: {error}", REINSTALL)
    here = [entry.name for entry in entries if entry.found_at is not None]
    if not here:
        mend = "Not needed to learn: the shop is synthetic. `mtlkit data` says how to get them."
        return Finding("Real data", OK, f"none of {len(entries)} sets found. {mend}")
    return Finding("Real data", OK, f"{len(here)} of {len(entries)} sets found: {', '.join(here)}")


def check_optional() -> Finding:
    """Packages that single notebooks or commands use."""
    missing: dict[str, list[str]] = {}
    for name, (purpose, extra) in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            missing.setdefault(extra, []).append(f"{name} for {purpose}")
    if not missing:
        return Finding("Optional packages", OK, "all installed")
    found = "not installed: " + "; ".join(part for parts in missing.values() for part in parts)
    mend = f'If you want them:  {sys.executable} -m pip install -e ".[{",".join(missing)}]"'
    return Finding("Optional packages", OK, f"{found}. {mend}")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_torch,
    check_packages,
    check_kernel,
    check_memory,
    check_disk,
    check_write,
    check_notebooks,
    check_data,
    check_optional,
)
