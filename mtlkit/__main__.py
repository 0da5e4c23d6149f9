"""The command line: ``python -m mtlkit COMMAND``; ``HELP`` lists the commands.

Heavy packages are imported by the command that needs them, so that help comes at once and
``doctor`` works on a broken installation.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]

HELP = """\
usage: mtlkit COMMAND [options]      (python3 run.py COMMAND ..., on Windows: py run.py COMMAND ...)

  lab      open JupyterLab at the first notebook
  course   execute the notebooks, write one HTML report with their tables and figures
  test     run the tests of the package, then of the notebooks
  doctor   look at this machine: what works, and what to mend
  data     list the real data sets, where each was found, and how to get the others
  evidence run a lesson's contest on several shops, or a study; store its tables (for authors)
  build    make the notebooks anew from notebooks/src (for authors)
  slides   check the slide decks and make them anew (for authors)
  bench    measure speed and memory

mtlkit COMMAND --help says more about one of them.
"""


def lab(argv: Sequence[str]) -> int:
    """Open JupyterLab in the checkout, at notebook 00 if it is there."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit lab",
        description="Open JupyterLab at the first notebook. Stop it with Ctrl+C in this window.",
        epilog="What follows -- goes to JupyterLab, for example: mtlkit lab -- --port 9000",
    )
    arguments.add_argument("--no-browser", action="store_true", help="only print the address")
    own, extra = split_arguments(argv)
    options = arguments.parse_args(own)
    if importlib.util.find_spec("jupyterlab") is None:  # it is of the extra `course`
        raise ModuleNotFoundError("No module named 'jupyterlab'", name="jupyterlab")
    return call(lab_command(options.no_browser, extra), lab_environment())


def lab_environment(checkout: Path = CHECKOUT) -> dict[str, str]:
    """Additions to JupyterLab's environment, which its kernels inherit.

    All notebooks, solutions too, share one record of progress in the checkout (where that is shared
    or read-only, in the user's data folder), and find this ``mtlkit`` even where it was not
    installed. A setting of our own keeps JupyterLab from asking
    whether it may fetch news.
    """

    from mtlkit.course.learner.home import is_own

    def first(folder: Path, variable: str) -> str:
        return os.pathsep.join(part for part in (str(folder), os.environ.get(variable, "")) if part)

    settings = Path(__file__).resolve().parent / "course" / "jupyter"
    found = {"JUPYTER_CONFIG_PATH": first(settings, "JUPYTER_CONFIG_PATH")}
    if (checkout / "notebooks").is_dir():
        named = os.environ.get("MTLKIT_HOME") or (str(checkout) if is_own(checkout) else "")
        found |= {"MTLKIT_HOME": named} if named else {}
        found["PYTHONPATH"] = first(checkout, "PYTHONPATH")
    return found


def lab_command(no_browser: bool, extra: Sequence[str], checkout: Path = CHECKOUT) -> list[str]:
    """The command that starts JupyterLab; the first notebook opens in a tab."""
    first = next(iter(sorted(checkout.glob("notebooks/00_*.ipynb"))), None)
    root = checkout if (checkout / "notebooks").is_dir() else Path.cwd()
    page = f"/lab/tree/{first.relative_to(root).as_posix()}" if first else "/lab"
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    command.append(f"--LabApp.default_url={page}")
    # Nothing is asked of the network: no news, no search for a newer version.
    command.append("--LabApp.news_url=None")
    command.append("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
    return command + (["--no-browser"] if no_browser else []) + list(extra)


def test(argv: Sequence[str]) -> int:
    """Run the tests of the package and the notebooks in one pytest run."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit test",
        description="Run the package's tests, then every notebook to its end (small sizes).",
        epilog="What follows -- goes to pytest, for example: mtlkit test --fast -- -k gate -x",
    )
    arguments.add_argument(
        "--fast", action="store_true", help="without notebooks and without tests marked slow"
    )
    own, extra = split_arguments(argv)
    options = arguments.parse_args(own)
    if not (CHECKOUT / "tests").is_dir():
        print(f"There are no tests in {CHECKOUT}: run them from a git clone.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "OMP_NUM_THREADS": "1",  # one thread a worker: more made runs slow and uneven
            "MTLKIT_MODE": "smoke",
            "MTLKIT_SHOP": "0",
            "MTLKIT_PLAIN": "1",
            "MTLKIT_ANSWERS": "show",
            "MTLKIT_HOME": home,  # tests leave the learner's progress and records alone
            "MTLKIT_RECORD": str(Path(home) / "records"),
        }
        return call(test_command(options.fast, extra), environment, cwd=CHECKOUT)


def test_command(fast: bool, extra: Sequence[str], checkout: Path = CHECKOUT) -> list[str]:
    """The pytest command: two workers, each file on one worker, learner copies through nbval-lax.

    Solution copies run in `tests/notebooks/test_execute.py`.
    """
    command = [sys.executable, "-m", "pytest", "-n2", "--dist", "loadfile", "tests"]
    if fast:
        return [*command, "-m", "not slow and not notebook", *extra]
    notebooks = [
        str(path.relative_to(checkout))
        for path in sorted(checkout.glob("notebooks/[0-9][0-9]_*.ipynb"))
    ]
    if notebooks:
        command += [*notebooks, "-p", "mtlkit.course.runner.strict_solutions"]
        command += ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
        command += ["--ignore-glob=*/fixtures/*.ipynb"]
    return [*command, *extra]


def data(argv: Sequence[str]) -> int:
    """List the real data sets, or fetch one."""
    arguments = argparse.ArgumentParser(
        prog="mtlkit data",
        description="List the real data sets and where each was found; `get NAME` fetches one.",
    )
    arguments.add_argument("action", nargs="?", choices=["list", "get"], default="list")
    arguments.add_argument("name", nargs="?", help="a data set's name")
    options = arguments.parse_args(argv)
    from mtlkit.data.real import public

    if options.action == "get":
        if not options.name:
            arguments.error("which one? `mtlkit data` lists the names")
        try:
            paths = public.fetch(options.name)
        except (OSError, ValueError) as problem:  # missing, damaged, unknown name, no network
            print(problem, file=sys.stderr)
            return 1
        for path in paths:
            print(path)
        return 0
    for entry in public.describe_all():
        place = str(entry.found_at) if entry.found_at else f"not here; {entry.url}"
        print(f"{entry.name}\n    {entry.title} ({entry.size})")
        print(f"    licence: {entry.licence}\n    {place}")
    print("\nNone of them is needed to start: the synthetic shop is made on your machine.")
    print("`mtlkit data get NAME` downloads a set, or says what to fetch where.")
    return 0


def course(argv: Sequence[str]) -> int:
    """Execute the notebooks and write the report."""
    from mtlkit.course.runner.run import main as run

    return run(argv)


def doctor(argv: Sequence[str]) -> int:
    """Look at this machine."""
    from mtlkit.course.doctor import main as examine

    return examine(argv)


def evidence(argv: Sequence[str]) -> int:
    """Run a lesson's contest on several shops."""
    from mtlkit.course.runner.evidence import main as run

    return run(argv)


def build(argv: Sequence[str]) -> int:
    """Make the notebooks from their sources."""
    from mtlkit.course.author.build import main as make

    return make(list(argv))


def slides(argv: Sequence[str]) -> int:
    """Check the slide decks and make them anew."""
    from mtlkit.course.author.slides import main as make

    return make(list(argv))


def bench(argv: Sequence[str]) -> int:
    """Measure speed and memory."""
    from mtlkit.bench.commands import main as measure

    return measure(list(argv))


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "lab": lab,
    "course": course,
    "test": test,
    "doctor": doctor,
    "data": data,
    "evidence": evidence,
    "build": build,
    "slides": slides,
    "bench": bench,
}


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before and after the first ``--``."""
    argv = list(argv)
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    return argv[:place], argv[place + 1 :]


def call(command: Sequence[str], environment: dict[str, str], cwd: Path | None = None) -> int:
    """Run a program with additions to the environment; its exit code. Ctrl+C is left to it."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=cwd)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; 2 for a command that does not exist."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if argv[0] in ("-V", "--version"):
        from mtlkit import __version__

        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        print(f"mtlkit has no command {argv[0]!r}.\n\n{HELP}", end="", file=sys.stderr)
        return 2
    try:
        return COMMANDS[argv[0]](argv[1:])
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "mtlkit":
            raise
        print(
            f"The package {missing.name!r} is not installed in this Python ({sys.executable}).\n"
            "Start mtlkit with `python3 run.py` (Windows: `py run.py`), which installs what is "
            "missing,\nor run: pip install -r requirements.txt  (your own versions: "
            'pip install -e ".[course]")',
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
