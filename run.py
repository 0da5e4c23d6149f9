#!/usr/bin/env python3
"""Set up mtlkit and run it: ``python3 run.py lab``, ``course``, ``test``, ``doctor`` and more.

Needs nothing but Python. Makes a virtual environment in ``.venv`` beside this file, installs
requirements.txt into it once per change, then runs ``python -m mtlkit`` there with your arguments
and returns its exit code. The environment variable MTLKIT_VENV puts the environment elsewhere.
An environment that you made yourself is used if it works, and is never deleted.
"""

# A Python too old to read this file prints the next line as it gives up, so it says what to do.
NEEDS: str = "run.py needs Python 3.10 to 3.13: python3 run.py, or on Windows: py -3.13 run.py"

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 10), (3, 13)
STAMP = "mtlkit-requirements.txt"  # what is installed, in any environment that we use
MARK = "mtlkit-environment.txt"  # this environment was made here and may be made anew
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """Something stops the set-up; the message says what and how to mend it."""


def say(text: str = "") -> None:
    print(text, flush=True)


def check_python(version: tuple, system: str, machine: str, bits: int) -> None:
    """Refuse a Python on which PyTorch cannot be installed, in one plain sentence."""
    have = ".".join(str(part) for part in version[:3])
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        raise SetupError(
            f"mtlkit needs Python 3.10 to 3.13, and this is Python {have} ({sys.executable}).\n"
            "Install Python 3.13 from https://www.python.org/downloads/ and run\n"
            "  Linux, macOS:  python3.13 run.py\n"
            "  Windows:       py -3.13 run.py"
        )
    if bits < 64:
        raise SetupError(
            f"This Python {have} is a 32-bit one, and PyTorch needs 64 bits.\n"
            "Install the 64-bit Python from https://www.python.org/downloads/ and try again."
        )
    if system == "Darwin" and machine == "x86_64":
        raise SetupError(
            "This Python is built for Intel Macs, for which PyTorch makes no new releases.\n"
            "On a Mac with an Apple chip: install the universal Python from\n"
            "https://www.python.org/downloads/ and run it in a Terminal without Rosetta.\n"
            "On an Intel Mac: use a Linux container, or a notebook service on the web."
        )


def venv_folder() -> Path:
    """The folder of the virtual environment: MTLKIT_VENV, otherwise ``.venv`` beside this file.

    A link is followed, so that what is looked at, made and emptied is always one real folder.
    """
    chosen = os.environ.get("MTLKIT_VENV")
    return (Path(chosen).expanduser() if chosen else ROOT / ".venv").resolve()


def venv_python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted_stamp() -> str:
    """One hash over everything that the installation depends on."""
    digest = hashlib.sha256()
    for name in ("requirements.txt", "pyproject.toml"):
        # Text mode, so that a checkout with Windows line ends has the same hash.
        digest.update((ROOT / name).read_text(encoding="utf-8").encode())
        digest.update(b"\0")
    digest.update(f"{ROOT}\0{sys.version_info[0]}.{sys.version_info[1]}".encode())
    return digest.hexdigest()


def stamp_matches(folder: Path, stamp: str) -> bool:
    try:
        return (folder / STAMP).read_text(encoding="utf-8").strip() == stamp
    except (OSError, UnicodeDecodeError):
        return False


def write_stamp(folder: Path, stamp: str) -> None:
    """Written after success only, and by a rename: a half-written stamp cannot exist."""
    temporary = folder / (STAMP + ".new")
    temporary.write_text(stamp + "\n", encoding="utf-8")
    temporary.replace(folder / STAMP)


def venv_works(folder: Path) -> bool:
    """True if the environment's own Python starts, is of this version and has pip."""
    program = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(venv_python(folder)), "-I", "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    expected = "%d.%d" % sys.version_info[:2]
    return answer.returncode == 0 and answer.stdout.decode().strip() == expected


def is_ours(folder: Path) -> bool:
    """True if run.py made the environment in this folder: its mark says so.

    What version 0.1 left is no mark: it wrote its file into environments of other people too.
    """
    return (folder / MARK).is_file()


def is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def write_mark(folder: Path) -> None:
    text = "run.py of mtlkit made this folder and may empty it and make it anew.\n"
    (folder / MARK).write_text(text, encoding="utf-8")


def empty_venv(folder: Path) -> None:
    """Delete what is in a broken environment of ours, and refuse anything else.

    The mark stays, so that after a stop half-way the rest is still known as ours.
    """
    if not is_ours(folder):
        have = "%d.%d" % sys.version_info[:2]
        raise SetupError(
            f"{folder} is not an environment of Python {have} with pip, and run.py did not make\n"
            "it, so it is left alone: move it away, or name another place in the environment\n"
            "variable MTLKIT_VENV."
        )
    if folder in (Path(sys.prefix).resolve(), ROOT) or folder in ROOT.parents:
        raise SetupError(
            f"The environment in {folder} is broken, and this Python or run.py lies in it.\n"
            "Leave it (deactivate) and run run.py with the Python of your system, or name another\n"
            "place in the environment variable MTLKIT_VENV."
        )
    say(f"The environment in {folder} is half-made, broken or of another Python: made anew.")
    try:
        write_mark(folder)
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARK:
                path.unlink()
    except OSError as error:
        raise SetupError(
            f"The environment in {folder} is broken and could not be deleted: {error}.\n"
            "Close the programs that use it (JupyterLab, an editor) and run the same command again."
        ) from None


def make_venv(folder: Path) -> None:
    """Make the environment in a folder that is not there, empty, or emptied by us."""
    say(f"[1/2] Making a Python environment in {folder} (about 5 seconds) ...")
    folder.mkdir(parents=True, exist_ok=True)
    write_mark(folder)  # before anything else, so that a half-made one is known as ours
    if subprocess.call([sys.executable, "-m", "venv", str(folder)]) != 0:
        raise SetupError(
            "Python could not make a virtual environment; its own message stands above.\n"
            "On Debian or Ubuntu this usually helps:  sudo apt install python3-venv"
        )


def install(folder: Path) -> None:
    say("[2/2] Installing PyTorch, JupyterLab and the rest of requirements.txt.")
    say("      1 to 5 minutes, once; later starts take a second. About 2 GB on disk.")
    chosen_index = os.environ.get("PIP_EXTRA_INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    if sys.platform == "linux" and not shutil.which("nvidia-smi") and not chosen_index:
        say("      No NVIDIA card was found. PyTorch's standard Linux package brings several GB")
        say("      for such cards; to do without, press Ctrl+C and start again with")
        say(f"        PIP_EXTRA_INDEX_URL={CPU_INDEX} python3 run.py")
    command = [str(venv_python(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--no-input", "-r", "requirements.txt"]
    started = time.monotonic()
    code = subprocess.call(command, cwd=str(ROOT))
    if code != 0:
        remedy = "Delete" if is_ours(folder) else "Move away"
        raise SetupError(
            f"pip ended with exit code {code}; its own message stands above. Nothing is lost:\n"
            "  - no network, or a proxy? Mend it and run the same command again.\n"
            "  - disk full? mtlkit needs about 4 GB while it installs.\n"
            f"  - still no luck? {remedy} the folder {folder} and run the same command again."
        )
    say(f"      Installed in {time.monotonic() - started:.0f} seconds.\n")


def prepare(folder: Path) -> Path:
    """Bring the environment up to date and return its Python."""
    stamp = wanted_stamp()
    current = stamp_matches(folder, stamp)
    if not folder.exists() or is_empty(folder):
        make_venv(folder)
        current = False
    elif not venv_works(folder):
        empty_venv(folder)
        make_venv(folder)
        current = False
    if not current:
        if not is_ours(folder):
            say(f"{folder} is an environment of your own: mtlkit is installed into it.")
        install(folder)
        write_stamp(folder, stamp)
    return venv_python(folder)


def run_mtlkit(python: Path, arguments: list) -> int:
    """Run ``python -m mtlkit`` and return its exit code; Ctrl+C is left to it."""
    environment = dict(os.environ)
    environment.setdefault("PYTHONUTF8", "1")  # Windows consoles then show Chinese and Greek
    process = subprocess.Popen([str(python), "-m", "mtlkit", *arguments], env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue
    return code if code >= 0 else 128 - code


def main(arguments: list) -> int:
    try:
        bits = 64 if sys.maxsize > 2**32 else 32
        check_python(tuple(sys.version_info), platform.system(), platform.machine(), bits)
        python = prepare(venv_folder())
    except SetupError as problem:
        print(problem, file=sys.stderr, flush=True)
        return 2
    except (OSError, RuntimeError) as problem:  # a folder without permission, a loop of links
        print(f"The set-up stopped: {problem}.", file=sys.stderr)
        print("Mend that, or name another place in MTLKIT_VENV.", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.", file=sys.stderr, flush=True)
        return 130
    return run_mtlkit(python, arguments or ["--help"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
